"""PNAG: evaluator and generator trained once for all budgets, then the front they lead to."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from pnag.search.budgets import trained_budgets
from pnag.search.evaluator import EvaluatorSettings, train_evaluator
from pnag.search.front import Front, FrontSettings, find_front, pareto_front
from pnag.search.generator import Generator
from pnag.search.methods.problem import Problem, Progress, infeasible, silent
from pnag.search.policy_gradient import GeneratorSettings, train_generator
from pnag.space import Tokens


@dataclass(frozen=True)
class PnagSettings:
    """Settings of the three parts; `trained_budgets` is the paper's K."""

    trained_budgets: int = 10
    evaluator: EvaluatorSettings = field(default_factory=EvaluatorSettings)
    generator: GeneratorSettings = field(default_factory=GeneratorSettings)
    front: FrontSettings = field(default_factory=FrontSettings)


@dataclass(frozen=True)
class PnagSearcher:
    """A trained generator, and the front found from its draws."""

    generator: Generator
    front: Front
    seed: int

    def answer(self, budget: float) -> Tokens:
        """(1, T) the front's most accurate architecture within the budget, by the predictors."""
        index = self.front.best(budget)
        if index is None:
            raise infeasible(budget, float(self.front.cost[0]))
        return self.front.tokens[index : index + 1]

    def generate(self, budget: float, n: int) -> Tokens:
        """(n, T) draws from f(B)."""
        self.answer(budget)  # says so where no architecture is within the budget
        budgets = torch.full((n,), budget, dtype=torch.float64)
        return self.generator.sample(budgets, torch.Generator().manual_seed(self.seed))


def pnag(
    problem: Problem,
    seed: int = 0,
    progress: Progress = silent,
    settings: PnagSettings | None = None,
) -> PnagSearcher:
    """Train evaluator and generator on a table; find the front.

    Args:
        progress: told the steps of all three parts together.
    """
    s = settings or PnagSettings()
    total = s.evaluator.steps + s.generator.iterations + s.front.rounds
    features, accuracy, cost = problem.labels.describe(problem.tokens)
    budgets = trained_budgets(problem.cost, s.trained_budgets)
    evaluator, _ = train_evaluator(
        features,
        accuracy,
        cost,
        budgets,
        s.evaluator,
        seed=seed,
        progress=lambda done, _total, _loss: progress(done, total),
    )
    generator, _ = train_generator(
        problem.space,
        evaluator,
        budgets,
        problem.labels.describe,
        s.generator,
        seed=seed,
        progress=lambda done, _total, _reward: progress(s.evaluator.steps + done, total),
    )
    front, _ = find_front(
        problem.space,
        generator,
        problem.label,
        s.front,
        start=pareto_front(problem.tokens, problem.accuracy, problem.cost).tokens,
        seed=seed,
        progress=lambda done, _total: progress(total - s.front.rounds + done, total),
    )
    return PnagSearcher(generator, front, seed)
