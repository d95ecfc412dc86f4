"""The search of a run: `train_and_search` with its three parts kept in the run's directory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pnag.files import file_fingerprint, read_json, write_json
from pnag.run.display import Display
from pnag.run.further_costs import further_costs
from pnag.run.run_directory import RunDirectory
from pnag.run.tables import read_table, write_table
from pnag.run.trained import (
    load_evaluator,
    load_front,
    load_generator,
    load_labels,
    save_module,
)
from pnag.search.evaluator import Progress
from pnag.search.front import Floats, Front
from pnag.search.labels import Labels
from pnag.search.pnag import (
    Found,
    PnagSettings,
    Pretrained,
    Steps,
    Taught,
    first_front,
    train_and_search,
    vectors_to_answer,
)
from pnag.search.sources import source_names, sources_of
from pnag.search.vector_front import Known, find_vector_front
from pnag.space import SearchSpace, Tokens

# 2: the evaluator that is kept is the refined one, and f's own front is whole
# 3: the local search keeps what is cheap too
SEARCH_VERSION = 3


@dataclass(frozen=True)
class _Table:
    """What a search starts from.

    Attributes:
        tokens: (M, T), accuracy: (M,), cost: (M,), or (M, C) in a run of several costs.
        inputs: what every part of the search depends on.
    """

    tokens: Tokens
    accuracy: Floats
    cost: Floats
    labels: Labels
    inputs: dict[str, Any]

    @classmethod
    def of(cls, run: RunDirectory, space: SearchSpace, trained_budgets: int, seed: int) -> _Table:
        inputs: dict[str, Any] = {
            "table": file_fingerprint(run.table),
            "accuracy": file_fingerprint(run.accuracy_predictor),
            "cost": file_fingerprint(run.cost_model),
            "trained_budgets": trained_budgets,
            "seed": seed,
            "version": SEARCH_VERSION,
        }
        further = further_costs(run)
        if further:
            inputs["further"] = {name: file_fingerprint(path) for name, path in further.items()}
        frame = read_table(run.table)
        return cls(
            space.encode(frame["arch"]),
            frame["accuracy"].to_numpy(dtype=float),
            frame[["cost", *further] if further else "cost"].to_numpy(dtype=float),
            load_labels(run, space),
            inputs,
        )


def first_front_stage(
    run: RunDirectory, space: SearchSpace, settings: PnagSettings, seed: int, display: Display
) -> bool:
    """A front by a short local search from the table, so that there are answers before f.

    Returns:
        Whether it was made now; not where the settings want no local search or not the table.
    """
    if not (settings.front.rounds and settings.front.table):
        return False
    table = _Table.of(run, space, settings.trained_budgets, seed)

    def work() -> None:
        with display.bar("finding first answers") as bar:
            front = first_front(
                table.tokens,
                table.accuracy,
                table.cost,
                table.labels,
                settings,
                seed=seed,
                progress=bar.update,
            )
        _write_front(table, front, table.tokens[:0], run.first_front)

    inputs = table.inputs | {"front": asdict(settings.front)}
    return run.stage("first front", inputs, [run.first_front], work)


def search_stages(
    run: RunDirectory, space: SearchSpace, settings: PnagSettings, seed: int, display: Display
) -> None:
    """Evaluator, generator and front, from a table and its predictors.

    In a run of several costs f takes vectors of budgets, and there is a front of vectors too.
    """
    table = _Table.of(run, space, settings.trained_budgets, seed)
    tokens, accuracy, cost, labels = table.tokens, table.accuracy, table.cost, table.labels
    store = _RunStore(run, settings, table, display)
    taught, _ = train_and_search(tokens, accuracy, cost, labels, settings, store, seed)
    if cost.ndim == 1:
        run.vector_front.unlink(missing_ok=True)
        return
    vectors = vectors_to_answer(accuracy, cost, labels, settings, seed)
    start = tokens if settings.front.table else tokens[:0]
    store.vector_front(
        lambda progress: find_vector_front(
            labels, taught.generator, vectors, start, settings.vectors,
            seed=seed, progress=progress,
        )
    )  # fmt: skip


@dataclass(frozen=True)
class _RunStore:
    """Keeps each part as a stage of a run.

    A caller always gets a part as the directory has it, even one that was made just now: so a run
    that was stopped in between resumes with the same bits.
    """

    run: RunDirectory
    settings: PnagSettings
    table: _Table
    display: Display

    @property
    def space(self) -> SearchSpace:
        return self.table.labels.space

    @property
    def inputs(self) -> dict[str, Any]:
        return self.table.inputs

    def evaluator(self, make: Callable[[Progress], Pretrained]) -> Pretrained:
        run = self.run

        def work() -> None:
            with self.display.bar("training the evaluator") as bar:
                part = make(lambda done, n, loss: bar.update(done, n, f"loss {loss:.3f}"))
            save_module(part.evaluator, run.pretrained_evaluator, self.space)
            write_json(run.evaluator_curve, {"ranking_loss": part.losses})

        run.stage(
            "evaluator",
            self.inputs | {"evaluator": asdict(self.settings.evaluator)},
            [run.pretrained_evaluator, run.evaluator_curve],
            work,
            self.display.reused,
        )
        losses = read_json(run.evaluator_curve)["ranking_loss"]
        return Pretrained(load_evaluator(run.pretrained_evaluator, self.space), losses)

    def generator(self, make: Callable[[Progress], Taught]) -> Taught:
        run = self.run

        def work() -> None:
            with self.display.bar("training the generator") as bar:
                part = make(
                    lambda done, n, accuracy: bar.update(
                        done, n, f"accuracy within budget {accuracy:.4g}"
                    )
                )
            save_module(part.evaluator, run.evaluator, self.space)
            save_module(part.generator, run.generator, self.space)
            curve = [None if np.isnan(value) else value for value in part.accuracies]
            write_json(run.generator_curve, {"accuracy_within_budget": curve})

        run.stage(
            "generator",
            self.inputs
            | {
                "evaluator": file_fingerprint(run.pretrained_evaluator),
                "generator": asdict(self.settings.generator),
            },
            [run.evaluator, run.generator, run.generator_curve],
            work,
            self.display.reused,
        )
        curve = read_json(run.generator_curve)["accuracy_within_budget"]
        return Taught(
            load_generator(run.generator, self.space),
            load_evaluator(run.evaluator, self.space),
            [float("nan") if value is None else value for value in curve],
        )

    def front(self, make: Callable[[Steps], Found]) -> Found:
        run = self.run

        def work() -> None:
            with self.display.bar("finding the front") as bar:
                part = make(bar.update)
            # Of another front: a run that is stopped before it has timed this one must not leave
            # it.
            run.front_calibration.unlink(missing_ok=True)
            _write_front(self.table, part.front, part.own.tokens, run.front)
            write_table(_as_frame(self.space, part.own), run.own_front)

        run.stage(
            "front",
            self.inputs
            | {
                "generator": file_fingerprint(run.generator),
                "front": asdict(self.settings.front),
                "told": "from",
            },
            [run.front, run.own_front],
            work,
            self.display.reused,
        )
        return Found(load_front(run.front, self.space), load_front(run.own_front, self.space))

    def vector_front(self, make: Callable[[Steps], Known]) -> None:
        """Keep the best for many vectors of budgets. This depends on the generator, too."""
        run, settings = self.run, asdict(self.settings.vectors)

        def work() -> None:
            with self.display.bar("answering vectors of budgets") as bar:
                known = make(bar.update)
            columns: dict[str, Any] = {"arch": self.space.text(known.tokens)}
            columns |= {"accuracy": known.accuracy, "cost": known.costs[:, 0]}
            for number, name in enumerate(further_costs(run), 1):
                columns[name] = known.costs[:, number]
            columns["from"] = source_names(known.source)
            write_table(pd.DataFrame(columns), run.vector_front)

        run.stage(
            "front of vectors",
            self.inputs
            | {
                "generator": file_fingerprint(run.generator),
                "table": self.settings.front.table,
                "vectors": {k: v for k, v in settings.items() if not k.startswith("asked")},
            },
            [run.vector_front],
            work,
            self.display.reused,
        )


def _as_frame(space: SearchSpace, front: Front) -> pd.DataFrame:
    return pd.DataFrame(
        {"arch": space.text(front.tokens), "accuracy": front.accuracy, "cost": front.cost}
    )


def _write_front(table: _Table, front: Front, drawn: Tokens, path: Path) -> None:
    """Keep a front, with where each of its architectures comes from.

    Args:
        drawn: (D, T) by f.
    """
    frame = _as_frame(table.labels.space, front)
    sources = sources_of(front.tokens, table.tokens, drawn)
    frame["from"] = source_names(sources)
    write_table(frame, path)
