"""What every method answers to the budgets of an experiment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pnag.errors import PnagError
from pnag.files import file_fingerprint, write_json
from pnag.run.display import Display
from pnag.search.methods import get_method
from pnag.space import Tokens
from pnag.studies.paper.figures import METHOD_NAMES
from pnag.studies.paper.study import SPACE, Study

METHODS = ("evo", "nas-mo", "ofa-mo")  # besides PNAG, which the run has trained
DRAWN = ("pnag", "ofa-mo")  # whose draws figure C compares
DRAWS = 1000
# Raised with the methods' settings, so that no experiment reuses answers of older ones.
SEARCHES = 2


def answers_of_methods(study: Study, display: Display) -> dict[str, list[dict[str, Any]]]:
    """For each method and budget the architecture, its prediction, and for some the draws' costs.

    A stage for each method: what a stopped experiment has, it keeps.
    """
    found = {}
    for method in ("pnag", *METHODS):
        file = study.folder / "methods" / f"{method}.json"
        inputs = {
            "table": file_fingerprint(study.run.table),
            "front": file_fingerprint(study.run.front) if method == "pnag" else None,
            "calibration": asdict(study.calibration),
            "budgets": study.budgets,
            "seed": study.recipe.seed,
            "searches": SEARCHES,
        }

        def work(method: str = method, file: Path = file) -> None:
            with display.bar(f"answers of {method}") as bar:
                rows = _pnag(study) if method == "pnag" else _searched(study, method, bar.update)
                bar.update(1, 1)
            write_json(file, rows)

        found[method] = study.stage(method, inputs, file, work, display)
    return found


def _pnag(study: Study) -> list[dict[str, Any]]:
    return [_row(study, b, study.answer(b), study.draws(b, DRAWS)) for b in study.budgets]


def _searched(
    study: Study, method: str, progress: Callable[[int, int], None]
) -> list[dict[str, Any]]:
    searcher = get_method(method)(study.problem, study.recipe.seed, progress)
    rows = []
    for budget in study.budgets:
        asked = study.uncorrected(budget)
        try:
            tokens = searcher.answer(asked)
        except PnagError as error:  # names the budget as methods know it
            raise PnagError(
                f"{METHOD_NAMES[method]} finds nothing within {budget:g} ms; ask for larger "
                "--budgets"
            ) from error
        draws = searcher.generate(asked, DRAWS) if method in DRAWN else None
        rows.append(_row(study, budget, tokens, draws))
    return rows


def _row(study: Study, budget: float, tokens: Tokens, draws: Tokens | None) -> dict[str, Any]:
    """One answer; `draws` are (n, T) architectures generated for the budget."""
    row = {
        "budget": budget,
        "arch": SPACE.text(tokens)[0],
        "accuracy": float(study.problem.labels.accuracy.predict(tokens)[0]),
        "cost": float(study.cost(tokens)[0]),
    }
    return row | ({} if draws is None else {"draws": study.cost(draws).round(4).tolist()})
