"""Active pairs of the ranking loss on a GPU: all architectures and budgets at once.

Both counts are "how many of the first a elements in rank order come before place q in the order of
R", which a wavelet matrix answers for all elements together with one prefix sum a bit: tensor
operations only, no loop over samples. On a CPU the compiled sweep of `active_pairs_cpu.py` is six
times faster (`benchmarks/README.md`).
"""

from __future__ import annotations

import torch
from torch import Tensor


def active_pairs(scores: Tensor, ranks: Tensor) -> tuple[Tensor, Tensor]:
    """The same as `active_pairs_cpu.active_pairs`, on any device.

    Args:
        scores: (K, M) float64, ranks: (K, M) int64.

    Returns:
        (K, M) int64 each.
    """
    k, m = scores.shape
    by_rank = ranks.argsort(dim=1)
    sorted_ranks = ranks.gather(1, by_rank)
    r = scores.gather(1, by_rank)  # from here on in rank order, worst first

    sorted_scores, score_order = r.sort(dim=1)
    places = torch.empty_like(score_order)
    places.scatter_(1, score_order, torch.arange(m, device=r.device).expand(k, m))

    # How many have a lower rank than i; how many a lower or the same one (itself included).
    below = torch.searchsorted(sorted_ranks, sorted_ranks)
    up_to = torch.searchsorted(sorted_ranks, sorted_ranks, right=True)
    # How many R lie at or below R_i - 1 (inactive as the lower one), and how many R less 1 lie
    # below R_i: one rule for both counts, so that a pair at the margin counts in both or in none.
    too_low = torch.searchsorted(sorted_scores, sorted_scores - 1.0, right=True)
    in_reach = torch.searchsorted(sorted_scores - 1.0, sorted_scores)
    too_low = too_low.gather(1, places)
    in_reach = in_reach.gather(1, places)

    has_ties = bool((up_to - below > 1).any())
    prefixes = [below, up_to]
    bounds = [too_low, in_reach]
    if has_ties:
        prefixes += [up_to, below]
        bounds += [too_low, in_reach]
    counts = count_before(places, torch.cat(prefixes, 1), torch.cat(bounds, 1)).split(m, dim=1)

    better = below - counts[0]  # A over strictly worse ones: those with R_j > R_i - 1
    worse = in_reach - counts[1]  # B over strictly better ones: those with R_i < R_j + 1
    if has_ties:
        # The same over "worse or tied". An element always counts itself there (0 < 1): minus 1.
        better = better + up_to - counts[2] - 1
        worse = worse + in_reach - counts[3] - 1
    else:
        better, worse = 2 * better, 2 * worse
    return (
        torch.empty_like(by_rank).scatter_(1, by_rank, better),
        torch.empty_like(by_rank).scatter_(1, by_rank, worse),
    )


def count_before(places: Tensor, prefixes: Tensor, bounds: Tensor) -> Tensor:
    """For every query, how many of the first `prefix` places are smaller than `bound`.

    A wavelet matrix: going from the highest bit of the places to the lowest, the elements are
    stably split by that bit; a query follows its bound's bits and, where the bit is 1, adds those
    that have a 0 there.

    Args:
        places: (K, M) each row a permutation of 0..M-1.
        prefixes: (K, Q) in 0..M.
        bounds: (K, Q) in 0..M.

    Returns:
        (K, Q) counts, of the integer type of `prefixes`.
    """
    k, m = places.shape
    bits = max(1, m.bit_length())  # bounds reach m itself
    device = places.device
    row = torch.arange(k, device=device)[:, None]
    # int32 halves the memory traffic, which is what this costs; flat indices must fit
    narrow = torch.int32 if k * (m + 1) < 2**31 else torch.int64
    current = places.to(narrow)
    bounds = bounds.to(narrow)
    low = torch.zeros_like(prefixes, dtype=narrow)
    high = prefixes.to(narrow)
    total = torch.zeros_like(high)
    base = (row * (m + 1)).to(narrow)
    positions = torch.arange(m, device=device, dtype=narrow)
    ones_before = torch.zeros((k, m + 1), dtype=narrow, device=device)
    for bit in range(bits - 1, -1, -1):
        one = current >> bit & 1
        torch.cumsum(one, dim=1, dtype=narrow, out=ones_before[:, 1:])
        zeros = m - ones_before[:, -1:]
        flat = ones_before.view(-1)
        low_ones = flat.index_select(0, (low + base).view(-1)).view_as(low)
        high_ones = flat.index_select(0, (high + base).view(-1)).view_as(high)
        # Arithmetic on 0/1 instead of torch.where, which is many times slower on int32.
        low_zeros, high_zeros = low - low_ones, high - high_ones
        goes_right = bounds >> bit & 1
        total += goes_right * (high_zeros - low_zeros)
        low = low_zeros + goes_right * (zeros + low_ones - low_zeros)
        high = high_zeros + goes_right * (zeros + high_ones - high_zeros)
        # Stable split: zeros first, ones after them, each in their old order.
        before = ones_before[:, :-1]
        place = (positions - before) + one * (zeros + 2 * before - positions)
        current = torch.empty_like(current).scatter_(1, place.long(), current)
    return total.to(prefixes.dtype)
