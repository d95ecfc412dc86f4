"""Errors on rows left out: nothing of them is known, and what is told is right."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pnag.search import gaussian_process
from pnag.search.cross_validation import error_of_fit, error_of_process, folds_of
from pnag.search.gaussian_process import fit_gaussian_process, rows_used
from pnag.space import SearchSpace, Tokens

SPACE = SearchSpace()
Floats = NDArray[np.float64]


def rows(n: int, noise: float) -> tuple[Tokens, Floats]:
    rng = np.random.default_rng(n)
    tokens = SPACE.sample_unique(n, rng)
    values = SPACE.values(tokens).sum(1).astype(float)
    return tokens, values + noise * rng.normal(size=n)


@pytest.mark.parametrize("noise", [0.0, 20.0])
def test_a_block_is_foretold_as_by_a_fit_without_it(noise: float) -> None:
    tokens, values = rows(240, noise)
    process = fit_gaussian_process(SPACE, tokens, values)
    block = np.random.default_rng(0).permutation(240)[:100]  # more than are solved for at once
    others = np.setdiff1d(np.arange(240), block)
    kernel = gaussian_process._kernel(SPACE, tokens[others], tokens[others]).double()
    kernel.diagonal().add_(process.noise)
    standard = torch.from_numpy((values[others] - process.mean) / process.unit)
    cross = gaussian_process._kernel(SPACE, tokens[block], tokens[others]).double()
    wanted = (cross @ torch.linalg.solve(kernel, standard)).numpy() * process.unit + process.mean
    found = process.without(block, values[block])
    assert np.abs(found - wanted).max() < 1e-3 * process.unit
    fitted = process.predict(tokens[block])  # to these rows, and so nearer to their values
    assert np.abs(found - values[block]).mean() > 1.2 * np.abs(fitted - values[block]).mean()


def test_the_error_of_a_process_is_told() -> None:
    tokens, values = rows(400, 0.0)
    error = error_of_process(fit_gaussian_process(SPACE, tokens, values), values)
    assert error.rows == 400 and error.tau > 0.85
    assert error.deviation == pytest.approx(values.std())
    assert error.mean_error < 0.2 * error.deviation
    shuffled = np.random.default_rng(0).permutation(values)
    error = error_of_process(fit_gaussian_process(SPACE, tokens, shuffled), shuffled)
    assert abs(error.tau) < 0.15 and error.mean_error > 0.7 * error.deviation


def test_no_fit_sees_what_is_left_out() -> None:
    """What learns by heart knows nothing of rows left out, and is off by what it says instead."""
    tokens, values = rows(103, 0.0)
    seen = []

    def by_heart(some: Tokens, targets: Floats) -> Callable[[Tokens], Floats]:
        known = dict(zip(map(bytes, some), targets, strict=True))
        seen.append(len(known))
        return lambda asked: np.array([known.get(bytes(row), 0.0) for row in asked])

    error = error_of_fit(by_heart, tokens, values)
    assert sorted(seen) == [82, 82, 82, 83, 83] and error.rows == 103
    assert error.mean_error == pytest.approx(values.mean()) and error.tau == 0
    right = error_of_fit(
        lambda some, targets: lambda asked: SPACE.values(asked).sum(1).astype(float), tokens, values
    )
    assert right.mean_error == 0 and right.tau == pytest.approx(1)


def test_of_many_rows_a_part_is_left_out() -> None:
    folds = folds_of(16_000, 0)
    assert [len(fold) for fold in folds] == [800]  # one further fit instead of two
    assert len(np.unique(folds[0])) == 800
    folds = folds_of(7000, 0)  # of which 800 are more than a tenth
    assert [len(fold) for fold in folds] == [400, 400]
    assert len(np.unique(np.concatenate(folds))) == 800
    assert sum(map(len, folds_of(2000, 0))) == 2000


def test_the_rows_that_a_fit_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more rows than fit, those that it used, in its order: the last ones and some others."""
    monkeypatch.setattr(gaussian_process, "MOST_ROWS", 120)
    monkeypatch.setattr(gaussian_process, "LAST_ROWS", 30)
    tokens, values = rows(300, 0.0)
    process = fit_gaussian_process(SPACE, tokens, values, seed=3)
    used = rows_used(300, np.random.default_rng(3))
    assert len(used) == 120 and set(range(270, 300)) <= set(used.tolist())
    assert (process.tokens == tokens[used]).all()
