"""What the report and the comparison of finished runs are made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from pnag.commands.bodies.export_command import export_options
from pnag.errors import PnagError
from pnag.families import Family
from pnag.files import read_json, write_text
from pnag.report.page import write_report
from pnag.report.results import Results
from pnag.run.further_costs import further_costs
from pnag.run.own_files import refuse_own_files
from pnag.run.own_space import of_choices, space_of_run
from pnag.run.recipe import load_recipe, make_recipe
from pnag.run.run_directory import RunDirectory, finished_run
from pnag.run.size import Size, family_of_recipe
from pnag.run.tables import architecture_table, read_table
from pnag.run.trained import (
    load_calibrated_front,
    load_front_calibration,
    load_vector_front,
)
from pnag.search.front import Floats
from pnag.search.sources import source_names
from pnag.space import SearchSpace, Tokens


def load_results(path: Path) -> Results:
    """The results of the run in a directory.

    Raises:
        PnagError: if it is not a finished run, or a file of it is damaged.
    """
    run = finished_run(path)
    metrics = read_json(run.metrics)
    if not (isinstance(metrics, dict) and {"source", "unit", "table", "answers"} <= set(metrics)):
        raise PnagError(
            f"{run.metrics} does not hold a run's metrics; give its `pnag run` command again"
        )
    return results_of(run, metrics)


def results_of(run: RunDirectory, metrics: dict[str, Any]) -> Results:
    """The results of a run whose metrics are at hand."""
    sampled = read_table(run.table)[["arch", "accuracy", "cost"]]
    # Beside measured answers, everything in their milliseconds.
    corrected = load_front_calibration(run)(sampled["cost"].to_numpy())
    sampled = sampled.assign(cost=corrected)
    recipe = make_recipe(load_recipe(run.recipe))
    if of_choices(recipe):
        size, space, options = None, space_of_run(run, recipe), ""
    else:
        size = size_measured(metrics, family_of_recipe(recipe))
        space, options = size.of.space, export_options(run.path, {})
    front = load_calibrated_front(run, space)
    assert front.source is not None  # a run's front says what found each
    rows = _rows(space, size, front.tokens, front.accuracy, front.cost)
    rows = rows.assign(**{"from": source_names(front.source)})
    vectors, further = vectors_of(run, space, size)
    family = size.of if size else None
    return Results(run.path, metrics, sampled, rows, options, family, vectors, further)


def _rows(
    space: SearchSpace, size: Size | None, tokens: Tokens, accuracy: Floats, cost: Floats
) -> pd.DataFrame:
    """Columns `arch`, `accuracy`, `cost`, and of networks what is counted.

    Args:
        size: of the networks; None where architectures are rows of choices.
    """
    if size:
        return architecture_table(tokens, accuracy, cost, size)
    return pd.DataFrame({"arch": space.text(tokens), "accuracy": accuracy, "cost": cost})


def vectors_of(
    run: RunDirectory, space: SearchSpace, size: Size | None
) -> tuple[pd.DataFrame | None, dict[str, list[float]]]:
    """The best for many vectors of budgets, and their further costs; None of a run of one cost."""
    names = list(further_costs(run))
    if not names:
        return None, {}
    known = load_vector_front(run, space)
    own, *others = known.costs.T
    corrected = load_front_calibration(run)(own)
    rows = _rows(space, size, known.tokens, known.accuracy, corrected)
    further = {name: costs.tolist() for name, costs in zip(names, others, strict=True)}
    return rows.assign(**{"from": source_names(known.source)}), further


def size_measured(metrics: dict[str, Any], of: Family) -> Size:
    """Of a run's networks; where the run has a table only, as the published supernet's."""
    return Size.of_identity(metrics["device"]) if "device" in metrics else Size(family=of.name)


def save_report(results: Results, out: Path | None = None) -> Path:
    """Write the page to `out` or as `report.html` into the run directory; return where it is.

    Raises:
        PnagError: if `out` is another file that `pnag run` wrote.
    """
    own: Path = RunDirectory(results.path, reading=True).report
    path = out or own
    if path.absolute().resolve() != own.absolute().resolve():
        refuse_own_files(path)
    write_text(path, write_report(results))
    return path
