"""How much the truth about an architecture can be expected to improve the answers to all budgets.

The answer to a budget is the best known architecture within it. A new one improves the answers to
all budgets that it is within and whose best it beats, so what it is expected to be worth is the sum
over many budgets of E[max(0, its value - the best known)]: the expected improvement (Jones et al.
1998) of each. An architecture is worth asking for where it is believed to be good and where little
is known, and cheap ones serve more budgets.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from scipy.stats import rankdata

from pnag.search.front import Floats

OF_ONE_COST, OF_SEVERAL = 64, 256  # budgets that are looked at


def normal_scores(values: Floats) -> Floats:
    """(N,) what a standard normal variable is at the rank of each of (N,) values.

    Accuracies have a long tail of failures below and are crowded where they are good. Of a failure
    only the rank matters, and the best must differ from the good.
    """
    return np.asarray(ndtri((rankdata(values) - 0.5) / len(values)))


def budgets_over(costs: Floats, rng: np.random.Generator) -> Floats:
    """(B, C) budgets over the range of (N, C) costs: even for one cost, random for several."""
    low, high = costs.min(0), costs.max(0)
    if costs.shape[1] == 1:
        shares = np.arange(1, OF_ONE_COST + 1)[:, None] / OF_ONE_COST
    else:
        shares = rng.random((OF_SEVERAL, costs.shape[1]))
    return np.asarray(low + shares * (high - low))


def best_within(values: Floats, costs: Floats, budgets: Floats, worst: float) -> Floats:
    """(B,) best of (N,) values within each of (B, C) budgets; `worst` where none is within."""
    found = np.where(_within(costs, budgets), values[:, None], worst)
    return np.asarray(found.max(0))


def expected_gain(
    means: Floats, spreads: Floats, costs: Floats, best: Floats, budgets: Floats
) -> Floats:
    """(N,) expected improvements, summed over the budgets that an architecture is within.

    Args:
        means, spreads: (N,) of normal beliefs. costs: (N, C).
        best: (B,) known within each of the (B, C) budgets.
    """
    spread = np.maximum(spreads, 1e-12)[:, None]
    ahead = (means[:, None] - best) / spread
    density = np.exp(-ahead * ahead / 2) / np.sqrt(2 * np.pi)
    gain = spread * (ahead * ndtr(ahead) + density)
    return np.asarray(np.where(_within(costs, budgets), gain, 0).sum(1))


def most_together(
    means: Floats,
    covariance: Floats,
    noise: float,
    costs: Floats,
    best: Floats,
    budgets: Floats,
    n: int,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Indices of n architectures that are worth most together, one after the other.

    Every other one is for a single budget, drawn at random: what is good for few budgets only would
    else hardly be asked for. Each is believed to be what it is predicted to be when the next one is
    chosen: it raises the best that is known, and what it says about others lowers their spread.

    Args:
        means: (N,), covariance: (N, N) of the belief. noise: variance of a truth's noise.
        costs, best, budgets: as in `expected_gain`.
    """
    covariance, best = covariance.copy(), best.copy()
    free = np.full(len(means), True)
    chosen = []
    for number in range(min(n, len(means))):
        spreads = np.sqrt(np.maximum(covariance.diagonal(), 0))
        some = slice(None) if number % 2 else rng.integers(0, len(budgets), 1)
        gain = expected_gain(means, spreads, costs, best[some], budgets[some])
        one = int(np.where(free, gain, -1.0).argmax())
        chosen.append(one)
        free[one] = False
        best = np.where(_within(costs[[one]], budgets)[0], np.maximum(best, means[one]), best)
        column = covariance[:, one] / np.sqrt(max(covariance[one, one] + noise, 1e-12))
        covariance -= np.outer(column, column)
    return np.array(chosen, np.int64)


def _within(costs: Floats, budgets: Floats) -> NDArray[np.bool_]:
    """(N, B) whether (N, C) costs are within (B, C) budgets."""
    inside = np.full((len(costs), len(budgets)), True)
    for cost, budget in zip(costs.T, budgets.T, strict=True):
        inside &= cost[:, None] <= budget
    return inside
