"""How an architecture becomes a network, and what that network consists of."""

from pnag.networks.counts import BatchCounts, Counts, count, count_batch
from pnag.networks.mobilenetv3 import build

__all__ = ["BatchCounts", "Counts", "build", "count", "count_batch"]
