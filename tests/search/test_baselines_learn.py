"""The methods to compare with find what is there; each is noticed if it is broken.

On a truth of our own, whose best is known exactly. `scripts/mutations.py` breaks them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from made_truth import SPACE, accuracy, best_of_all, cost, problem_of

from pnag.search.methods import Searcher, silent
from pnag.search.methods.evo import Evo, EvoSettings
from pnag.search.methods.multi_objective import (
    MultiObjective,
    MultiObjectiveSettings,
    mnasnet_reward,
    nas_mo,
    ofa_mo,
)
from pnag.search.methods.nsga2 import Nsga2Settings, nsga2
from pnag.search.methods.random_search import RandomSearch
from pnag.search.policy_gradient import GeneratorSettings

PROBLEM = problem_of(60, 0)
BUDGETS = [float(b) for b in np.quantile(PROBLEM.cost, [0.1, 0.3, 0.8])]
BEST = best_of_all()
EVO = EvoSettings(population=100, generations=40, samples=4000)
NSGA2 = Nsga2Settings(population=100, generations=40)
MULTI = MultiObjectiveSettings(
    draws=200,
    generator=GeneratorSettings(
        iterations=80, samples=32, learning_rate=0.015, entropy=0.05, final_entropy=0.002,
        hidden=16, embedding=8,
    ),
)  # fmt: skip


def regret(searcher: Searcher) -> float:
    """Points by which the answers are less accurate than the best there is; all hold the budget."""
    apart = []
    for budget in BUDGETS:
        answer = searcher.answer(budget)
        assert cost(answer)[0] <= budget
        apart.append(BEST.accuracy[BEST.best(budget) or 0] - accuracy(answer)[0])
    return float(np.mean(apart) * 100)


@pytest.fixture(scope="module")
def multi() -> MultiObjective:
    return ofa_mo(PROBLEM, 0, silent, MULTI)


def test_evo_is_near_the_best() -> None:
    searcher = Evo(PROBLEM, 0, silent, EVO)
    assert regret(searcher) < 0.3
    # It is the search: the first population is as bad as the table.
    assert regret(Evo(PROBLEM, 0, silent, replace(EVO, generations=1))) > 0.5


def test_evo_without_mutants_loses_what_its_first_population_lacks() -> None:
    """Crossovers alone cannot find a choice that nobody has."""
    few = replace(EVO, population=8, parents=0.5, generations=100)
    assert regret(Evo(PROBLEM, 0, silent, few)) < 0.6
    assert regret(Evo(PROBLEM, 0, silent, replace(few, mutants=0.0))) > 0.8


def test_nsga2_is_near_the_best_over_the_whole_range() -> None:
    searcher = nsga2(PROBLEM, 0, silent, NSGA2)
    assert regret(searcher) < 0.1
    assert np.ptp(searcher.front.cost) > 1.2 * np.ptp(PROBLEM.cost)
    assert (np.diff(searcher.front.accuracy) > 0).all()
    assert regret(nsga2(PROBLEM, 0, silent, replace(NSGA2, generations=1))) > 1


def test_multi_objective_generators_learn_their_budget(multi: MultiObjective) -> None:
    uniform = SPACE.sample(20_000, np.random.default_rng(0))
    for budget in BUDGETS:
        drawn = multi.generate(budget, 200)
        reward = mnasnet_reward(accuracy(drawn), cost(drawn), budget, MULTI)
        of_uniform = mnasnet_reward(accuracy(uniform), cost(uniform), budget, MULTI)
        assert reward.mean() > np.quantile(of_uniform, 0.9)
        assert (cost(drawn) <= budget).mean() > 0.6
    low, high = (cost(multi.generate(b, 200)).mean() for b in (BUDGETS[0], BUDGETS[-1]))
    assert high > low + 5


def test_ofa_mo_answers_with_the_best_draw_within_the_budget(multi: MultiObjective) -> None:
    for budget in BUDGETS:
        drawn, answer = multi.generate(budget, MULTI.draws), multi.answer(budget)
        within = cost(drawn) <= budget
        assert cost(answer)[0] <= budget and within.any()
        assert accuracy(answer)[0] == accuracy(drawn)[within].max()


def test_nas_mo_answers_with_the_best_reward_of_its_draws(multi: MultiObjective) -> None:
    by_reward = replace(multi, choose=nas_mo.keywords["choose"])
    for budget in BUDGETS:
        drawn, answer = multi.generate(budget, MULTI.draws), by_reward.answer(budget)
        rewards = mnasnet_reward(accuracy(drawn), cost(drawn), budget, MULTI)
        mine = mnasnet_reward(accuracy(answer), cost(answer), budget, MULTI)
        assert mine[0] == rewards.max() > rewards.min()


def test_random_search_answers_with_the_best_row_within_the_budget() -> None:
    searcher = RandomSearch(PROBLEM)
    for budget in BUDGETS:
        answer, within = searcher.answer(budget), PROBLEM.cost <= budget
        assert cost(answer)[0] <= budget
        assert accuracy(answer)[0] == PROBLEM.accuracy[within].max()
