"""`pnag experiment`: the paper's study on one of its devices, with what is at hand.

Every method answers the same budgets from the same table and predictors; their networks, the
paper's own architectures and the networks people know are then timed in one interleaved run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pnag.errors import PnagError
from pnag.files import exists, write_json, write_text
from pnag.run.display import Display
from pnag.run.run_directory import finished_run, held_run
from pnag.studies.paper.answers import DRAWN, answers_of_methods
from pnag.studies.paper.devices import papers_architectures, zoo_networks
from pnag.studies.paper.figure_files import draw_figures
from pnag.studies.paper.page import Experiment, experiment_page
from pnag.studies.paper.rows import networks_with_accuracy, rows_of_table
from pnag.studies.paper.study import Study, open_study
from pnag.studies.paper.table import markdown_table
from pnag.studies.paper.times import steadiness, time_networks
from pnag.threads import torch_threads


@contextmanager
def held_study(path: Path, device: str, budgets: list[float]) -> Iterator[Study]:
    """`open_study`, in a run directory that no other process can use meanwhile.

    Raises:
        PnagError: as `open_study`, and if another process uses the run directory.
    """
    if not exists(path):
        raise PnagError(
            f"there is no run directory {path}; make one at the paper's resolution with `pnag run "
            f"--resolutions 224 --out {path}`"
        )
    finished_run(path)  # before a lock would make the folder
    with held_run(path):
        yield open_study(path, device, budgets)


def run_experiment(study: Study, display: Display) -> dict[str, Any]:
    """All methods, all times, table, figures and page; what was done before is reused.

    Returns:
        What `experiment.json` in the study's folder holds.
    """
    with torch_threads(study.recipe.torch_threads):
        answers = answers_of_methods(study, display)
    archs = sorted({row["arch"] for found in answers.values() for row in found})
    times = time_networks(study, archs, zoo_networks(study.device), display)
    return save_results(study, answers, times, display)


def save_results(
    study: Study,
    answers: dict[str, list[dict[str, Any]]],
    times: dict[str, Any],
    display: Display,
) -> dict[str, Any]:
    """Write all reports of answers and times; return what `experiment.json` holds."""
    rows = rows_of_table(study, answers, times)
    busy = steadiness(study, times).warning
    found = {
        "device": study.device,
        "paper": study.paper.title,
        "measured_on": study.measured_on,
        "paper_budgets": study.paper.budgets,
        "budgets": study.budgets,
        "rows": rows,
        "drift": {k: times[k] for k in ("speed", "drift", "remeasured", "unsteady")},
        "busy": busy,
        "within": {
            method: [_share_within(row) for row in answers[method]] for method in DRAWN
        },
    }  # fmt: skip
    write_json(study.folder / "experiment.json", found)
    title, about = _title(study), _about(study, found)
    unsure = [f"**{busy}**"] if busy else []
    text = "\n\n".join([f"# {title}", *unsure, *about, markdown_table(rows)])
    write_text(study.folder / "table.md", text)
    networks = networks_with_accuracy(rows)
    draw_figures(study, answers, networks, busy, display)
    shown = Experiment(
        title=title,
        about=about,
        found=found,
        networks=networks,
        answers=answers,
        figures=study.paper.figures,
        papers=papers_architectures(study.device),
        cost=study.table_costs,
        accuracy=study.problem.accuracy,
        losses=study.losses,
        rewards=study.rewards,
        models=(study.folder / "figures" / "A-models.svg").read_text(encoding="utf-8"),
    )
    write_text(study.page, experiment_page(shown))
    return found


def _share_within(row: dict[str, Any]) -> dict[str, float]:
    """The share of an answer's draws that hold its budget."""
    share = float(np.mean(np.array(row["draws"]) <= row["budget"]))
    return {"budget": row["budget"], "share": share}


def _title(study: Study) -> str:
    table = f"Table {study.paper.table}" if study.paper.table else "The architectures of Figure F"
    return f"{table} of the paper's supplement ({study.paper.title}), and here"


def _about(study: Study, found: dict[str, Any]) -> list[str]:
    """What the numbers are, in paragraphs."""
    device = found["measured_on"]
    size = f"{device['resolution']}x{device['resolution']}"
    stands_for = {number: f"{theirs:g} → " for theirs, number in study.rank.items()}
    budgets = ", ".join(f"{stands_for.get(n, '')}{ours:g}" for n, ours in enumerate(study.budgets))
    return [
        f"Here: {device['device']}, {device['runtime']} {device['version']}, "
        f"{device['threads']} thread(s), batch {device['batch']}, {size} where no "
        f"note says otherwise, all networks timed in turns; ± is half the middle 50 % of a "
        f"network's turns. Budgets (ms): {budgets}.",
        "Top-1 (%) of the paper is printed there: its own networks have width 1.2 and were "
        "fine-tuned on ImageNet. Top-1 here is predicted: of the published Once-for-All supernet "
        "of width 1.0 with its own weights, before fine-tuning. So columns compare down, not "
        "across. Params and MAdds (millions) are counted on the networks as built here.",
    ]
