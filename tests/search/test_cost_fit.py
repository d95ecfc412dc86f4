"""The predictor of costs: of products, of sums, and of what is neither."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from pnag.search.additive import Floats
from pnag.search.cost_fit import FLOOR, fit_cost_predictor
from pnag.search.predictor import Predictor
from pnag.search.predictor_fit import PredictorSettings, fit_predictor
from pnag.space import SearchSpace, Tokens
from pnag.space.search_space import Token

SPACE = SearchSpace(
    (
        Token("depth", (1, 2, 4, 8)),
        Token("width", (8, 16, 32, 64)),
        Token("resolution", (16, 24, 32)),
        Token("kernel", (3, 5, 7)),
    )
)
ALL: Tokens = np.array(list(itertools.product(range(4), range(4), range(3), range(3))), np.int8)
QUICK = PredictorSettings(members=3, hidden=32, epochs=15)


def product(tokens: Tokens) -> Floats:
    """Milliseconds: depth x width^2 x resolution^2 x kernel."""
    depth, width, resolution, kernel = SPACE.values(tokens).astype(float).T
    return np.asarray(depth * width**2 * resolution**2 * kernel / 1e6)


def added(tokens: Tokens) -> Floats:
    return np.asarray(1 + SPACE.values(tokens).astype(float) @ np.array([1.0, 0.2, 0.1, 0.5]))


def seen(rows: int, seed: int) -> tuple[Tokens, Tokens]:
    order = np.random.default_rng(seed).permutation(len(ALL))
    return ALL[order[:rows]], ALL[order[rows:]]


def relative(predictor: Predictor, tokens: Tokens, costs: Floats) -> float:
    return float(np.abs(predictor.predict(tokens) / costs - 1).mean())


@pytest.mark.parametrize(("rows", "seed"), [(60, 0), (90, 1), (120, 2)])
def test_a_product_is_positive_and_near_the_truth(rows: int, seed: int) -> None:
    some, others = seen(rows, seed)
    fitted = fit_cost_predictor(SPACE, some, product(some), settings=QUICK)
    plain = fit_predictor(SPACE, some, product(some), settings=QUICK)
    assert plain.predict(ALL).min() < 0 < fitted.predict(ALL).min()
    error = relative(fitted, others, product(others))
    assert error < 0.1 and 10 * error < relative(plain, others, product(others))


def test_of_a_product_with_noise_the_best_within_a_small_budget_holds_it() -> None:
    some, _ = seen(120, 3)
    noise = np.random.default_rng(3).normal(1, 0.02, len(some))
    fitted = fit_cost_predictor(SPACE, some, product(some) * noise, settings=QUICK)
    budget = 1.5 * product(some).min()
    within = fitted.predict(ALL) <= budget
    assert within.any() and (product(ALL[within]) < 1.1 * budget).all()


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_a_sum_stays_a_sum(noise: float) -> None:
    for seed in range(5):
        some, _ = seen(120, seed)
        costs = added(some) * np.random.default_rng(seed).normal(1, noise, len(some))
        fitted = fit_cost_predictor(SPACE, some, costs, settings=QUICK)
        plain = fit_predictor(SPACE, some, costs, settings=QUICK)
        assert not fitted.logarithm
        assert np.array_equal(fitted.predict(some), plain.predict(some))


def test_a_sum_of_many_rows_is_exact() -> None:
    space = SearchSpace()
    tokens = space.sample_unique(3000, np.random.default_rng(0))
    costs = 5 + space.features(tokens) @ np.linspace(0, 1, space.num_features)
    fitted = fit_cost_predictor(space, tokens, costs, settings=QUICK)
    error = np.abs(fitted.predict(tokens) - costs).mean() / costs.std()
    assert not fitted.logarithm and fitted.is_ridge_alone and fitted.floor is None
    assert error < 1e-5


def test_no_cost_is_predicted_far_below_the_tables_lowest() -> None:
    """A noisy sum, whose cheap architectures the table lacks and a plain fit puts near 0."""
    some, _ = seen(120, 5)
    costs = added(some) - added(ALL).min() + 0.05
    costs += np.random.default_rng(5).uniform(-0.5, 0.5, len(some))
    some, costs = some[costs > 6], costs[costs > 6]
    fitted = fit_cost_predictor(SPACE, some, costs, settings=QUICK)
    plain = fit_predictor(SPACE, some, costs, settings=QUICK)
    assert not fitted.logarithm
    assert plain.predict(ALL).min() < FLOOR * costs.min() == fitted.predict(ALL).min()
    high = plain.predict(ALL) > costs.min()
    assert np.array_equal(fitted.predict(ALL)[high], plain.predict(ALL)[high])


def test_a_cost_that_is_not_positive_everywhere_is_predicted_as_it_was() -> None:
    some, others = seen(100, 6)
    costs = product(some) - np.median(product(some))
    fitted = fit_cost_predictor(SPACE, some, costs, settings=QUICK)
    plain = fit_predictor(SPACE, some, costs, settings=QUICK)
    assert np.array_equal(fitted.predict(others), plain.predict(others))


@pytest.mark.parametrize("of", [product, added])
def test_a_file_keeps_all(tmp_path: Path, of: object) -> None:
    assert callable(of)
    some, _ = seen(60, 7)
    noise = np.random.default_rng(7).normal(1, 0.05, len(some))
    fitted = fit_cost_predictor(SPACE, some, of(some) * noise, settings=QUICK)
    assert fitted.logarithm == (of is product) and (fitted.floor is None) == (of is product)
    fitted.save(tmp_path / "cost.safetensors")
    again = Predictor.load(tmp_path / "cost.safetensors", SPACE)
    assert (again.logarithm, again.floor) == (fitted.logarithm, fitted.floor)
    assert np.array_equal(again.predict(ALL), fitted.predict(ALL))


def test_a_file_of_an_earlier_run_predicts_what_it_did(tmp_path: Path) -> None:
    """It has no word of a logarithm or a floor: a plain fit's file has none either."""
    some, _ = seen(60, 8)
    plain = fit_predictor(SPACE, some, product(some), settings=QUICK)
    plain.save(tmp_path / "cost.safetensors")
    assert b"floor" not in (tmp_path / "cost.safetensors").read_bytes()
    again = Predictor.load(tmp_path / "cost.safetensors", SPACE)
    assert np.array_equal(again.predict(ALL), plain.predict(ALL))
