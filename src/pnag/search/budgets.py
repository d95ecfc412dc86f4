"""The budget embedding: one learned vector per trained budget, linear in between.

Of several costs each has its own embedding, with one vector more for "no limit"; they add up.
Budgets of one cost are tensors (K,), those of C costs (K, C), where an infinite one is no limit.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

BELOW = 0.05  # of the table's cost range


class BudgetEmbedding(nn.Module):
    """Maps budgets to vectors.

    Args:
        budgets: (K,) increasing trained budgets, in the cost's unit.
        dimension: length of a vector (64 in section E of the supplement).
    """

    budgets: Tensor

    def __init__(self, budgets: Tensor, dimension: int = 64) -> None:
        super().__init__()
        if budgets.ndim != 1 or len(budgets) < 2 or not bool((budgets.diff() > 0).all()):
            raise ValueError(f"budgets must be at least two increasing numbers, not {budgets}")
        self.register_buffer("budgets", budgets.double())
        self.vectors = nn.Parameter(torch.zeros(len(budgets), dimension))
        with torch.no_grad():
            # Start as a smooth path, so that neighbours share what they learn.
            position = torch.linspace(-1, 1, len(budgets))[:, None]
            self.vectors.add_(position * torch.randn(1, dimension) + torch.randn(1, dimension))

    def forward(self, budgets: Tensor) -> Tensor:
        """(N,) budgets to (N, dimension) vectors; beyond the trained range the end's vector."""
        anchors = self.budgets
        inside = budgets.double().clamp(anchors[0], anchors[-1])
        left = torch.searchsorted(anchors, inside, right=True).clamp(1, len(anchors) - 1) - 1
        share = ((inside - anchors[left]) / (anchors[left + 1] - anchors[left])).float()[:, None]
        return (1 - share) * self.vectors[left] + share * self.vectors[left + 1]


class VectorEmbedding(nn.Module):
    """Maps vectors of budgets to vectors: the sum of what each cost's own embedding says.

    Args:
        budgets: (K, C) trained budgets of each cost, increasing.
        dimension: length of a vector.
    """

    def __init__(self, budgets: Tensor, dimension: int = 64) -> None:
        super().__init__()
        self.parts = nn.ModuleList(
            BudgetEmbedding(column, dimension) for column in budgets.T.contiguous()
        )
        # No limit begins as what it is nearest to: a budget that everything holds.
        highest = [part.vectors[-1].detach() for part in self._parts()]
        self.unlimited = nn.Parameter(torch.stack(highest))

    def _parts(self) -> list[BudgetEmbedding]:
        return [part for part in self.parts if isinstance(part, BudgetEmbedding)]

    @property
    def budgets(self) -> Tensor:
        """(K, C) trained budgets of each cost."""
        return torch.stack([part.budgets for part in self._parts()], 1)

    def forward(self, budgets: Tensor) -> Tensor:
        """(N, C) budgets to (N, dimension) vectors."""
        limited = torch.isfinite(budgets)
        return torch.stack(
            [
                torch.where(limited[:, c, None], part(column), self.unlimited[c])
                for c, (part, column) in enumerate(
                    zip(self._parts(), budgets.T.contiguous(), strict=True)
                )
            ]
        ).sum(0)


def embedding_of(budgets: Tensor, dimension: int) -> BudgetEmbedding | VectorEmbedding:
    """The embedding of (K,) trained budgets of one cost, or of (K, C) of several."""
    several = budgets.ndim == 2
    return (VectorEmbedding if several else BudgetEmbedding)(budgets, dimension)


def within(cost: Tensor, budgets: Tensor) -> Tensor:
    """(N,) whether architecture n holds budget n.

    Args:
        cost, budgets: (N,) of one cost, (N, C) of several.
    """
    held = cost <= budgets
    return held.all(1) if held.ndim == 2 else held


def even_budgets(low: float, high: float, k: int) -> Tensor:
    """(k,) float64 budgets that divide the cost range evenly, both ends included."""
    return torch.linspace(low, high, k, dtype=torch.float64)


def trained_budgets(costs: NDArray[np.float64], k: int) -> Tensor:
    """Budgets evenly over the range of each of a table's costs and a little below it.

    Of uniform samples hardly any lie near the low end, and below it there are still architectures:
    f learns to be cheaper than the table's cheapest, so that it can hold a budget there. Budgets of
    positive costs are at least half the cheapest: of a share of a budget the sign counts. A cost
    that is the same for all has budgets around it.

    Args:
        costs: (M,) or (M, C) of the table.

    Returns:
        (k,) or (k, C).
    """
    if costs.ndim == 2:
        return torch.stack([trained_budgets(column, k) for column in costs.T], 1)
    cheapest, highest = float(costs.min()), float(costs.max())
    low = cheapest - BELOW * (highest - cheapest or abs(highest) or 1.0)
    return even_budgets(max(low, cheapest / 2) if cheapest > 0 else low, highest, k)


def jittered(budgets: Tensor, generator: torch.Generator) -> Tensor:
    """(K,) one budget drawn uniformly from around each, so that training covers the whole axis.

    Neighbours' cells share their borders; the ends stay in the range.
    """
    middles = (budgets[1:] + budgets[:-1]) / 2
    low = torch.cat([budgets[:1], middles])
    high = torch.cat([middles, budgets[-1:]])
    draw = torch.rand(len(budgets), generator=generator, dtype=torch.float64)
    return low + draw.to(budgets.device) * (high - low)
