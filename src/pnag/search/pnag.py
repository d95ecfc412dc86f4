"""PNAG itself: from a table to the evaluator, the generator and the front. Its only home.

`pnag run`, `pnag search`, the benchmarks and the tests all call `train_and_search`; where the parts
are kept is up to the `Store` that they pass.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import torch

from pnag.search.budget_draws import BudgetDraws
from pnag.search.budgets import trained_budgets
from pnag.search.evaluator import Evaluator, EvaluatorSettings, Progress, train_evaluator
from pnag.search.front import (
    Floats,
    Front,
    FrontSettings,
    find_front,
    improve,
    pareto_front,
)
from pnag.search.generator import Generator
from pnag.search.labels import Labels
from pnag.search.policy_gradient import GeneratorSettings, train_generator
from pnag.search.vector_front import VectorSettings
from pnag.space import Tokens

STRETCHED = 4000  # architectures from the smallest to the largest, whose costs span the range
Steps = Callable[[int, int], None]
"""Called with steps done and steps in all."""


@dataclass(frozen=True)
class PnagSettings:
    """Settings of the parts; `trained_budgets` is the paper's K."""

    trained_budgets: int = 10
    evaluator: EvaluatorSettings = field(default_factory=EvaluatorSettings)
    generator: GeneratorSettings = field(default_factory=GeneratorSettings)
    front: FrontSettings = field(default_factory=FrontSettings)
    vectors: VectorSettings = field(default_factory=VectorSettings)


@dataclass(frozen=True)
class Pretrained:
    """R(beta | B; w) after its training on the table.

    Attributes:
        losses: the ranking loss (F) of each step.
    """

    evaluator: Evaluator
    losses: list[float]


@dataclass(frozen=True)
class Taught:
    """f(B; theta), and the R that taught it: the pretrained one, refined on f's draws.

    Attributes:
        accuracies: of each iteration, the mean accuracy of the draws that held their budget; NaN
            where none did.
    """

    generator: Generator
    evaluator: Evaluator
    accuracies: list[float]


@dataclass(frozen=True)
class Found:
    """The front, and the one of f's own draws alone."""

    front: Front
    own: Front


class Store(Protocol):
    """Keeps the three parts.

    Each method returns its part: the one that was kept, if all that it depends on is the same, else
    what `make` returns. `make` trains or searches and reports its progress to what it is given.
    """

    def evaluator(self, make: Callable[[Progress], Pretrained]) -> Pretrained:
        """The evaluator after its training on the table."""
        ...

    def generator(self, make: Callable[[Progress], Taught]) -> Taught:
        """The generator and the refined evaluator. Depends on the pretrained evaluator too."""
        ...

    def front(self, make: Callable[[Steps], Found]) -> Found:
        """The front. Depends on the generator too."""
        ...


@dataclass(frozen=True)
class NoStore:
    """Keeps nothing: each part is made again.

    Args:
        settings: of the search, to know how many steps the three parts have together.
        progress: called with the steps of all three parts together.
    """

    settings: PnagSettings
    progress: Steps

    def evaluator(self, make: Callable[[Progress], Pretrained]) -> Pretrained:
        """Train it."""
        return make(lambda done, _, loss: self.progress(done, self._total))

    def generator(self, make: Callable[[Progress], Taught]) -> Taught:
        """Train it."""
        before = self.settings.evaluator.steps
        return make(lambda done, _, accuracy: self.progress(before + done, self._total))

    def front(self, make: Callable[[Steps], Found]) -> Found:
        """Find it."""
        before = self._total - self.settings.front.rounds
        return make(lambda done, _: self.progress(before + done, self._total))

    @property
    def _total(self) -> int:
        s = self.settings
        return s.evaluator.steps + s.generator.iterations + s.front.rounds


def train_and_search(
    tokens: Tokens,
    accuracy: Floats,
    cost: Floats,
    labels: Labels,
    settings: PnagSettings,
    store: Store,
    seed: int = 0,
) -> tuple[Taught, Found]:
    """Train R on a table, train f by R (which is refined meanwhile), find the front from f's draws.

    With several costs R and f take vectors of budgets; the front is of the first cost alone.

    Args:
        tokens: (M, T) the table's architectures. accuracy, cost: (M,) what R ranks them by; the
            cost is (M, C) of several.
        labels: the predictors of accuracy and cost: features of the evaluator, and what f's draws
            and the front are judged by. Of as many costs as `cost` has.
        store: where the three parts are kept and taken from.

    Returns:
        The generator with the evaluator that taught it, and the fronts. The same for the same
        arguments, whether the store had parts or not.
    """
    budgets = trained_budgets(cost, settings.trained_budgets)
    known = known_to_draw_by(accuracy, cost, labels, seed)

    def pretrain(progress: Progress) -> Pretrained:
        features, _, _ = labels.describe(tokens)
        true = torch.tensor(accuracy, dtype=torch.float64)
        costs = torch.tensor(cost, dtype=torch.float64)
        evaluator, losses = train_evaluator(
            features, true, costs, budgets, settings.evaluator,
            known=known, seed=seed, progress=progress,
        )  # fmt: skip
        return Pretrained(evaluator, losses)

    pretrained = store.evaluator(pretrain)

    def teach(progress: Progress) -> Taught:
        evaluator = copy.deepcopy(pretrained.evaluator)  # training f refines it in place
        generator, accuracies = train_generator(
            labels.space, evaluator, budgets, labels.describe, settings.generator,
            known=known, seed=seed, progress=progress,
        )  # fmt: skip
        return Taught(generator, evaluator, accuracies)

    taught = store.generator(teach)

    def find(progress: Steps) -> Found:
        start = pareto_front(tokens, accuracy, _first_of(cost)).tokens
        front, own = find_front(
            labels.space, taught.generator, labels.label, settings.front,
            start=start if settings.front.table else start[:0], seed=seed, progress=progress,
        )  # fmt: skip
        return Found(front, own)

    return taught, store.front(find)


def _first_of(cost: Floats) -> Floats:
    """(M,) the first of (M,) or (M, C) costs."""
    return cost if cost.ndim == 1 else cost[:, 0]


FIRST_ROUNDS = 20  # of local search, until the first answers


def first_front(
    tokens: Tokens,
    accuracy: Floats,
    cost: Floats,
    labels: Labels,
    settings: PnagSettings,
    *,
    seed: int = 0,
    progress: Steps = lambda done, total: None,
) -> Front:
    """A front by a short local search from the table's rows, before there are R and f.

    Args:
        tokens: (M, T), accuracy: (M,), cost: (M,) or (M, C) of the table; the first cost counts.
    """
    cost = _first_of(cost)
    budgets = trained_budgets(cost, settings.trained_budgets)
    rounds = min(FIRST_ROUNDS, settings.front.rounds)
    return improve(
        labels.space,
        pareto_front(tokens, accuracy, cost).tokens,
        labels.label,
        (float(budgets[0]), float(budgets[-1])),
        replace(settings.front, rounds=rounds),
        seed=seed,
        progress=progress,
    )


def known_to_draw_by(
    accuracy: Floats, cost: Floats, labels: Labels, seed: int
) -> torch.Tensor | None:
    """(P, 1 + C) accuracies and costs over the whole range, by which vectors are drawn.

    None for one cost, which needs none. A table's rows, which are uniform samples, lie near the
    middle of the range; architectures from the smallest to the largest do not.
    """
    if cost.ndim == 1:
        return None
    stretched = labels.space.sample_stretched(STRETCHED, np.random.default_rng(seed))
    others = np.concatenate(
        [labels.accuracy.predict(stretched)[:, None], labels.costs(stretched)], axis=1
    )
    rows = np.concatenate([accuracy[:, None], cost], axis=1)[:STRETCHED]
    return torch.from_numpy(np.concatenate([rows, others]))


def vectors_to_answer(
    accuracy: Floats, cost: Floats, labels: Labels, settings: PnagSettings, seed: int = 0
) -> Floats:
    """(V, C) vectors of budgets that are answered once (`find_vector_front`).

    Args:
        accuracy: (M,), cost: (M, C) of the table.
    """
    known = known_to_draw_by(accuracy, cost, labels, seed)
    assert known is not None  # there are several costs
    draws = BudgetDraws(trained_budgets(cost, settings.trained_budgets), True, known)
    random = torch.Generator().manual_seed(seed)
    count = settings.vectors.vectors
    parts = [draws.every(random) for _ in range(-(-count // draws.rows))]
    return np.asarray(torch.cat(parts)[:count].numpy())
