"""The whole pairwise ranking loss, Eqn. (F), in O(K M log M): all pairs counted, none formed.

With ranks r from the dominance rule, the two orders (i, j) and (j, i) of a pair give the same
hinge term where one dominates, and one term each way where they tie. Hence

    K M (M-1) L = sum_k ( sum over r_i > r_j + sum over r_i >= r_j, i != j ) max(0, 1 + R_j - R_i).

Either sum is linear in R once it is known how many terms are active: for A_i = #{j below i with
R_j > R_i - 1} and B_j = #{i above j with R_i < R_j + 1} it equals sum_i A_i (1 - R_i) +
sum_j B_j R_j, and its gradient is B - A (Airola et al. 2011, for RankSVM). The counts come from
`active_pairs_cpu.py` or, for tensors on another device, `active_pairs_gpu.py`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pnag.search import active_pairs_cpu, active_pairs_gpu


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
        value, gradient = ranking_loss_and_gradient(scores, ranks)
        ctx.save_for_backward(gradient.to(scores.dtype))
        return value.to(scores.dtype)

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * outputs[0], None


def ranking_loss_and_gradient(scores: Tensor, ranks: Tensor) -> tuple[Tensor, Tensor]:
    """Value () and gradient (K, M) of Eqn. (F), both float64."""
    scores = scores.detach().double()
    k, m = scores.shape
    counts = active_pairs_cpu if scores.device.type == "cpu" else active_pairs_gpu
    better, worse = counts.active_pairs(scores, ranks)
    scale = 1.0 / (k * m * (m - 1))
    value = ((better * (1.0 - scores)).sum() + (worse * scores).sum()) * scale
    return value, (worse - better).double() * scale
