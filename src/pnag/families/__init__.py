"""Which layers an architecture consists of, and how they become networks: one file a family."""

from pnag.families.base import Family
from pnag.families.checkpoints import load_checkpoint, load_published
from pnag.families.counts import BatchCounts, Counts, count, count_batch
from pnag.families.ofa_mobilenetv3 import build
from pnag.families.registry import family
from pnag.families.supernet import Supernet

__all__ = [
    "BatchCounts",
    "Counts",
    "Family",
    "Supernet",
    "build",
    "count",
    "count_batch",
    "family",
    "load_checkpoint",
    "load_published",
]
