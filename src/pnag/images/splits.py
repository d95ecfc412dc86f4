"""Stratified choices of rows: every class gets its share, and a seed gives the same rows again."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def rank_in_class(labels: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """For each of (N,) rows its place, from 0, in a random order of the rows of its class."""
    order = rng.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    counts = np.bincount(labels) if len(labels) else np.zeros(0, np.int64)
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    ranks = np.empty(len(labels), np.int64)
    ranks[order] = np.arange(len(labels)) - starts
    return ranks


def hold_out(
    labels: NDArray[np.int64], fraction: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Which of (N,) rows to hold out: `fraction` of each class, rounded, and at least one."""
    counts = np.bincount(labels)
    quota = np.maximum(1, np.rint(counts * fraction).astype(np.int64))
    held: NDArray[np.bool_] = rank_in_class(labels, rng) < quota[labels]
    return held


def subset(labels: NDArray[np.int64], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """`count` of (N,) rows in ascending order, each class with its share (to within one row)."""
    share = np.bincount(labels)[labels]
    # Taken in the order of how far into its class a row is; classes of one size tie in rank, and
    # random numbers below one rank break the tie.
    depth = (rank_in_class(labels, rng) + rng.random(len(labels))) / share
    return np.sort(np.argsort(depth, kind="stable")[:count])
