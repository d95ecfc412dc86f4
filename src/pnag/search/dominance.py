"""The Pareto dominance rule, Eqn. (E) of the supplement.

For one budget B the rule is a total order up to ties: feasible architectures before infeasible
ones, feasible ones by accuracy, infeasible ones by lower cost. So it is enough to know each
architecture's rank in that order; no pair is ever formed.
"""

from __future__ import annotations

import torch
from torch import Tensor


def dominance_ranks(accuracy: Tensor, cost: Tensor, budgets: Tensor) -> Tensor:
    """Dense rank of every architecture under every budget; higher is better, equal is a tie.

    Args:
        accuracy: (M,) higher is better.
        cost: (M,) in the unit of the budgets.
        budgets: (K,)

    Returns:
        (K, M) int64. d(i, j, B_k) of Eqn. (E) is +1 where rank[k, i] >= rank[k, j], else -1.
    """
    by_accuracy = torch.unique(accuracy, return_inverse=True)[1]
    by_cost = torch.unique(cost, return_inverse=True)[1]
    feasible = cost[None, :] <= budgets[:, None]
    return torch.where(feasible, by_accuracy + len(cost), -by_cost)
