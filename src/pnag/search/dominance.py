"""The Pareto dominance rule, Eqn. (E) of the supplement.

For one budget B the rule is a total order up to ties: feasible architectures before infeasible
ones, feasible ones by accuracy, infeasible ones by lower cost. So it is enough to know each
architecture's rank in that order; no pair is ever formed.

For budgets of several costs at once (ours; the paper has one) feasible is what is within all, and
infeasible ones are ordered by the largest share of a budget that they use, the lower the better.
With one cost that is (E): one budget's shares are in the order of the costs.
"""

from __future__ import annotations

import torch
from torch import Tensor


def dominance_ranks(accuracy: Tensor, cost: Tensor, budgets: Tensor) -> Tensor:
    """Dense rank of every architecture under every budget; higher is better, equal is a tie.

    Args:
        accuracy: (M,) higher is better.
        cost: (M,) in the unit of the budgets; (M, C) of several costs.
        budgets: (K,); (K, C) of several costs, where an infinite one is no limit.

    Returns:
        (K, M) int64. d(i, j, B_k) of Eqn. (E) is +1 where rank[k, i] >= rank[k, j], else -1.
    """
    by_accuracy = torch.unique(accuracy, return_inverse=True)[1]
    if cost.ndim == 1:
        by_cost = torch.unique(cost, return_inverse=True)[1]
        feasible = cost[None, :] <= budgets[:, None]
    else:
        by_cost = _ranks_of_rows(_largest_shares(cost, budgets))
        feasible = (cost[None] <= budgets[:, None]).all(2)
    return torch.where(feasible, by_accuracy + len(cost), -by_cost)


def _largest_shares(cost: Tensor, budgets: Tensor) -> Tensor:
    """(K, M) largest share of a budget that an architecture uses, or what orders them alike.

    Where a single cost is limited that is the cost itself, as in (E): its quotients could round two
    different costs to the same share.
    """
    limited = torch.isfinite(budgets)
    largest = (cost[None] / budgets[:, None]).amax(2)
    alone = torch.where(limited, 1.0, 0.0).to(cost.dtype) @ cost.T
    return torch.where(limited.sum(1, keepdim=True) == 1, alone, largest)


def _ranks_of_rows(values: Tensor) -> Tensor:
    """(K, M) int64 dense rank of each value within its row, from 0; equal values have the same."""
    ordered, order = values.sort(dim=1)
    steps = torch.zeros_like(order)
    steps[:, 1:] = ordered.diff(dim=1) > 0
    return torch.empty_like(order).scatter_(1, order, steps.cumsum(1))
