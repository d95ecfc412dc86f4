"""The budget embedding: one learned vector per trained budget, linear in between."""

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


def even_budgets(low: float, high: float, k: int) -> Tensor:
    """(k,) float64 budgets that divide the cost range evenly, both ends included."""
    return torch.linspace(low, high, k, dtype=torch.float64)


def trained_budgets(costs: NDArray[np.float64], k: int) -> Tensor:
    """(k,) budgets evenly over a table's cost range and a little below it.

    Of uniform samples hardly any lie near the low end, and below it there are still architectures:
    f learns to be cheaper than the table's cheapest, so that it can hold a budget there.

    Args:
        costs: (M,) of the table.
    """
    low, high = float(costs.min()), float(costs.max())
    return even_budgets(low - BELOW * (high - low), high, k)


def jittered(budgets: Tensor, generator: torch.Generator) -> Tensor:
    """(K,) one budget drawn uniformly from around each, so that training covers the whole axis.

    Neighbours' cells share their borders; the ends stay in the range.
    """
    middles = (budgets[1:] + budgets[:-1]) / 2
    low = torch.cat([budgets[:1], middles])
    high = torch.cat([middles, budgets[-1:]])
    draw = torch.rand(len(budgets), generator=generator, dtype=torch.float64)
    return low + draw.to(budgets.device) * (high - low)
