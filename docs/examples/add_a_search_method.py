"""A search method of your own, compared with ours: hill climbing.

A method is any callable `(problem, seed, progress) -> searcher`; a searcher has `answer(budget)`
and `generate(budget, n)`. Give it a name in `METHODS` and `pnag search --method` knows it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pnag.search.methods import METHODS, Problem, Progress, silent
from pnag.search.methods.problem import infeasible
from pnag.space import Tokens

STEPS = 60
NEIGHBOURS = 64


@dataclass(frozen=True)
class HillClimbing:
    """From the table's best architecture within the budget to ever better neighbours."""

    problem: Problem
    seed: int = 0
    progress: Progress = silent

    def answer(self, budget: float) -> Tokens:
        """(1, T) where no neighbour that was tried is better."""
        problem, rng = self.problem, np.random.default_rng(self.seed)
        within = np.flatnonzero(problem.cost <= budget)
        if not len(within):
            raise infeasible(budget, float(problem.cost.min()))
        best = problem.tokens[within[problem.accuracy[within].argmax()]][None]
        for step in range(STEPS):
            around = problem.space.mutate(best.repeat(NEIGHBOURS, axis=0), 0.05, rng)
            pool = np.concatenate([best, around])
            accuracy, cost = problem.label(pool)
            feasible = np.where(cost <= budget, accuracy, -np.inf)
            if np.isfinite(feasible).any():
                best = pool[[feasible.argmax()]]
            self.progress(step + 1, STEPS)
        return best

    def generate(self, budget: float, n: int) -> Tokens:
        """(n, T) mutants of the answer: what this method would look at for the budget."""
        rng = np.random.default_rng(self.seed)
        return self.problem.space.mutate(self.answer(budget).repeat(n, axis=0), 0.05, rng)


METHODS["hill-climbing"] = HillClimbing
