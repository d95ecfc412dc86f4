"""The best architecture within several budgets at once.

The front's local search keeps the best of each part of one cost's range. Of several costs one
number says whether an architecture is within all: the largest share of a budget that it uses up,
which is at most 1. So the best of each part of that share's range are kept, and, since what is good
often uses up the same share of one budget, those of each cost's by itself among what holds the
others. What is beyond a budget leads back to it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pnag.search.front import Floats, FrontSettings, breed, elite_of_bins
from pnag.space import SearchSpace, Tokens

Value = Callable[[Tokens], Floats]
"""Tokens (N, T) to what is to be large (N,)."""
Costs = Callable[[Tokens], Floats]
"""Tokens (N, T) to their costs (N, C), one column a budget."""

BEYOND = 0.1  # searched shares go up to 1.1: the best is often near something over budget
INFEASIBLE = 1e9  # taken from the value of what is not within the budgets: below all that is


def best_within(
    space: SearchSpace,
    start: Tokens,
    value: Value,
    costs: Costs,
    budgets: Floats,
    settings: FrontSettings,
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Tokens, float]:
    """The architecture of the largest value within all budgets, or the one that is least beyond.

    Args:
        start: (S, T) architectures to start from; the answer is at least as good as their best.
        budgets: (C,) positive.

    Returns:
        (1, T) tokens and their largest share of a budget; above 1 if none within all was found.
    """
    rng = np.random.default_rng(seed)
    pool = np.unique(start, axis=0)
    values, shares = value(pool), costs(pool) / budgets
    lowest = shares.min(axis=0, initial=1.0)
    for step in range(settings.rounds):
        parents = _parents(values, shares, lowest, settings.bins)
        children = breed(space, pool[parents], settings.children, rng)
        pool = np.concatenate([pool[parents], children])
        values = np.concatenate([values[parents], value(children)])
        shares = np.concatenate([shares[parents], costs(children) / budgets])
        progress(step + 1, settings.rounds)
    best = int(_worth(values, largest_share(shares)).argmax())
    return pool[best : best + 1], float(largest_share(shares)[best])


def largest_share(shares: Floats) -> Floats:
    """(N,) largest of (N, C) shares of budgets; 0 where there are no budgets."""
    return np.asarray(shares.max(axis=1, initial=0.0))


def _worth(values: Floats, share: Floats) -> Floats:
    """(N,) values of what is within a budget; what is beyond is worth less the more it is."""
    return np.where(share <= 1, values, -INFEASIBLE * share)


def _parents(values: Floats, shares: Floats, lowest: Floats, bins: int) -> NDArray[np.int64]:
    """Indices of the best of each bin of the largest share, and of each bin of each cost's share.

    Args:
        values: (N,), shares: (N, C). lowest: (C,) where the bins of each cost begin.
    """
    largest = largest_share(shares)
    low = float(min(largest.min(), 1.0))
    high = max(float(largest.min()), 1.0) * (1 + BEYOND)
    chosen = [elite_of_bins(_worth(values, largest), largest, (low, high), bins)]
    for c in range(shares.shape[1] if shares.shape[1] > 1 else 0):
        # What is beyond this budget alone keeps its value, as a step on the way, but shares no bin
        # with what is within.
        share, span = shares[:, c], (float(lowest[c]), 1 + BEYOND)
        share = np.where(share > 1, share + (span[1] - span[0]) / bins, share)
        worth = _worth(values, largest_share(np.delete(shares, c, axis=1)))
        chosen.append(elite_of_bins(worth, share, span, bins))
    parents = np.unique(np.concatenate(chosen))
    return np.asarray(parents[largest[parents].argsort(kind="stable")])


def cheapest_within(
    space: SearchSpace,
    start: Tokens,
    costs: Costs,
    budgets: Floats,
    which: int,
    settings: FrontSettings,
    *,
    seed: int = 0,
) -> tuple[Tokens, float] | None:
    """The architecture that has least of cost `which` within all other budgets; None if none is.

    Args:
        start, budgets: as in `best_within`. An infinite budget is none.

    Returns:
        (1, T) tokens and their cost.
    """
    others = (np.arange(len(budgets)) != which) & np.isfinite(budgets)

    def cost(tokens: Tokens) -> Floats:
        column: Floats = costs(tokens)[:, which]
        return column

    tokens, share = best_within(
        space,
        start,
        lambda t: -cost(t) / budgets[which],
        lambda t: costs(t)[:, others],
        budgets[others],
        settings,
        seed=seed,
    )
    return (tokens, float(cost(tokens)[0])) if share <= 1 else None
