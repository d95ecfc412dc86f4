"""How well a predictor predicts rows that it was not fitted to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau

from pnag.search.gaussian_process import GaussianProcess
from pnag.space import Tokens

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
Fit = Callable[[Tokens, Floats], Callable[[Tokens], Floats]]
"""Tokens (N, T) and targets (N,) to what predicts: tokens (n, T) to values (n,)."""

FOLDS = 5
MOST_LEFT_OUT = 400  # rows of a fold: the other rows are then nearly all there are
LEFT_OUT_OF_MANY = 800  # enough of many rows; in one fold, as each is a further fit,
SMALL_PART = 0.1  # where a fit without that part of the rows is as good as one of nearly all


@dataclass(frozen=True)
class PredictionError:
    """A predictor's error on rows that were left out of its fit.

    Attributes:
        rows: left out, a fold at a time. mean_error: mean absolute error, in the target's unit.
        deviation: standard deviation of their true values: the error of a predictor that knows
            nothing is about that. tau: Kendall's, of the order within a fold; 0 is chance.
    """

    rows: int
    mean_error: float
    deviation: float
    tau: float


def folds_of(rows: int, seed: int) -> list[Rows]:
    """Indices of the rows that each fold leaves out, drawn at random."""
    order = np.random.default_rng(seed).permutation(rows)
    if rows <= FOLDS * MOST_LEFT_OUT:
        return np.array_split(order, FOLDS)
    folds = 1 if SMALL_PART * rows >= LEFT_OUT_OF_MANY else LEFT_OUT_OF_MANY // MOST_LEFT_OUT
    return np.array_split(order[:LEFT_OUT_OF_MANY], folds)


def error_of_process(process: GaussianProcess, targets: Floats, seed: int = 0) -> PredictionError:
    """Of a Gaussian process that has its factor, by its closed form.

    Args:
        targets: (N,) of the N rows that it was fitted to.
    """
    folds = folds_of(len(targets), seed)
    return _error([(process.without(rows, targets[rows]), targets[rows]) for rows in folds])


def error_of_fit(
    fit: Fit,
    tokens: Tokens,
    targets: Floats,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> PredictionError:
    """Cross-validate any other predictor, by fitting it again without each fold.

    Args:
        tokens: (N, T), targets: (N,). progress: called with the folds done and in all.
    """
    folds = folds_of(len(targets), seed)
    pairs = []
    for done, rows in enumerate(folds, 1):
        others = np.setdiff1d(np.arange(len(targets)), rows)
        predict = fit(tokens[others], targets[others])
        pairs.append((predict(tokens[rows]), targets[rows]))
        progress(done, len(folds))
    return _error(pairs)


def _error(folds: list[tuple[Floats, Floats]]) -> PredictionError:
    """Of (predicted, true) of each fold."""
    predicted, true = (np.concatenate(part) for part in zip(*folds, strict=True))
    # Within a fold: one fit made its predictions, and no other's level enters their order.
    taus = [float(kendalltau(p, t).statistic) for p, t in folds]
    return PredictionError(
        rows=len(true),
        mean_error=float(np.abs(predicted - true).mean()),
        deviation=float(true.std()),
        tau=float(np.mean(np.nan_to_num(taus))),  # of a constant there is no tau, and no order
    )
