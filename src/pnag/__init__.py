"""pnag: give it a device and a latency budget, it hands you the best network for it."""

import importlib
import os
from typing import TYPE_CHECKING, Any

from pnag.cpus import settle

if TYPE_CHECKING:
    from pnag.api import Run, find, open_run
    from pnag.errors import PnagError
    from pnag.families import Supernet, build, count, family
    from pnag.imagenet import imagenet_top1
    from pnag.space import Architecture, SearchSpace

settle(os.environ)  # before any module of pnag imports torch

__version__ = "1.0.0"
__all__ = [
    "Architecture",
    "PnagError",
    "Run",
    "SearchSpace",
    "Supernet",
    "__version__",
    "build",
    "count",
    "family",
    "find",
    "imagenet_top1",
    "open_run",
]

_FROM = {
    "Architecture": "pnag.space",
    "PnagError": "pnag.errors",
    "Run": "pnag.api",
    "SearchSpace": "pnag.space",
    "Supernet": "pnag.families",
    "build": "pnag.families",
    "count": "pnag.families",
    "family": "pnag.families",
    "find": "pnag.api",
    "imagenet_top1": "pnag.imagenet",
    "open_run": "pnag.api",
}


def __getattr__(name: str) -> Any:
    # On first use: torch and timm take seconds to import, and `pnag --help` needs neither.
    if name not in _FROM:
        raise AttributeError(f"module 'pnag' has no attribute {name!r}")
    return getattr(importlib.import_module(_FROM[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
