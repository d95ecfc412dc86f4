"""A round where all architectures of a space can be listed and few of them are known.

Each is a candidate. The Gaussian process is fitted anew in each round, to the ranks of the
accuracies and with a learnt likeness of choices (`learnt_kernel.py`). A round asks for those that
together can be expected to improve the answers to all budgets most (`expected_gain.py`).
`benchmarks/README.md` says what that is worth: nothing in a space too large to be listed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pnag.search.expected_gain import (
    best_within,
    budgets_over,
    expected_gain,
    most_together,
    normal_scores,
)
from pnag.search.front import Floats
from pnag.search.learnt_kernel import fit_learnt
from pnag.space import SearchSpace, Tokens, not_among

LISTED = 20_000  # architectures at most
FEW = 1000  # rows at most: the factor is of them, and the spread of everything takes their square
SHORTLIST = 1500  # of the candidates, for what one says about another
OPTIMISM = 1.5  # times the spread that is believed: the unknown may be better


def can_list(space: SearchSpace, rows: int) -> bool:
    """Whether `propose_of_all` is for a table of so many rows."""
    return space.size <= LISTED and rows <= FEW


def propose_of_all(
    space: SearchSpace,
    tokens: Tokens,
    accuracy: Floats,
    costs: Floats,
    cost: Callable[[Tokens], Floats],
    n: int,
    seed: int,
) -> Tokens:
    """Up to n architectures worth knowing the truth about, none of which is known already.

    Args:
        tokens: (M, T), accuracy: (M,), costs: (M,) or (M, C) of several: the table.
        cost: predicted, of (N, T) tokens, of the same shape.

    Returns:
        (n, T), fewer only if the space has no more.
    """
    candidates = not_among(space.everything(), tokens)
    if not len(candidates):
        return candidates
    prices, known = _columns(cost(candidates)), _columns(costs)
    scores = normal_scores(accuracy)
    process = fit_learnt(space, tokens, scores)
    rng = np.random.default_rng(seed)
    budgets = budgets_over(np.concatenate([known, prices]), rng)
    best = best_within(scores, known, budgets)
    means, spreads = process.predict(candidates), OPTIMISM * process.spread(candidates)
    gain = expected_gain(means, spreads, prices, best, budgets)
    short = (-gain).argsort(kind="stable")[: max(SHORTLIST, n)]
    covariance = OPTIMISM**2 * process.covariance(candidates[short])
    noise = OPTIMISM**2 * process.noise * process.unit**2
    chosen = most_together(means[short], covariance, noise, prices[short], best, budgets, n, rng)
    proposed: Tokens = candidates[short[chosen]]
    return proposed


def _columns(costs: Floats) -> Floats:
    """(N, C) costs, of one cost (N, 1)."""
    return costs.reshape(len(costs), -1)
