"""Fit a predictor of a cost: never negative, and exact for costs that add up or multiply."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pnag.search.cross_validation import Floats, folds_of
from pnag.search.predictor import Predictor
from pnag.search.predictor_fit import PredictorSettings, fit_predictor, ridge_alone
from pnag.space import SearchSpace, Tokens

FLOOR = 0.5  # of the table's lowest cost: a sum over choices may extrapolate so far below it
ENOUGH_ROWS = 4000  # to tell a product from a sum; all of 16,000 would take three seconds
CLEARLY = 0.8  # times the sum's error: of noisy sums the two errors differ by chance alone


def fit_cost_predictor(
    space: SearchSpace,
    tokens: Tokens,
    costs: Floats,
    *,
    settings: PredictorSettings | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Predictor:
    """Fit a predictor to N rows, which predicts no negative cost where all N are positive.

    A cost may be a product of choices (depth x width^2): the logarithm is learnt where that
    predicts rows left out clearly better.

    Args:
        tokens: (N, T), costs: (N,), N at least 2.
        progress: called with the epochs done and in all.

    Returns:
        The same predictor for the same arguments on the same machine.
    """
    positive = bool(costs.min() > 0)
    logarithm = positive and _multiplies(space, tokens, costs, seed)
    predictor = fit_predictor(
        space,
        tokens,
        costs,
        settings=settings,
        seed=seed,
        logarithm=logarithm,
        progress=progress,
    )
    # A logarithm needs no floor, and a cost that adds up exactly is known far below the table's.
    if positive and not logarithm and not predictor.is_ridge_alone:
        predictor.floor = FLOOR * float(costs.min())
    return predictor


def _multiplies(space: SearchSpace, tokens: Tokens, costs: Floats, seed: int) -> bool:
    """Whether a ridge on the logarithm has clearly the smaller relative error on rows left out."""
    some = np.random.default_rng(seed).permutation(len(costs))[:ENOUGH_ROWS]
    tokens, costs = tokens[some], costs[some]
    errors = np.zeros(2)
    for rows in folds_of(len(costs), seed):
        others = np.setdiff1d(np.arange(len(costs)), rows)
        for place, logarithm in enumerate((False, True)):
            fitted = ridge_alone(space, tokens[others], costs[others], logarithm)
            errors[place] += np.abs(fitted.predict(tokens[rows]) / costs[rows] - 1).sum()
    return bool(errors[1] < CLEARLY * errors[0])
