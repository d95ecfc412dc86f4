"""Active pairs of the ranking loss on the CPU: one sweep a budget with two Fenwick trees, compiled.

Going through the architectures by growing score, the scores at or below R_i - 1 and those below
R_i + 1 are two prefixes of the sorted order that only grow. Each prefix is kept as a Fenwick tree
over the dominance ranks, so "how many of the prefix are worse than i" takes log2 M additions: the
O(M log M) of Airola et al. 2011. numba compiles it, as numpy has no such structure; rows (budgets)
run on as many threads as torch has.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pnag.compiled import compiled, on_all_threads

Counts = NDArray[np.int64]


def active_pairs(scores: Tensor, ranks: Tensor) -> tuple[Tensor, Tensor]:
    """How many hinge terms are active with each architecture as the better and the worse one.

    Args:
        scores: (K, M) float64, ranks: (K, M) int64, both on the CPU.

    Returns:
        (K, M) int64 each: over both orders of a pair, the terms in which architecture i is the
        better one (A of `ranking_loss.py`), and those in which it is the worse one (B).
    """
    r, rank = scores.numpy(), ranks.numpy()
    better, worse = np.empty(r.shape, np.int64), np.empty(r.shape, np.int64)

    def row(k: int) -> None:
        dense = rank[k] - rank[k].min()
        if dense.max() > 4 * len(dense):  # ranks of `dominance_ranks` span 2 M at most
            dense = np.unique(dense, return_inverse=True)[1]
        _sweep(r[k], dense, np.argsort(r[k]), better[k], worse[k])

    on_all_threads(row, range(len(r)))
    return torch.from_numpy(better), torch.from_numpy(worse)


@compiled()
def _add(tree: NDArray[np.int32], place: int) -> None:
    while place < len(tree):
        tree[place] += 1
        place += place & -place


@compiled()
def _first(tree: NDArray[np.int32], count: int) -> int:
    total = 0
    while count > 0:
        total += tree[count]
        count &= count - 1
    return total


@compiled()
def _sweep(
    r: NDArray[np.float64],
    rank: NDArray[np.int64],
    order: NDArray[np.int64],
    better: Counts,
    worse: Counts,
) -> None:
    """Fill `better` and `worse`, (M,) each; `order` sorts the scores r, ranks start from 0."""
    m = len(r)
    start = np.zeros(rank.max() + 2, np.int32)  # of rank v: how many have a lower one
    for i in range(m):
        start[rank[i] + 1] += 1
    for v in range(1, len(start)):
        start[v] += start[v - 1]
    low = np.zeros(m + 1, np.int32)  # trees over 1 + start[rank]: tied ones share a place
    reach = np.zeros(m + 1, np.int32)
    too_low, in_reach = 0, 0
    for i in order:
        # One rule for both counts: a term is active where R_j > R_i - 1, rounded as it is. With
        # R_i < R_j + 1 for the other, a pair at the margin could count on one side only.
        while too_low < m and r[order[too_low]] <= r[i] - 1.0:
            _add(low, start[rank[order[too_low]]] + 1)
            too_low += 1
        while in_reach < m and r[order[in_reach]] - 1.0 < r[i]:
            _add(reach, start[rank[order[in_reach]]] + 1)
            in_reach += 1
        below, up_to = start[rank[i]], start[rank[i] + 1]  # worse; worse or tied, itself included
        low_below, reach_below = _first(low, below), _first(reach, below)
        if up_to == below + 1:
            # No ties: both orders of every pair are alike. It is itself in reach, never too low.
            better[i] = 2 * (below - low_below)
            worse[i] = 2 * (in_reach - reach_below - 1)
        else:
            # An element counts itself among the tied ones (0 < 1): minus 1.
            better[i] = below - low_below + up_to - _first(low, up_to) - 1
            worse[i] = 2 * in_reach - reach_below - _first(reach, up_to) - 1
