"""NSGA-II (Deb et al. 2002): one run for accuracy and cost at once answers every budget.

pymoo's algorithm with the operators its manual gives for integer variables, on one integer per
token. It is asked for settings and given their objectives, so that the predictors see whole
populations.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np

from pnag.errors import PnagError
from pnag.extras import install
from pnag.search.front import Front, pareto_front
from pnag.search.methods.problem import Problem, Progress, infeasible, silent
from pnag.space import Tokens


@dataclass(frozen=True)
class Nsga2Settings:
    """As many architectures (population * generations) as EVO spends on a single budget."""

    population: int = 200
    generations: int = 250


@dataclass(frozen=True)
class Nsga2:
    """The nondominated set that a run ended with.

    Attributes:
        front: by predicted accuracy and cost.
    """

    front: Front

    def answer(self, budget: float) -> Tokens:
        """(1, T) the most accurate one of the set within the budget."""
        return self.generate(budget, 1)

    def generate(self, budget: float, n: int) -> Tokens:
        """(n, T) the set's members within the budget, best first, over and over up to n."""
        best = self.front.best(budget)
        if best is None:
            raise infeasible(budget, float(self.front.cost[0]))
        return self.front.tokens[best - np.arange(n) % (best + 1)]


def require_pymoo() -> None:
    """Say how to install the optional dependency, before time is spent on predictors.

    Raises:
        PnagError: if pymoo is not installed.
    """
    if find_spec("pymoo") is None:
        raise PnagError(f"nsga2 needs pymoo: {install('search')}")


def nsga2(
    problem: Problem,
    seed: int = 0,
    progress: Progress = silent,
    settings: Nsga2Settings | None = None,
) -> Nsga2:
    """Run NSGA-II once.

    Raises:
        PnagError: if pymoo is not installed.
    """
    require_pymoo()
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.config import Config
    from pymoo.core.duplicate import DefaultDuplicateElimination
    from pymoo.core.problem import Problem as IntegerProblem
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.repair.rounding import RoundingRepair
    from pymoo.operators.sampling.rnd import IntegerRandomSampling

    # Where pymoo was built without compiled parts it says so on stdout, which is for results.
    Config.warnings["not_compiled"] = False
    settings = settings or Nsga2Settings()
    space = problem.space

    def tokens_of(population: object) -> Tokens:
        # Settings that differ in absent layers only are one architecture.
        return space.canonical(population.get("X").astype(np.int8))  # type: ignore[attr-defined]

    algorithm = NSGA2(
        settings.population,
        sampling=IntegerRandomSampling(),
        crossover=SBX(prob=1.0, eta=3.0, vtype=float, repair=RoundingRepair()),
        mutation=PM(prob=1.0, eta=3.0, vtype=float, repair=RoundingRepair()),
        eliminate_duplicates=DefaultDuplicateElimination(func=tokens_of),
    )
    integers = IntegerProblem(
        n_var=len(space.tokens), n_obj=2, xl=0, xu=space.choices_per_token - 1, vtype=int
    )
    algorithm.setup(integers, termination=("n_gen", settings.generations), seed=seed)
    while algorithm.has_next():
        children = algorithm.ask()
        if children is None:  # a small space has no further architecture to try
            break
        accuracy, cost = problem.label(tokens_of(children))
        children.set("F", np.stack([-accuracy, cost], 1))
        algorithm.tell(children)
        progress(algorithm.n_iter - 1, settings.generations)
    final = tokens_of(algorithm.opt)
    return Nsga2(pareto_front(final, *problem.label(final)))
