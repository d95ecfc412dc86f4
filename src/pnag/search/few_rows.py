"""A round where few rows are known: it asks for those that together improve the answers most.

The Gaussian process is fitted anew in each round, with a learnt likeness of choices
(`learnt_kernel.py`), and what is asked for is chosen by `expected_gain.py`. Where all architectures
of a space can be listed, each of them is a candidate, and the process is of the accuracies' ranks.
Elsewhere candidates are the front that the process predicts and mutants of it, and it is of the
accuracies themselves: `benchmarks/README.md` says what both are worth.
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
from pnag.search.front import Floats, FrontSettings, improve, pareto_front, with_mutants
from pnag.search.learnt_kernel import LearntProcess, fit_learnt
from pnag.space import SearchSpace, Tokens, not_among

LISTED = 20_000  # architectures at most, all of which are candidates
SHORTLIST = 1500  # of the candidates, for what one says about another
# Times the spread that is believed, as the unknown may be better: of all, and near the front.
OPTIMISM_OF_ALL, OPTIMISM_NEAR_FRONT = 1.5, 1.0
SEARCH = FrontSettings(rounds=10, children=1024, bins=300)
STRETCHED = 300  # from the smallest to the largest, where the search starts beside the table
MUTANTS, MUTATION_RATE = 2000, 0.05  # of the predicted front, for further candidates


def propose_of_few(
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
        (n, T), fewer only if there are no more.

    Raises:
        ValueError: for several costs where the space cannot be listed.
    """
    rng = np.random.default_rng(seed)
    listed = space.size <= LISTED
    if costs.ndim > 1 and not listed:
        raise ValueError(
            f"rounds for several costs need a space of at most {LISTED:,} architectures"
        )
    values = normal_scores(accuracy) if listed else accuracy
    optimism = OPTIMISM_OF_ALL if listed else OPTIMISM_NEAR_FRONT
    process = fit_learnt(space, tokens, values)
    if listed:
        candidates = space.everything()
    else:
        start = pareto_front(tokens, accuracy, costs).tokens
        candidates = _near_front(space, process, start, cost, rng)
    candidates = not_among(candidates, tokens)
    if not len(candidates):
        return candidates
    prices, known = _columns(cost(candidates)), _columns(costs)
    budgets = budgets_over(np.concatenate([known, prices]), rng)
    means, spreads = process.predict(candidates), optimism * process.spread(candidates)
    best = best_within(values, known, budgets, worst=min(values.min(), means.min()))
    gain = expected_gain(means, spreads, prices, best, budgets)
    short = (-gain).argsort(kind="stable")[: max(SHORTLIST, n)]
    covariance = optimism**2 * process.covariance(candidates[short])
    noise = optimism**2 * process.noise * process.unit**2
    chosen = most_together(means[short], covariance, noise, prices[short], best, budgets, n, rng)
    proposed: Tokens = candidates[short[chosen]]
    return proposed


def _near_front(
    space: SearchSpace,
    process: LearntProcess,
    start: Tokens,
    cost: Callable[[Tokens], Floats],
    rng: np.random.Generator,
) -> Tokens:
    """(N, T) the front that a search finds from `start` and from both ends, and mutants of it.

    Uniform rows all lie near the middle of the range of costs, answers do not.
    """
    start = np.concatenate([start, space.sample_stretched(STRETCHED, rng)])
    costs = cost(start)

    def label(some: Tokens) -> tuple[Floats, Floats]:
        return process.predict(some), cost(some)

    span, seed = (float(costs.min()), float(costs.max())), int(rng.integers(2**32))
    front = improve(space, start, label, span, SEARCH, seed=seed).tokens
    return with_mutants(space, front, MUTATION_RATE, -(-MUTANTS // len(front)), rng)


def _columns(costs: Floats) -> Floats:
    """(N, C) costs, of one cost (N, 1)."""
    return costs.reshape(len(costs), -1)
