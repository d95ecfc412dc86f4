"""The comparison methods: they hold the budget, find what is there, and repeat themselves."""

from __future__ import annotations

import dataclasses
import itertools
import re
import sys
from collections.abc import Callable

import numpy as np
import pytest

from pnag.errors import PnagError
from pnag.search.evaluator import EvaluatorSettings
from pnag.search.front import Floats, FrontSettings
from pnag.search.labels import Labels
from pnag.search.methods import METHODS, Problem, Searcher, get_method, silent
from pnag.search.methods.evo import Evo, EvoSettings
from pnag.search.methods.multi_objective import (
    MultiObjectiveSettings,
    mnasnet_reward,
    nas_mo,
    ofa_mo,
)
from pnag.search.methods.nsga2 import Nsga2Settings, nsga2
from pnag.search.methods.pnag_method import pnag
from pnag.search.methods.random_search import RandomSearch
from pnag.search.pnag import PnagSettings
from pnag.search.policy_gradient import GeneratorSettings
from pnag.space.search_space import SearchSpace, Token, Tokens

EVO = EvoSettings(population=40, generations=30, samples=4000)
MULTI = MultiObjectiveSettings(
    draws=100, generator=GeneratorSettings(iterations=25, samples=16, hidden=16, embedding=8)
)
NSGA2 = Nsga2Settings(population=40, generations=30)
PNAG = PnagSettings(
    trained_budgets=5,
    evaluator=EvaluatorSettings(steps=20, hidden=32, embedding=8),
    generator=dataclasses.replace(MULTI.generator, iterations=10),
    front=FrontSettings(budgets=16, draws=16, rounds=20, children=512, bins=64),
)
SMALL: dict[str, Callable[[Problem, int], Searcher]] = {
    "evo": lambda problem, seed: Evo(problem, seed, silent, EVO),
    "nas-mo": lambda problem, seed: nas_mo(problem, seed, silent, MULTI),
    "nsga2": lambda problem, seed: nsga2(problem, seed, silent, NSGA2),
    "ofa-mo": lambda problem, seed: ofa_mo(problem, seed, silent, MULTI),
    "pnag": lambda problem, seed: pnag(problem, seed, silent, PNAG),
    "random": lambda problem, seed: RandomSearch(problem, seed),
}
TINY = SearchSpace(
    (
        Token("a", (1, 2, 3)),
        Token("a.x", (1, 2, 3), 0, 1),
        Token("a.y", (1, 2, 3), 0, 2),
        Token("b", (1, 2)),
        Token("b.x", (1, 2, 3), 3, 1),
        Token("c", (1, 2, 3, 4)),
    )
)


@dataclasses.dataclass(frozen=True)
class Linear:
    space: SearchSpace
    constant: float
    weights: Floats

    def predict(self, tokens: Tokens) -> Floats:
        return np.asarray(self.constant + self.space.features(tokens).astype(float) @ self.weights)


def additive(space: SearchSpace) -> Labels:
    """Accuracy and cost that grow with every choice, at a rate of its own for each token."""
    rng = np.random.default_rng(0)
    step = np.concatenate([np.arange(1, count + 1) for count in space.choices_per_token])
    gain = step**0.5 * rng.uniform(0.1, 1, len(step))
    price = step * rng.uniform(0.1, 1, len(step))
    return Labels(space, Linear(space, 0.5, gain / 200), Linear(space, 5, price))


def problem_of(space: SearchSpace, rows: int) -> Problem:
    labels = additive(space)
    tokens = space.sample_unique(rows, np.random.default_rng(1))
    return Problem(space, tokens, *labels.label(tokens), labels)


@pytest.fixture(scope="module")
def problem() -> Problem:
    return problem_of(SearchSpace(), 600)


@pytest.fixture(scope="module")
def searchers(problem: Problem) -> dict[str, Searcher]:
    return {name: make(problem, 0) for name, make in SMALL.items()}


def everything(space: SearchSpace) -> Tokens:
    settings = list(itertools.product(*(range(n) for n in space.choices_per_token)))
    return np.unique(space.canonical(np.array(settings, dtype=np.int8)), axis=0)


def test_every_method_has_small_settings_here() -> None:
    assert set(METHODS) == set(SMALL)


@pytest.mark.parametrize("name", SMALL)
def test_the_answer_holds_the_budget(
    name: str, problem: Problem, searchers: dict[str, Searcher]
) -> None:
    for budget in np.quantile(problem.cost, [0.2, 0.7]):
        tokens = searchers[name].answer(budget)
        assert tokens.shape == (1, len(problem.space.tokens))
        problem.space.check(tokens)
        accuracy, cost = problem.label(tokens)
        assert cost[0] <= budget or name == "nas-mo"
        if name in ("evo", "nsga2", "pnag"):
            assert accuracy[0] >= problem.label(searchers["random"].answer(budget))[0][0]
        proposed = searchers[name].generate(budget, 300)
        assert proposed.shape == (300, len(problem.space.tokens))
        problem.space.check(proposed)
        if name in ("evo", "nsga2"):
            assert (problem.label(proposed)[1] <= budget).all()
            assert (proposed[:1] == tokens).all()


@pytest.mark.parametrize("name", SMALL)
def test_same_seed_same_answers_in_any_order(
    name: str, problem: Problem, searchers: dict[str, Searcher]
) -> None:
    low, high = np.quantile(problem.cost, [0.2, 0.7])
    first, again = searchers[name], SMALL[name](problem, 0)
    wanted = [first.answer(low), first.generate(low, 20), first.answer(high)]
    got_high = again.answer(high)
    got = [again.answer(low), again.generate(low, 20), got_high]
    assert all((a == b).all() for a, b in zip(wanted, got, strict=True))
    if name not in ("nas-mo", "ofa-mo"):  # those are slow to train
        other = SMALL[name](problem, 1).generate(low, 20)
        assert (other != wanted[1]).any()


@pytest.mark.parametrize("name", SMALL)
def test_an_infeasible_budget_names_the_cheapest(name: str) -> None:
    problem = problem_of(TINY, 20)
    everyone = problem.label(everything(TINY))[1]
    # random search knows its table only; the others come across the cheapest of this small space
    cheapest = problem.cost.min() if name == "random" else everyone.min()
    searcher = SMALL[name](problem, 0)
    budget = float(everyone.min()) - 0.1
    message = re.escape(f"within {budget:g}: the cheapest one found costs {cheapest:.4g}")
    with pytest.raises(PnagError, match=message):
        searcher.answer(budget)
    with pytest.raises(PnagError, match="cheapest one found costs"):
        searcher.answer(0.0)
    if not name.endswith("-mo"):  # those propose whatever the budget
        with pytest.raises(PnagError, match=message):
            searcher.generate(budget, 3)


@pytest.mark.parametrize("name", ["evo", "nsga2", "pnag"])
def test_against_brute_force(name: str) -> None:
    problem = problem_of(TINY, 20)
    tokens = everything(TINY)
    assert len(tokens) == TINY.size
    accuracy, cost = problem.label(tokens)
    searcher = SMALL[name](problem, 0)
    if name == "evo":
        # 0.1 is meant for 45 settings: of 6 it hardly ever changes two at once, and sticks
        searcher = Evo(problem, 0, silent, dataclasses.replace(EVO, mutation=0.5))
    for budget in np.quantile(cost, [0, 0.05, 0.3, 0.5, 0.9, 1]):
        best = accuracy[cost <= budget].max()
        assert problem.label(searcher.answer(budget))[0][0] == pytest.approx(best, abs=1e-12)


def with_cheapest_row(problem: Problem) -> tuple[Problem, float]:
    """The problem with the cheapest architecture in its table, and a budget just above its cost."""
    space = problem.space
    cheapest = space.canonical(np.zeros((1, len(space.tokens)), np.int8))
    tokens = np.concatenate([problem.tokens, cheapest])
    accuracy, cost = problem.label(tokens)
    assert cost[-1] * 1.05 < problem.cost.min()
    return Problem(space, tokens, accuracy, cost, problem.labels), float(cost[-1]) * 1.05


def test_evo_starts_from_the_table_where_samples_do_not_reach(problem: Problem) -> None:
    extended, budget = with_cheapest_row(problem)
    accuracy, cost = problem.label(SMALL["evo"](extended, 0).answer(budget))
    assert cost[0] <= budget and accuracy[0] >= extended.accuracy[-1]
    with pytest.raises(PnagError, match="the cheapest one found costs"):
        SMALL["evo"](problem, 0).answer(budget)


def test_ofa_mo_falls_back_to_its_cheapest_draw(problem: Problem) -> None:
    extended, budget = with_cheapest_row(problem)
    searcher = SMALL["ofa-mo"](extended, 0)
    drawn = problem.label(searcher.generate(budget, MULTI.draws))[1]
    assert drawn.min() > budget  # so little training does not get there
    assert problem.label(searcher.answer(budget))[1][0] == drawn.min()


def test_mnasnets_reward() -> None:
    accuracy, cost = np.array([0.7, 0.75, 0.8]), np.array([20.0, 30.0, 40.0])
    gently = MultiObjectiveSettings(within=-0.07, beyond=-0.07)
    soft = mnasnet_reward(accuracy, cost, 30, gently)
    assert soft == pytest.approx([0.7 * 1.5**0.07, 0.75, 0.8 * 0.75**0.07])
    hard = mnasnet_reward(accuracy, cost, 30, MultiObjectiveSettings())
    assert hard == pytest.approx([0.7, 0.75, 0.6])
    # the soft one orders architectures alike under every budget
    other = mnasnet_reward(accuracy, cost, 20, gently)
    assert other / soft == pytest.approx([(20 / 30) ** 0.07] * 3)


def test_the_soft_reward_needs_one_training_for_all_budgets(problem: Problem) -> None:
    seen: list[tuple[int, int]] = []
    short = dataclasses.replace(MULTI.generator, iterations=5)
    hard_settings = dataclasses.replace(MULTI, generator=short)
    soft = dataclasses.replace(hard_settings, within=-0.07, beyond=-0.07)
    searcher = nas_mo(problem, 0, lambda *done: seen.append(done), soft)
    low, high = np.quantile(problem.cost, [0.2, 0.7])
    assert (searcher.generate(low, 20) == searcher.generate(high, 20)).all()
    assert (searcher.answer(low) == searcher.answer(high)).all()
    assert len(seen) == short.iterations
    hard = nas_mo(problem, 0, silent, hard_settings)
    assert (hard.generate(low, 20) != hard.generate(high, 20)).any()


def test_multi_objective_training_raises_the_reward(problem: Problem) -> None:
    training = GeneratorSettings(iterations=60, samples=32, hidden=16, embedding=8)
    settings = MultiObjectiveSettings(generator=training)
    budget = float(np.median(problem.cost))
    seen: list[tuple[int, int]] = []
    trained = nas_mo(problem, 0, lambda *done: seen.append(done), settings)
    drawn = mnasnet_reward(*problem.label(trained.generate(budget, 200)), budget, settings)
    table = mnasnet_reward(problem.accuracy, problem.cost, budget, settings)
    assert drawn.mean() > table.mean() + table.std()
    assert seen[-1] == (60, 60)


def test_unknown_method() -> None:
    assert get_method("evo") is METHODS["evo"]
    with pytest.raises(PnagError, match=r"'annealing'; there are evo, nas-mo, .*random"):
        get_method("annealing")


def test_without_pymoo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymoo", None)
    with pytest.raises(PnagError, match=r'pip install "pnag\[search\]"'):
        get_method("nsga2")
