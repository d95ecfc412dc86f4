"""EVO: one evolutionary search per budget, as Once-for-All does it.

The best quarter of a population become parents; mutants and crossovers of them, half and half,
join them in the next population; a child beyond the budget is drawn again from the same parents.

As in Once-for-All an individual carries a setting for *every* token, also for layers that its depth
leaves out, so they are inherited and come back when the depth grows. Once-for-All redraws a
layer's width and kernel together; here each setting is redrawn by itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pnag.search.front import Floats
from pnag.search.methods.problem import Problem, Progress, infeasible, silent
from pnag.space import ABSENT, Tokens


@dataclass(frozen=True)
class EvoSettings:
    """Once-for-All's numbers, and two limits that its endless redraws do not have.

    Attributes:
        population: children per generation. parents: share of it that breeds. mutants: share of
            the children that are mutants, the others are crossovers. mutation: probability that a
            mutant's setting is redrawn.
        samples: uniform samples that the first population is picked from, at most; where fewer
            than `population` of them hold the budget, the rows of the table that hold it join.
        rounds: of drawing again children beyond the budget. Round i draws 2^i for each, so that 7
            are 127 tries; a child that has failed them all is a copy of its (first) parent.
    """

    population: int = 100
    generations: int = 500
    parents: float = 0.25
    mutants: float = 0.5
    mutation: float = 0.1
    samples: int = 100_000
    rounds: int = 7


@dataclass(frozen=True)
class Evo:
    """Evolutionary search; each budget has its own, done when first asked for."""

    problem: Problem
    seed: int = 0
    progress: Progress = silent
    settings: EvoSettings = field(default_factory=EvoSettings)
    _populations: dict[float, Tokens] = field(default_factory=dict)

    def answer(self, budget: float) -> Tokens:
        """(1, T) the best of the last population."""
        return self._population(budget)[:1]

    def generate(self, budget: float, n: int) -> Tokens:
        """(n, T) the last population, best first, over and over up to n."""
        population = self._population(budget)
        return population[np.arange(n) % len(population)]

    def _population(self, budget: float) -> Tokens:
        """(P, T) the last population for a budget, best first."""
        if budget not in self._populations:
            settings, accuracy = self._evolve(budget)
            best = np.argsort(-accuracy, kind="stable")
            self._populations[budget] = self.problem.space.canonical(settings[best])
        return self._populations[budget]

    def _evolve(self, budget: float) -> tuple[Tokens, Floats]:
        """Settings (P, T) and predicted accuracy (P,) of the last parents and their children."""
        s = self.settings
        rng = np.random.default_rng(self.seed)
        population = self._first_population(budget, rng)
        accuracy = self._accuracy(population)
        count = round(s.parents * s.population)
        mutant = np.arange(s.population) < round(s.mutants * s.population)
        for generation in range(s.generations):
            best = np.argsort(-accuracy, kind="stable")[:count]
            parents, parents_accuracy = population[best], accuracy[best]
            first, second = rng.integers(0, count, (2, s.population))
            children, children_accuracy = self._breed(
                parents[first], parents_accuracy[first], parents[second], mutant, budget, rng
            )
            population = np.concatenate([parents, children])
            accuracy = np.concatenate([parents_accuracy, children_accuracy])
            self.progress(generation + 1, s.generations)
        return population, accuracy

    def _breed(
        self,
        first: Tokens,
        first_accuracy: Floats,
        second: Tokens,
        mutant: NDArray[np.bool_],
        budget: float,
        rng: np.random.Generator,
    ) -> tuple[Tokens, Floats]:
        """One child within the budget of each of C couples, which are within it themselves.

        Args:
            first: (C, T) settings, first_accuracy: (C,), second: (C, T) settings.
            mutant: (C,) whether the child is a mutant of the first instead of a crossover.

        Returns:
            Settings (C, T) and predicted accuracy (C,).
        """
        children, accuracy = first.copy(), first_accuracy.copy()
        pending = np.arange(len(first))
        for attempt in range(self.settings.rounds):
            # More and more tries at once: the same as one by one, in a few calls of the predictors.
            couple = pending.repeat(2**attempt)
            rate = np.where(mutant[couple], self.settings.mutation, 0.5)[:, None]
            fresh = self._uniform(len(couple), rng)
            other = np.where(mutant[couple, None], fresh, second[couple])
            drawn = np.where(rng.random(other.shape) < rate, other, first[couple])
            within = np.flatnonzero(self._cost(drawn) <= budget)
            done, place = np.unique(couple[within], return_index=True)  # the first try that holds
            children[done] = drawn[within[place]]
            pending = np.setdiff1d(pending, done)
            if not len(pending):
                break
        found = np.setdiff1d(np.arange(len(first)), pending)
        accuracy[found] = self._accuracy(children[found])  # not of tries that failed: it is slow
        return children, accuracy

    def _first_population(self, budget: float, rng: np.random.Generator) -> Tokens:
        """Settings (population, T) that hold the budget, of uniform samples if there are enough."""
        s = self.settings
        found: list[Tokens] = []
        count, drawn, cheapest = 0, 0, np.inf
        while count < s.population and drawn < s.samples:
            batch = self._uniform(10 * s.population, rng)
            cost = self._cost(batch)
            found.append(batch[cost <= budget])
            count, drawn = count + len(found[-1]), drawn + len(batch)
            cheapest = min(cheapest, float(cost.min()))
        if count < s.population:
            table = self.problem.tokens
            cost = self._cost(table)
            rows = table[cost <= budget]
            found.append(np.where(rows == ABSENT, self._uniform(len(rows), rng), rows))
            cheapest = min(cheapest, float(cost.min()))
        pool = np.concatenate(found)
        if not len(pool):
            raise infeasible(budget, cheapest)
        return pool[np.arange(s.population) % len(pool)]

    def _uniform(self, n: int, rng: np.random.Generator) -> Tokens:
        """(n, T) uniform settings, those of layers that do not exist included."""
        choices = self.problem.space.choices_per_token
        return rng.integers(0, choices, (n, len(choices))).astype(np.int8)

    def _accuracy(self, settings: Tokens) -> Floats:
        space = self.problem.space
        return self.problem.labels.accuracy.predict(space.canonical(settings))

    def _cost(self, settings: Tokens) -> Floats:
        space = self.problem.space
        return self.problem.labels.cost.predict(space.canonical(settings))
