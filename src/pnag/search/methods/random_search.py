"""Random search: the best of the sampled architectures of the table that hold the budget.

It trusts the table's own accuracies and costs and asks no predictor.

What it *proposes* for a budget are fresh uniform samples of the space, whatever the budget: that is
where its candidates come from before any is compared with the budget. Rows of the table within the
budget would hold it by selection, and the share that does would say nothing; the share of uniform
samples is the chance level that the other methods' proposals are held against.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pnag.search.methods.problem import Problem, Progress, infeasible, silent
from pnag.space import Tokens


@dataclass(frozen=True)
class RandomSearch:
    """Random search; there is nothing to train, so no progress to report."""

    problem: Problem
    seed: int = 0
    progress: Progress = silent

    def answer(self, budget: float) -> Tokens:
        """(1, T) the row of the table with the best accuracy within the budget."""
        within = np.flatnonzero(self.problem.cost <= budget)
        if not len(within):
            raise infeasible(budget, float(self.problem.cost.min()))
        best = within[self.problem.accuracy[within].argmax()]
        return self.problem.tokens[best : best + 1]

    def generate(self, budget: float, n: int) -> Tokens:
        """(n, T) uniform samples, not selected by the budget; see the module's text."""
        self.answer(budget)  # an infeasible budget is the same error for both
        return self.problem.space.sample(n, np.random.default_rng(self.seed))
