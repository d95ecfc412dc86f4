"""How an architecture becomes a network, and what that network consists of."""

from pnag.networks.checkpoints import load_checkpoint, load_published
from pnag.networks.counts import BatchCounts, Counts, count, count_batch
from pnag.networks.mobilenetv3 import build
from pnag.networks.supernet import Supernet

__all__ = [
    "BatchCounts",
    "Counts",
    "Supernet",
    "build",
    "count",
    "count_batch",
    "load_checkpoint",
    "load_published",
]
