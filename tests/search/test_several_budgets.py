"""Several budgets at once, against the best of all architectures of spaces that can be listed."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from pnag.search.front import FrontSettings, draw_up_to
from pnag.search.generator import Generator
from pnag.search.several_budgets import (
    best_within,
    cheapest_within,
)
from pnag.space import ABSENT, SearchSpace, Tokens
from pnag.space.search_space import Token

# Four units of one or two layers with four choices each: few enough to list them all.
SPACE = SearchSpace(
    tuple(
        token
        for unit in range(4)
        for token in (
            Token(f"{unit}.depth", (1, 2)),
            Token(f"{unit}.first", (2, 3, 4, 6), 3 * unit, 0),
            Token(f"{unit}.second", (2, 3, 4, 6), 3 * unit, 1),
        )
    )
)
QUICK = FrontSettings(budgets=16, draws=16, rounds=30, children=512, bins=64)


def everything() -> Tokens:
    unit = [(0, first, ABSENT) for first in range(4)]
    unit += [(1, first, second) for first in range(4) for second in range(4)]
    return np.array(list(itertools.product(unit, repeat=4)), dtype=np.int8).reshape(-1, 12)


ALL = everything()


def problem(seed: int) -> tuple[object, object]:
    """A made-up accuracy with interactions, and three costs, the last of which is a maximum."""
    rng = np.random.default_rng(seed)
    features = SPACE.num_features
    good, pairs = rng.random(features), 0.1 * rng.standard_normal((features, features))
    sums = rng.random((features, 2)) + 0.2
    peak = rng.random(features) + 0.2

    def value(tokens: Tokens) -> np.ndarray:
        x = SPACE.features(tokens)
        return x @ good + ((x @ pairs) * x).sum(1)

    def costs(tokens: Tokens) -> np.ndarray:
        x = SPACE.features(tokens)
        return np.concatenate([x @ sums, (x * peak).max(1, keepdims=True)], axis=1)

    return value, costs


def test_the_space_is_the_one_that_is_listed() -> None:
    assert len(ALL) == SPACE.size == (4 + 16) ** 4
    assert len(SPACE.check(ALL)) == len(np.unique(ALL, axis=0))


@pytest.mark.parametrize("seed", range(6))
def test_the_answer_is_nearly_the_best_of_all_and_within_all(seed: int) -> None:
    value, costs = problem(seed)
    values, of_all = value(ALL), costs(ALL)
    rng = np.random.default_rng(seed)
    start = SPACE.sample(30, rng)
    for tightness in (0.02, 0.2, 0.6):
        budgets = np.quantile(of_all, tightness, axis=0)
        feasible = (of_all <= budgets).all(axis=1)
        if not feasible.any():
            continue
        best = values[feasible].max()
        tokens, share = best_within(SPACE, start, value, costs, budgets, QUICK, seed=seed)
        assert share <= 1 and (costs(tokens) <= budgets).all()
        gap = (best - value(tokens)[0]) / np.ptp(values)
        assert -1e-12 <= gap < 0.01


@pytest.mark.parametrize("seed", range(4))
def test_what_cannot_be_held_and_what_could(seed: int) -> None:
    value, costs = problem(seed)
    of_all = costs(ALL)
    start = SPACE.sample(30, np.random.default_rng(seed))
    least = of_all.min(axis=0)
    budgets = np.quantile(of_all, 0.9, axis=0)
    budgets[1] = 0.99 * least[1]
    tokens, share = best_within(SPACE, start, value, costs, budgets, QUICK, seed=seed)
    assert share == pytest.approx(1 / 0.99)
    assert costs(tokens)[0, 1] == pytest.approx(least[1])
    # The cheapest of one cost, alone and within the budgets of the others.
    for others in (np.full(3, np.inf), np.quantile(of_all, 0.05, axis=0)):
        budgets = np.where(np.arange(3) == 1, 1.0, others)
        feasible = (of_all[:, [0, 2]] <= budgets[[0, 2]]).all(axis=1)
        found = cheapest_within(SPACE, start, costs, budgets, 1, QUICK, seed=seed)
        assert (found is not None) == feasible.any()
        if found is not None:
            assert found[1] == pytest.approx(of_all[feasible, 1].min(), rel=0.02)
            assert costs(found[0])[0, 1] == pytest.approx(found[1])
    assert cheapest_within(SPACE, start, costs, np.array([least[0] / 2, 1, 9]), 1, QUICK) is None


def test_the_generator_is_asked_up_to_the_budget() -> None:
    asked = []

    class Spy(Generator):
        def sample(self, budgets, generator=None):  # type: ignore[no-untyped-def]
            asked.append(budgets)
            return super().sample(budgets, generator)

    generator = Spy(SPACE, torch.tensor([1.0, 2.0, 5.0]), 8)
    for budget, highest in ((3.0, 3.0), (9.0, 5.0), (0.5, 1.0), (float("inf"), 5.0)):
        tokens = draw_up_to(generator, budget, QUICK)
        assert len(SPACE.check(tokens)) == 16 * 16
        assert (float(asked[-1].min()), float(asked[-1].max())) == (1.0, highest)
