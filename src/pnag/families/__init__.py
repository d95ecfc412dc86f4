"""How an architecture becomes a network, and what that network consists of."""

from pnag.families.checkpoints import load_checkpoint, load_published
from pnag.families.counts import BatchCounts, Counts, count, count_batch
from pnag.families.mobilenetv3 import build
from pnag.families.supernet import Supernet

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
