"""Several budgets at once, from a finished run: at once by f, or by a long search."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from pnag.cost.front_calibration import FrontCalibration
from pnag.errors import PnagError
from pnag.run.amounts import amount
from pnag.run.display import Display
from pnag.run.further_costs import further_costs
from pnag.run.margin import margin_of
from pnag.run.own_space import space_of_run
from pnag.run.recipe import Recipe
from pnag.run.run_directory import RunDirectory
from pnag.run.tables import read_table
from pnag.run.trained import (
    load_front,
    load_front_calibration,
    load_generator,
    load_labels,
    load_vector_front,
    shown,
)
from pnag.search.front import Floats, draw_up_to, pareto_front
from pnag.search.generator import Generator
from pnag.search.labels import Labels, Predicts
from pnag.search.several_budgets import Costs, best_within, cheapest_within
from pnag.search.sources import SOURCES, sources_of
from pnag.search.vector_front import Known, answer_vector
from pnag.space import SearchSpace, Tokens

Predict = Callable[[Tokens], Floats]
"""(N, T) tokens to (N,) of one cost."""
STRETCHED = 2000  # architectures from the smallest to the largest, to start from


@dataclass(frozen=True)
class SeveralAnswer:
    """The network for several budgets at once.

    Attributes:
        budgets: as asked, by the cost's name. arch: text form.
        accuracy, costs: predicted; a cost for each budget, at most that budget.
        source: where it comes from, one of `SOURCES`.
        note: what the user should know; empty if nothing.
    """

    budgets: dict[str, float]
    arch: str
    accuracy: float
    costs: dict[str, float]
    source: str
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        """What `--json` prints; the source is called `from`, as in `architectures.json`."""
        values = asdict(self)
        return {
            "budgets": values["budgets"], **shown(self.arch), "accuracy": self.accuracy,
            "costs": values["costs"], "from": self.source,
            **({"note": self.note} if self.note else {}),
        }  # fmt: skip


@dataclass(frozen=True)
class LoadedRun:
    """What answers to several budgets are made of, loaded once.

    Attributes:
        own: name of the run's own cost. labels: its predictors, of the own cost first.
        columns: names of the further costs that f was trained for.
        known: the front of vectors; None in a run of one cost.
        margin: how far the own cost may be above its prediction and still hold its budget.
    """

    run: RunDirectory
    recipe: Recipe
    own: str
    space: SearchSpace
    labels: Labels
    columns: tuple[str, ...]
    calibration: FrontCalibration
    generator: Generator
    known: Known | None
    margin: float

    @classmethod
    def of(
        cls, run: RunDirectory, recipe: Recipe, own: str, times: RunDirectory | None = None
    ) -> LoadedRun:
        """Load a finished run.

        Args:
            times: the run that has timed the own cost, which tells how far its predictions are
                off; `run` if None.

        Raises:
            PnagError: if a file of it is missing or damaged.
        """
        space = space_of_run(run, recipe)
        columns, times = tuple(further_costs(run)), times or run
        return cls(
            run, recipe, own, space, load_labels(run, space), columns,
            load_front_calibration(times), load_generator(run.generator, space),
            load_vector_front(run, space) if columns else None, margin_of(times, recipe.margin),
        )  # fmt: skip

    def predictors(self) -> dict[str, Predict]:
        """What predicts each of the run's costs, the own one corrected by the timed ladder."""
        labels, calibration = self.labels, self.calibration

        def own(tokens: Tokens) -> Floats:
            return calibration(labels.cost.predict(tokens))

        further = zip(self.columns, labels.further, strict=True)
        found: dict[str, Predict] = {name: cost.predict for name, cost in further}
        return {self.own: own} | found

    def with_margin(self, budgets: dict[str, float]) -> dict[str, float]:
        """What predictions may be at most: the budgets, that of the own cost less the margin."""
        return {
            name: budget / (1 + self.margin) if name == self.own else budget
            for name, budget in budgets.items()
        }

    def quick(self, budgets: dict[str, float]) -> SeveralAnswer | None:
        """The answer by f's draws, what is known and a short search; None if none was found.

        Args:
            budgets: by the names of the run's own costs.
        """
        if self.known is None:
            return None
        names = (self.own, *self.columns)
        limits = self.with_margin(budgets)
        asked = np.array([limits.get(name, np.inf) for name in names])
        asked[0] = self.calibration.uncorrected(asked[0])
        if asked[0] <= 0:
            return None  # less than the ladder adds to any prediction
        limited = np.flatnonzero(np.isfinite(asked))
        predictors = (self.labels.cost, *self.labels.further)

        def costs(tokens: Tokens) -> Floats:
            return np.stack([predictors[c].predict(tokens) for c in limited], axis=1)

        known = replace(self.known, costs=self.known.costs[:, limited])
        one, share = answer_vector(
            self.labels, self.generator, known, costs, asked[limited], asked, self.recipe.vectors,
            seed=self.recipe.seed,
        )  # fmt: skip
        return (
            None if share > 1 else self.described(one.tokens, budgets, {}, SOURCES[one.source[0]])
        )

    def described(
        self, tokens: Tokens, budgets: dict[str, float], others: Mapping[str, Predicts], source: str
    ) -> SeveralAnswer:
        """(1, T) tokens as an answer.

        Args:
            others: what predicts costs that are not the run's, by name.
        """
        predict = self.predictors() | {name: cost.predict for name, cost in others.items()}
        return SeveralAnswer(
            budgets,
            self.space.text(tokens)[0],
            float(self.labels.accuracy.predict(tokens)[0]),
            {name: float(predict[name](tokens)[0]) for name in budgets},
            source,
        )


def answer_several(
    loaded: LoadedRun,
    budgets: dict[str, float],
    costs: Mapping[str, Predicts],
    display: Display,
) -> SeveralAnswer:
    """The most accurate architecture found by a long search that is within all budgets.

    Budgets that can be held only without the margin are answered without it, with a note.

    Args:
        costs: those that are not the run's, by name.

    Raises:
        PnagError: if none is within all: names the budget that cannot be held, and what can.
    """
    within, note = loaded.with_margin(budgets), ""
    try:
        found = _searched(loaded, within, costs, display)
    except PnagError:
        if within == budgets:
            raise
        found = _searched(loaded, budgets, costs, display)
        note = (
            f"budgets can be held only without the margin: {loaded.own} may take "
            f"{loaded.margin:.1%} longer than predicted"
        )
        display.warn(note)
    return replace(found, budgets=budgets, note=note)


def _searched(
    loaded: LoadedRun,
    budgets: dict[str, float],
    costs: Mapping[str, Predicts],
    display: Display,
) -> SeveralAnswer:
    """The answer whose predictions are within all budgets.

    Starts from what the generator draws up to the budget of its own cost, and searches on.
    """
    run, recipe, space, labels = loaded.run, loaded.recipe, loaded.space, loaded.labels
    predict = loaded.predictors() | {name: cost.predict for name, cost in costs.items()}
    names = list(budgets)
    limits = np.array([budgets[name] for name in names])

    def all_costs(tokens: Tokens) -> Floats:
        return np.stack([predict[name](tokens) for name in names], axis=1)

    up_to = loaded.calibration.uncorrected(budgets.get(loaded.own, np.inf))
    drawn = draw_up_to(loaded.generator, up_to, recipe.front, recipe.seed)
    of_table = _best_of_table(space, read_table(run.table))
    start = np.concatenate(
        [
            drawn,
            load_front(run.front, space).tokens,
            of_table,
            space.sample_stretched(STRETCHED, np.random.default_rng(recipe.seed)),
        ]
    )

    def search(start: Tokens) -> tuple[Tokens, float]:
        with display.bar("searching within all budgets") as bar:
            return best_within(
                space, start, labels.accuracy.predict, all_costs, limits, recipe.front,
                seed=recipe.seed, progress=bar.update,
            )  # fmt: skip

    tokens, share = search(start)
    if share > 1:
        held = _what_can_be_held(start, tokens, all_costs, names, limits, loaded)
        tokens, share = search(np.concatenate([start, held]))
    return loaded.described(tokens, budgets, costs, SOURCES[sources_of(tokens, of_table, drawn)[0]])


def _best_of_table(space: SearchSpace, frame: pd.DataFrame) -> Tokens:
    """(S, T) the architectures of a table that no other row dominates."""
    tokens = space.encode(frame["arch"])
    accuracy, cost = (frame[name].to_numpy(dtype=float) for name in ("accuracy", "cost"))
    return pareto_front(tokens, accuracy, cost).tokens


def _what_can_be_held(
    start: Tokens,
    nearest: Tokens,
    costs: Costs,
    names: list[str],
    limits: Floats,
    loaded: LoadedRun,
) -> Tokens:
    """(1, T) an architecture within all budgets, if the search has overlooked one.

    Raises:
        PnagError: if there is none: names a budget that cannot be held and the least that can.
    """
    settings, seed, space = loaded.recipe.front, loaded.recipe.seed, loaded.space
    start = np.concatenate([start, nearest])
    for which, name in enumerate(names):  # a budget that no architecture is within
        alone = np.where(np.arange(len(names)) == which, limits, np.inf)
        found = cheapest_within(space, start, costs, alone, which, settings, seed=seed)
        assert found is not None  # there are no other budgets
        if found[1] > limits[which]:
            raise PnagError(
                f"no architecture is within the budget {name} {amount(limits[which])}: the "
                f"cheapest has {amount(found[1])}"
            )
    which = int((costs(nearest)[0] / limits).argmax())
    found = cheapest_within(space, start, costs, limits, which, settings, seed=seed)
    others = " and ".join(
        f"{name} {amount(limit)}" for i, (name, limit) in enumerate(zip(names, limits, strict=True))
        if i != which
    )  # fmt: skip
    if found is None:
        raise PnagError(
            f"no architecture is within all budgets: even {others} together are too strict"
        )
    if found[1] > limits[which]:
        raise PnagError(
            f"no architecture is within all budgets: with {others}, the cheapest has "
            f"{names[which]} {amount(found[1])}, more than the budget "
            f"{amount(limits[which])}; allow that much, or raise another budget"
        )
    return found[0]
