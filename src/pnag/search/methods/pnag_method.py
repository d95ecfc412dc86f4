"""PNAG as one of the methods that are compared: it does what `pnag run` does."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from pnag.search.front import Front
from pnag.search.generator import Generator
from pnag.search.methods.problem import Problem, Progress, infeasible, silent
from pnag.search.pnag import NoStore, PnagSettings, train_and_search
from pnag.space import Tokens


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
        progress: called with the steps of all three parts together.
    """
    s = settings or PnagSettings()
    taught, found = train_and_search(
        problem.tokens,
        problem.accuracy,
        problem.cost,
        problem.labels,
        s,
        NoStore(s, progress),
        seed,
    )
    return PnagSearcher(taught.generator, found.front, seed)
