"""pnag: give it a device and a latency budget, it hands you the best network for it."""

from pnag.networks import Supernet, build, count
from pnag.space import Architecture, SearchSpace

__version__ = "0.1.0"
__all__ = ["Architecture", "SearchSpace", "Supernet", "__version__", "build", "count"]
