"""The whole pairwise ranking loss, Eqn. (F), in O(K M log M): all pairs counted, none formed.

With ranks r from the dominance rule, the two orders (i, j) and (j, i) of a pair give the same
hinge term where one dominates, and one term each way where they tie. Hence

    K M (M-1) L = sum_k ( sum over r_i > r_j + sum over r_i >= r_j, i != j ) max(0, 1 + R_j - R_i).

Either sum is linear in R once it is known how many terms are active: for A_i = #{j below i with
R_j > R_i - 1} and B_j = #{i above j with R_i < R_j + 1} it equals sum_i A_i (1 - R_i) +
sum_j B_j R_j, and its gradient is B - A (Airola et al. 2011, for RankSVM). Both counts are "how
many of the first a elements in rank order come before place q in the order of R", which a wavelet
matrix answers for all elements at once with one prefix sum a bit: no loop over samples, the same
code on CPU and GPU.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def ranking_loss(scores: Tensor, ranks: Tensor) -> Tensor:
    """Eqn. (F) with the hinge max(0, 1 - z): mean over all K M (M-1) ordered pairs.

    Args:
        scores: (K, M) R(beta_i | B_k; w), any float type, gradients flow into it.
        ranks: (K, M) integers from `dominance_ranks`.

    Returns:
        Scalar of the scores' type. Counts are exact and sums run in float64, so float32 scores
        lose nothing.

    Raises:
        ValueError: on shapes that differ or fewer than two architectures.
    """
    if scores.shape != ranks.shape or scores.ndim != 2:
        raise ValueError(
            f"scores {tuple(scores.shape)} and ranks {tuple(ranks.shape)} must be one (K, M)"
        )
    if scores.shape[1] < 2:
        raise ValueError("a pairwise loss needs at least two architectures")
    loss: Tensor = _RankingLoss.apply(scores, ranks)
    return loss


class _RankingLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor, ranks: Tensor) -> Tensor:
        value, gradient = ranking_loss_and_gradient(scores.detach(), ranks)
        ctx.save_for_backward(gradient.to(scores.dtype))
        return value.to(scores.dtype)

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * outputs[0], None


def ranking_loss_and_gradient(scores: Tensor, ranks: Tensor) -> tuple[Tensor, Tensor]:
    """Value () and gradient (K, M) of Eqn. (F), both float64."""
    scores = scores.double()
    k, m = scores.shape
    by_rank = ranks.argsort(dim=1)
    sorted_ranks = ranks.gather(1, by_rank)
    r = scores.gather(1, by_rank)  # from here on in rank order, worst first

    sorted_scores, score_order = r.sort(dim=1)
    places = torch.empty_like(score_order)
    places.scatter_(1, score_order, torch.arange(m, device=r.device).expand(k, m))

    # How many are worse than i; how many are worse or tied with it (itself included).
    worse = torch.searchsorted(sorted_ranks, sorted_ranks)
    worse_or_tied = torch.searchsorted(sorted_ranks, sorted_ranks, right=True)
    # How many R lie at or below R_i - 1 (inactive as the lower one), and below R_i + 1. The margin
    # is compared on the same rounded sums as max(0, 1 + R_j - R_i) would be, up to float64.
    too_low = torch.searchsorted(sorted_scores, sorted_scores - 1.0, right=True)
    in_reach = torch.searchsorted(sorted_scores, sorted_scores + 1.0)
    too_low = too_low.gather(1, places)
    in_reach = in_reach.gather(1, places)

    has_ties = bool((worse_or_tied - worse > 1).any())
    prefixes = [worse, worse_or_tied]
    bounds = [too_low, in_reach]
    if has_ties:
        prefixes += [worse_or_tied, worse]
        bounds += [too_low, in_reach]
    counts = count_before(places, torch.cat(prefixes, 1), torch.cat(bounds, 1)).split(m, dim=1)

    below = worse - counts[0]  # A: strictly worse ones with R_j > R_i - 1
    above = in_reach - counts[1]  # B: strictly better ones with R_i < R_j + 1
    if has_ties:
        # The same over "worse or tied". An element always counts itself there (0 < 1): minus 1.
        below = below + worse_or_tied - counts[2] - 1
        above = above + in_reach - counts[3] - 1
    else:
        below, above = 2 * below, 2 * above

    scale = 1.0 / (k * m * (m - 1))
    value = ((below * (1.0 - r)).sum() + (above * r).sum()) * scale
    gradient = torch.empty_like(r).scatter_(1, by_rank, (above - below).double() * scale)
    return value, gradient


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
        # Stable split: zeros keep their order in front, ones behind them.
        before = ones_before[:, :-1]
        place = (positions - before) + one * (zeros + 2 * before - positions)
        current = torch.empty_like(current).scatter_(1, place.long(), current)
    return total.to(prefixes.dtype)
