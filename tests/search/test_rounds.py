"""Rounds: what is proposed, and that what is learnt of few evaluations finds the best."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from pnag.search import corrected as corrected_module
from pnag.search import few_rows, rounds
from pnag.search.corrected import Process
from pnag.search.expected_gain import (
    best_within,
    budgets_over,
    expected_gain,
    most_together,
    normal_scores,
)
from pnag.search.front import Floats
from pnag.search.rounds import ask_in_rounds, promising
from pnag.space import SearchSpace, Tokens
from pnag.space.search_space import Token

CELLS = SearchSpace(tuple(Token(f"edge{i}", tuple(range(5))) for i in range(6)))
WORTH = np.random.default_rng(5).normal(size=(6, 5))
TOGETHER = np.random.default_rng(6).normal(size=(6, 5, 5))
PRICE = np.random.default_rng(7).random((2, 6, 5))


def accuracy_of(tokens: Tokens) -> Floats:
    """Each edge's worth and what it is worth with the next; cells that begin with two 0 fail."""
    edges = np.arange(6)
    worth = WORTH[edges, tokens].sum(1)
    worth += TOGETHER[edges, tokens, np.roll(tokens, -1, axis=1)].sum(1)
    return np.asarray(np.where((tokens[:, :2] == 0).all(1), 0.01, 0.7 + 0.01 * worth))


def costs_of(tokens: Tokens) -> Floats:
    """(N, 2) sums of the edges' prices."""
    return np.asarray(PRICE[:, np.arange(6), tokens].sum(2).T)


@pytest.mark.parametrize("space", [CELLS, SearchSpace()])
def test_what_is_promising_is_what_the_first_round_asks_for(space: SearchSpace) -> None:
    tokens = space.sample_unique(30, np.random.default_rng(0))
    values = space.features(tokens) @ np.linspace(0, 1, space.num_features)

    def cost(wanted: Tokens) -> Floats:
        return np.asarray(space.features(wanted).sum(1) + space.features(wanted)[:, 0], float)

    asked: list[Tokens] = []

    def ask(wanted: Tokens) -> tuple[Floats, Floats]:
        asked.append(wanted)
        return np.zeros(len(wanted)), cost(wanted)

    ask_in_rounds(
        space, tokens, values, cost(tokens), cost, ask, rounds=1, per_round=4, seed=3
    )  # fmt: skip
    found = promising(space, tokens, values, cost(tokens), cost, 4, seed=3)
    assert len(found) == 4 and np.array_equal(found, asked[0])


def regret(evaluated: Tokens, costs: Floats, budget: Floats) -> float:
    """How far the best evaluated within a budget is behind the best of all 15,625."""
    everything = CELLS.everything()
    within = (costs_of(everything)[:, : costs.shape[1]] <= budget).all(1)
    best = accuracy_of(everything)[within].max()
    return float(best - accuracy_of(evaluated)[(costs <= budget).all(1)].max(initial=0.0))


def test_gain_is_the_mean_of_what_draws_improve() -> None:
    rng = np.random.default_rng(0)
    means, spreads, costs = np.array([0.2, 1.0]), np.array([1.0, 0.1]), np.array([[1.0], [2.0]])
    best, budgets = np.array([0.5, 0.9, 1.2]), np.array([[0.5], [1.5], [2.5]])
    draws = means + spreads * rng.standard_normal((400_000, 2))
    cheap = np.maximum(draws[:, 0] - 0.9, 0).mean() + np.maximum(draws[:, 0] - 1.2, 0).mean()
    dear = np.maximum(draws[:, 1] - 1.2, 0).mean()
    found = expected_gain(means, spreads, costs, best, budgets)
    assert found == pytest.approx([cheap, dear], abs=5e-3)


def test_of_two_that_tell_the_same_only_one_is_asked_for() -> None:
    covariance = np.array([[1.0, 0.999, 0], [0.999, 1.0, 0], [0, 0, 0.8]])
    chosen = most_together(
        np.array([0.5, 0.49, 0.3]), covariance, 0.0, np.zeros((3, 1)),
        np.zeros(1), np.ones((1, 1)), 2, np.random.default_rng(0),
    )  # fmt: skip
    assert chosen.tolist() == [0, 2]


def test_what_is_good_for_few_budgets_is_asked_for_too() -> None:
    """The first two are good for one of 40 budgets; all others serve every budget."""
    means, costs = np.r_[0.3, 0.3, np.ones(40)], np.r_[1.0, 1.0, np.full(40, 2.0)][:, None]
    budgets = np.r_[1.0, np.full(39, 2.0)][:, None]
    asked = [
        set(
            most_together(
                means, 0.01 * np.eye(42), 0.0, costs, np.zeros(40), budgets, 10,
                np.random.default_rng(seed),
            ).tolist()
        )
        for seed in range(40)
    ]  # fmt: skip
    cheap = sum(bool(chosen & {0, 1}) for chosen in asked)
    assert 0 < cheap < 20 and all(len(chosen) == 10 for chosen in asked)


def test_of_a_failure_only_the_rank_matters() -> None:
    values = np.array([0.9, 0.1, 0.8, 0.7])
    worse = np.array([0.9, -50.0, 0.8, 0.7])
    assert normal_scores(values).tolist() == normal_scores(worse).tolist()
    assert normal_scores(values) == pytest.approx(norm.ppf([7 / 8, 1 / 8, 5 / 8, 3 / 8]))


def test_best_within_takes_all_costs_into_account() -> None:
    values, costs = np.array([1.0, 2.0, 3.0]), np.array([[1.0, 1.0], [1.0, 3.0], [3.0, 1.0]])
    budgets = np.array([[1.0, 1.0], [2.0, 4.0], [4.0, 2.0], [0.5, 9.0]])
    assert best_within(values, costs, budgets, worst=0.5).tolist() == [1.0, 2.0, 3.0, 0.5]
    assert budgets_over(costs[:, :1], np.random.default_rng(0))[-1] == 3.0


@pytest.mark.parametrize("count", [1, 2])
def test_few_evaluations_find_the_best_of_a_small_space(count: int) -> None:
    start = CELLS.sample_unique(30, np.random.default_rng(4))

    def cost(tokens: Tokens) -> Floats:
        return costs_of(tokens) if count == 2 else costs_of(tokens)[:, 0]

    tokens, accuracy, costs = ask_in_rounds(
        CELLS, start, accuracy_of(start), cost(start), cost,
        lambda asked: (accuracy_of(asked), cost(asked)), rounds=12, per_round=10,
    )  # fmt: skip
    assert len(np.unique(tokens, axis=0)) == 150 and (tokens[:30] == start).all()
    assert accuracy.tolist() == accuracy_of(tokens).tolist() and costs.shape == cost(tokens).shape
    uniform = CELLS.sample_unique(150, np.random.default_rng(4))
    every = costs_of(CELLS.everything())[:, :count]
    gaps, chance = [], []
    for share in (0.2, 0.4, 0.6, 0.8):
        budget = np.quantile(every, share, axis=0)
        gaps.append(regret(tokens, costs_of(tokens)[:, :count], budget))
        chance.append(regret(uniform, costs_of(uniform)[:, :count], budget))
    assert max(gaps) <= 0.01 and np.mean(gaps) < np.mean(chance) / 3


def test_rounds_end_when_all_is_known() -> None:
    small = SearchSpace((Token("a", (0, 1, 2)), Token("b", (0, 1))))
    start = small.sample_unique(4, np.random.default_rng(0))

    def ask(tokens: Tokens) -> tuple[Floats, Floats]:
        return np.asarray(tokens.sum(1) / 10), 1.0 + tokens[:, 0].astype(float)

    tokens, _, _ = ask_in_rounds(
        small, start, *ask(start), lambda t: ask(t)[1], ask, rounds=5, per_round=4
    )
    assert len(tokens) == len(np.unique(tokens, axis=0)) == 6


def test_a_space_of_few_tokens_that_is_too_large_to_list_has_enough_to_ask_for() -> None:
    eight = SearchSpace(tuple(Token(f"edge{i}", tuple(range(5))) for i in range(8)))

    def ask(tokens: Tokens) -> tuple[Floats, Floats]:
        return WORTH[0, tokens].sum(1), 1.0 + PRICE[0, 0, tokens].sum(1)

    start = eight.sample_unique(40, np.random.default_rng(0))
    tokens, _, _ = ask_in_rounds(
        eight, start, *ask(start), lambda t: ask(t)[1], ask, rounds=4, per_round=25
    )
    assert len(tokens) == len(np.unique(tokens, axis=0)) == 140
    with pytest.raises(ValueError, match="several costs need a space of at most 20,000"):
        ask_in_rounds(
            eight, start, ask(start)[0], np.ones((40, 2)), lambda t: np.ones((len(t), 2)),
            lambda t: (np.zeros(len(t)), np.ones((len(t), 2))), rounds=1, per_round=1,
        )  # fmt: skip


def test_few_rows_look_at_both_ends_of_the_costs() -> None:
    """Uniform rows cost 23 to 40 of 10 to 50; budgets may be anywhere."""
    space = SearchSpace(tuple(Token(f"layer{i}", (1, 2, 3, 4, 5)) for i in range(10)))

    def ask(tokens: Tokens) -> tuple[Floats, Floats]:
        sizes = 1.0 + tokens
        return np.log(sizes).sum(1), sizes.sum(1)

    start = space.sample_unique(30, np.random.default_rng(0))
    _, accuracy, cost = ask_in_rounds(
        space, start, *ask(start), lambda t: ask(t)[1], ask, rounds=6, per_round=15
    )
    for budget in (12, 15, 25, 40):  # equal sizes are best: the logarithm falls off
        size, larger = divmod(budget, 10)
        best = (10 - larger) * np.log(size) + larger * np.log(size + 1)
        assert accuracy[cost <= budget].max() >= best - 0.2


Known = tuple[int, Tokens]
"""How many uniform rows there were, and those that correct them."""


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> list[Known]:
    """What is known in each round of a large table, which here has 30 rows."""
    found: list[Known] = []

    def corrected(space: SearchSpace, uniform: Any, tokens: Tokens, targets: Floats) -> Process:
        found.append((len(uniform.tokens), tokens))
        return corrected_module.corrected(space, uniform, tokens, targets)

    monkeypatch.setattr(rounds, "corrected", corrected)
    monkeypatch.setattr(rounds, "MANY", 30)
    monkeypatch.setattr(corrected_module, "LEAST", 4)
    return found


def linear(tokens: Tokens) -> tuple[Floats, Floats]:
    """Accuracy and cost of the large space."""
    features = SearchSpace().features(tokens)
    return features @ np.linspace(0, 1, features.shape[1]), 1.0 + features[:, ::3].sum(1)


def test_what_rounds_asked_for_corrects_the_first_rows_of_a_large_table(
    known: list[Known],
) -> None:
    space = SearchSpace()
    start = space.sample_unique(40, np.random.default_rng(0))
    tokens, accuracy, cost = ask_in_rounds(
        space, start, *linear(start), lambda t: linear(t)[1], linear, rounds=3, per_round=5
    )
    for (first, asked), count in zip(known, (0, 5, 10), strict=True):
        assert first == 40 and np.array_equal(asked, tokens[40 : 40 + count])
    known.clear()
    promising(space, tokens, accuracy, cost, lambda t: linear(t)[1], 5, 0, from_rounds=10)
    promising(space, tokens, accuracy, cost, lambda t: linear(t)[1], 5, 0, from_rounds=30)
    (first, asked), (few, none) = known
    assert first == 45 and np.array_equal(asked, tokens[45:])
    assert few == 55 and not len(none)  # 25 uniform rows: one process of all


def test_of_few_rows_each_round_learns_anew(
    known: list[Known], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def fit(space: SearchSpace, tokens: Tokens, targets: Floats) -> Any:
        seen.append(len(tokens))
        return real(space, tokens, targets)

    real = few_rows.fit_learnt
    monkeypatch.setattr(few_rows, "fit_learnt", fit)
    space = SearchSpace()
    start = space.sample_unique(15, np.random.default_rng(0))
    ask_in_rounds(
        space, start, *linear(start), lambda t: linear(t)[1], linear, rounds=3, per_round=5
    )
    assert not known and seen == [15, 20, 25]


def test_a_table_that_outgrows_the_list_keeps_its_first_rows_apart(
    known: list[Known], monkeypatch: pytest.MonkeyPatch
) -> None:
    start = CELLS.sample_unique(22, np.random.default_rng(4))

    def cost(tokens: Tokens) -> Floats:
        return costs_of(tokens)[:, 0]

    tokens, _, _ = ask_in_rounds(
        CELLS, start, accuracy_of(start), cost(start), cost,
        lambda asked: (accuracy_of(asked), cost(asked)), rounds=3, per_round=10,
    )  # fmt: skip
    assert [first for first, _ in known] == [32, 32]
    assert np.array_equal(known[1][1], tokens[32:42])


def test_what_is_unknown_near_the_front_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    space = SearchSpace()
    tokens = space.sample_unique(corrected_module.MANY + 60, np.random.default_rng(0))
    accuracy, cost = linear(tokens)

    def asked(optimism: float) -> Tokens:
        monkeypatch.setattr(rounds, "OPTIMISM_CORRECTED", optimism)
        return promising(
            space, tokens, accuracy, cost, lambda t: linear(t)[1], 10, 0, from_rounds=60
        )

    assert not np.array_equal(asked(0.0), asked(100.0))
