"""`pnag compare`: read runs, and what `pnag search --json` printed, for a comparison."""

from __future__ import annotations

from html import escape
from pathlib import Path

import numpy as np

from pnag.commands.bodies.export_command import found_anywhere
from pnag.commands.bodies.report import load_results
from pnag.errors import PnagError
from pnag.families.registry import DEFAULT
from pnag.files import read_json
from pnag.report.cells import is_percent, what_accuracy_means
from pnag.report.compare import Compared, Comparison, compare
from pnag.report.page import about, answers_data
from pnag.run.recipe import load_recipe, make_recipe
from pnag.run.size import Size
from pnag.run.tables import architecture_table
from pnag.search.front import pareto_front


def compare_paths(paths: list[Path]) -> Comparison:
    """Compare runs with each other and with the answers of other search methods.

    Args:
        paths: run directories, and JSON files that `pnag search --json` printed.

    Raises:
        PnagError: for a path that is neither, one given twice, or costs of different units.
    """
    seen = [path.resolve() for path in paths]
    for path, place in zip(paths, seen, strict=True):
        if seen.count(place) > 1:
            raise PnagError(f"{path} is given twice; give different runs to compare")
    stems = [place.stem if place.is_file() else place.name for place in seen]
    names = [
        stem if stems.count(stem) == 1 else str(path)
        for stem, path in zip(stems, paths, strict=True)
    ]
    return compare(
        [
            _answers_file(path, name) if path.is_file() else _run(path, name)
            for path, name in zip(paths, names, strict=True)
        ]
    )


def _run(path: Path, name: str) -> Compared:
    results = load_results(path)
    metrics = results.metrics
    if results.family is None:
        raise PnagError(
            f"{path} is a run on a table's own choices; `pnag compare` draws networks side by "
            f"side. Its page is {path / 'report.html'}"
        )
    recipe = make_recipe(load_recipe(path / "recipe.yaml"))
    images, kind = recipe.images, [metrics["source"]]
    if images:  # which decide what accuracies are judged on
        kind += [found_anywhere(images.source), images.classes, recipe.seed]
    return Compared(
        name,
        str(path),
        about(metrics),
        metrics["device"]["device"] if "device" in metrics else None,
        metrics["unit"],
        is_percent(metrics),
        what_accuracy_means(metrics) if is_percent(metrics) else "",
        results.export_options,
        [float(a["budget"]) for a in metrics["answers"]],
        results.front,
        results.family,
        metrics.get("margin", 0.0),
        " ".join(map(str, kind)) if is_percent(metrics) else "",
        answers_data(results) if images else (),
    )


def _answers_file(path: Path, name: str) -> Compared:
    """The answers of `pnag search --json`: a front of as many points as it was asked budgets."""
    raw = read_json(path)
    if isinstance(raw, list) and any(isinstance(a, dict) and "choices" in a for a in raw):
        raise PnagError(
            f"{path} has answers of a table's own choices; `pnag compare` draws networks side by "
            "side"
        )
    try:
        budgets = [float(a["budget"]) for a in raw]
        size = Size(family=raw[0].get("family", DEFAULT)) if raw else Size()
        tokens = size.of.space.encode([a["arch"] for a in raw])
        accuracy, cost = (np.array([float(a[key]) for a in raw]) for key in ("accuracy", "cost"))
        if not (len(raw) and np.isfinite([accuracy, cost]).all()):
            raise ValueError("no answers, or a number that is not finite")
    except (KeyError, TypeError, ValueError) as error:
        raise PnagError(
            f"{path} does not hold what `pnag search --json` prints: {error}; give a run directory "
            "or such a file"
        ) from error
    front = pareto_front(tokens, accuracy, cost)
    rows = architecture_table(front.tokens, front.accuracy, front.cost, size)
    return Compared(
        name, str(path), f"answers of <code>pnag search</code> in {escape(path.name)}.",
        None, None, None, "", "", budgets, rows, size.of,
    )  # fmt: skip
