"""Rows of rounds correct what uniform rows say, where the rounds looked."""

from __future__ import annotations

import numpy as np
import pytest

from pnag.search import corrected as module
from pnag.search.corrected import CorrectedProcess, corrected
from pnag.search.front import Floats
from pnag.search.gaussian_process import GaussianProcess, fit_gaussian_process
from pnag.space import SearchSpace, Tokens

SPACE = SearchSpace()
RNG = np.random.default_rng(0)
SLOPE = RNG.normal(size=SPACE.num_features)
BEST = SPACE.sample_unique(1, RNG)
MATTER = [5, 9, 13, 20, 27, 33]  # of the tokens
PAIRS = RNG.normal(size=(6, 6, 4, 4))


def accuracy_of(tokens: Tokens) -> Floats:
    """A slope everywhere; towards BEST more and more what few choices are worth together."""
    chosen = tokens[:, MATTER] + 1
    together = sum(
        PAIRS[one, other][chosen[:, one], chosen[:, other]]
        for one in range(6)
        for other in range(one)
    )
    near_best = np.exp(-3 * (tokens != BEST).mean(1))
    return np.asarray(0.7 + 0.002 * SPACE.features(tokens) @ SLOPE + 0.003 * near_best * together)


def near(n: int, seed: int) -> Tokens:
    """(n, T) of which a quarter of the choices was drawn anew."""
    return SPACE.mutate(np.repeat(BEST, n, axis=0), 0.25, np.random.default_rng(seed))


@pytest.fixture(scope="module")
def uniform() -> GaussianProcess:
    tokens = SPACE.sample_unique(module.MANY, np.random.default_rng(1))
    return fit_gaussian_process(SPACE, tokens, accuracy_of(tokens))


def error(process: module.Process, tokens: Tokens) -> float:
    return float(np.abs(process.predict(tokens) - accuracy_of(tokens)).mean())


def test_the_neighbourhood_is_learnt_better_than_by_more_rows_alone(
    uniform: GaussianProcess,
) -> None:
    asked, unseen = near(60, 2), near(300, 3)
    found = corrected(SPACE, uniform, asked, accuracy_of(asked))
    assert isinstance(found, CorrectedProcess)
    extended = uniform.extended(asked, accuracy_of(asked))
    errors = [error(process, unseen) for process in (uniform, extended, found)]
    assert errors[2] < 0.85 * errors[1] < errors[0]


def test_spread_grows_with_the_distance_from_what_rounds_know(uniform: GaussianProcess) -> None:
    asked = near(60, 2)
    found = corrected(SPACE, uniform, asked, accuracy_of(asked))
    far = SPACE.sample_unique(60, np.random.default_rng(4))
    known, close, away = (found.spread(t).mean() for t in (asked, near(60, 5), far))
    assert known < close < away


def test_few_rows_only_extend(uniform: GaussianProcess) -> None:
    asked = near(module.LEAST - 1, 2)
    found = corrected(SPACE, uniform, asked, accuracy_of(asked))
    expected = uniform.extended(asked, accuracy_of(asked)).predict(near(5, 3))
    np.testing.assert_array_equal(found.predict(near(5, 3)), expected)
    none = asked[:0]
    assert corrected(SPACE, uniform, none, accuracy_of(none)) is uniform


def test_only_the_last_of_very_many_correct(
    uniform: GaussianProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST", 30)
    asked = near(50, 2)
    found = corrected(SPACE, uniform, asked, accuracy_of(asked))
    assert isinstance(found, CorrectedProcess) and found.uniform is uniform
    same = corrected(SPACE, uniform, asked[20:], accuracy_of(asked[20:]))
    np.testing.assert_array_equal(found.predict(asked), same.predict(asked))
