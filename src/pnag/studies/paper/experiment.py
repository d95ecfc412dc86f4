"""`pnag experiment`: the paper's study on one of its devices, with what is at hand.

Every method answers the same budgets from the same table and predictors; their networks, the
paper's own architectures and the networks people know are then timed in one interleaved run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from pnag.commands.bodies.search import problem_of
from pnag.cost.front_calibration import FrontCalibration
from pnag.cost.latency_table import LatencyTable
from pnag.deploy.zoo import PRINTED, ZOO, Network, PrintedRow, check_makers
from pnag.deploy.zoo.network import PNAG, Ours
from pnag.errors import PnagError
from pnag.files import file_fingerprint, read_json, write_json, write_text
from pnag.report.drawing import drawing, legend
from pnag.report.figures import architecture_columns, save_figure
from pnag.run.display import Display
from pnag.run.recipe import Recipe, load_recipe, make_recipe
from pnag.run.run_directory import RunDirectory, finished_run, held_run
from pnag.run.size import Size
from pnag.run.tables import read_table
from pnag.run.timing import runtime_of
from pnag.run.trained import (
    answer,
    load_calibrated_front,
    load_front_calibration,
    load_generator,
    load_labels,
    weight_shapes,
)
from pnag.search.labels import Labels
from pnag.search.methods import Problem, get_method
from pnag.space import SearchSpace, Tokens
from pnag.studies.paper import figures
from pnag.studies.paper.figures import METHOD_NAMES
from pnag.studies.paper.page import Experiment, experiment_page
from pnag.studies.paper.table import markdown_table
from pnag.studies.paper.times import steadiness, time_networks
from pnag.threads import torch_threads

SPACE = SearchSpace()
METHODS = ("evo", "nas-mo", "ofa-mo")  # besides PNAG, which the run has trained
DRAWN = ("pnag", "ofa-mo")  # whose draws figure C compares
DRAWS = 1000
# Raised with the methods' settings, so that no experiment reuses answers of older ones.
SEARCHES = 2


@dataclass(frozen=True)
class Device:
    """A device of the paper.

    Attributes:
        title: as the paper has it. budgets: its five, in ms. table: of the supplement, if there is
            one. figures: those of accuracy over latency, if there is one, and of architectures.
    """

    title: str
    budgets: tuple[float, ...]
    table: int | None
    figures: tuple[str, str]


DEVICES = {
    "cpu": Device("Intel Core i5-7400 CPU", (30, 35, 40, 45, 50), 1, ("D", "G")),
    "gpu": Device("NVIDIA TITAN X GPU", (90, 115, 140, 165, 190), 2, ("E", "H")),
    "mobile": Device("Google Pixel1 phone", (80, 110, 140, 170, 200), None, ("", "F")),
}


@dataclass(frozen=True)
class Study:
    """What all parts of an experiment need.

    Attributes:
        budgets: of this machine, in ms. As many as the paper's stand for those, one by one.
        folder: of the experiment, in the run directory.
    """

    device: str
    run: RunDirectory
    recipe: Recipe
    problem: Problem
    calibration: FrontCalibration | None
    budgets: tuple[float, ...]
    folder: Path

    @property
    def paper(self) -> Device:
        """The paper's device."""
        return DEVICES[self.device]

    @property
    def page(self) -> Path:
        """The page with everything."""
        return self.folder / "experiment.html"

    @property
    def size(self) -> Size:
        """Of the run's networks."""
        return Size(self.recipe.resolution)

    @property
    def rank(self) -> dict[float, int]:
        """Of each of the paper's budgets, the place of the one here that stands for it."""
        paired = len(self.budgets) == len(self.paper.budgets)
        return {theirs: n for n, theirs in enumerate(self.paper.budgets)} if paired else {}

    def cost(self, tokens: Tokens) -> np.ndarray[Any, np.dtype[np.float64]]:
        """(N,) predicted milliseconds, corrected by the run's timed ladder."""
        costs = self.problem.labels.cost.predict(tokens)
        return self.calibration(costs) if self.calibration else costs


def open_study(path: Path, device: str, budgets: list[float]) -> Study:
    """Load a finished `make run`; scale the paper's budgets to this machine.

    The paper's own architecture for a budget of 30 ms took it 29.7 ms: what that architecture takes
    here, times 30 / 29.7, is the budget here. So a budget leaves as much room on both machines.

    Raises:
        PnagError: for an unknown device, or a run that is not finished, is not of ImageNet's
            accuracies, or was measured on another machine or runtime; or if a library that builds
            networks of the table is not installed.
    """
    if device not in DEVICES:
        raise PnagError(f"there is no experiment {device!r}; there are {', '.join(DEVICES)}")
    finished_run(path)
    run = RunDirectory(path)
    recipe = make_recipe(load_recipe(run.recipe))
    if recipe.source != "imagenet":
        raise PnagError(
            f"the run {path} is of {recipe.source}: the paper's study needs ImageNet accuracies, "
            "as `make run` has them"
        )
    # Now, and not after all searches, comes what is missing to build and to time the networks.
    check_makers(zoo_networks(device))
    LatencyTable.load(run.latency_table).check_runtime(runtime_of(recipe).identity())
    labels = load_labels(run, SPACE)
    problem = problem_of(read_table(run.table), labels)
    calibration = load_front_calibration(run)
    scaled = tuple(sorted(budgets)) or scaled_budgets(DEVICES[device], device, labels, calibration)
    folder = run.path / f"experiment-{device}"
    return Study(device, run, recipe, problem, calibration, scaled, folder)


def scaled_budgets(
    device: Device, key: str, labels: Labels, calibration: FrontCalibration | None
) -> tuple[float, ...]:
    """The paper's budgets on this machine, in ms."""
    archs = papers_architectures(key)
    costs = labels.cost.predict(SPACE.encode([archs[budget] for budget in device.budgets]))
    costs = calibration(costs) if calibration else costs
    printed = {row.name: row.latency_ms for row in printed_table(device)}
    scaled = [
        cost * budget / (printed.get(f"PNAG-{budget:g}") or budget)
        for budget, cost in zip(device.budgets, costs, strict=True)
    ]
    return tuple(float(f"{value:.3g}") for value in scaled)


def printed_table(device: Device) -> list[PrintedRow]:
    """The rows of a device's table; none for the phone, whose table is not in the supplement."""
    return [row for row in PRINTED if row.table == device.table]


def papers_architectures(device: str) -> dict[float, str]:
    """The architectures that the paper prints for a device, by budget."""
    prefix = f"pnag-{device}-"
    return {
        float(key.removeprefix(prefix)): network.recipe.arch
        for key, network in ZOO.items()
        if key.startswith(prefix) and isinstance(network.recipe, Ours)
    }


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
            "calibration": asdict(study.calibration) if study.calibration else None,
            "budgets": study.budgets,
            "seed": study.recipe.seed,
            "searches": SEARCHES,
        }

        def work(method: str = method, file: Path = file) -> None:
            with display.bar(f"answers of {method}") as bar:
                rows = _pnag(study) if method == "pnag" else _searched(study, method, bar.update)
                bar.update(1, 1)
            write_json(file, rows)

        name = f"experiment {study.device}: {method}"
        study.run.stage(name, inputs, [file], work, display.reused)
        found[method] = read_json(file)
    return found


def _row(study: Study, budget: float, tokens: Tokens, draws: Tokens | None) -> dict[str, Any]:
    """One answer; `draws` are (n, T) architectures generated for the budget."""
    row = {
        "budget": budget,
        "arch": SPACE.text(tokens)[0],
        "accuracy": float(study.problem.labels.accuracy.predict(tokens)[0]),
        "cost": float(study.cost(tokens)[0]),
    }
    return row | ({} if draws is None else {"draws": study.cost(draws).round(4).tolist()})


def _pnag(study: Study) -> list[dict[str, Any]]:
    front = load_calibrated_front(study.run, SPACE)
    generator = load_generator(study.run.generator, SPACE)
    rows = []
    for budget in study.budgets:
        tokens = SPACE.encode([answer(front, SPACE, budget, " ms").arch])
        asked = torch.full((DRAWS,), _uncorrected(study, budget), dtype=torch.float64)
        draws = generator.sample(asked, torch.Generator().manual_seed(study.recipe.seed))
        rows.append(_row(study, budget, tokens, draws))
    return rows


def _searched(study: Study, method: str, progress: Any) -> list[dict[str, Any]]:
    searcher = get_method(method)(study.problem, study.recipe.seed, progress)
    rows = []
    for budget in study.budgets:
        asked = _uncorrected(study, budget)
        tokens = searcher.answer(asked)
        draws = searcher.generate(asked, DRAWS) if method in DRAWN else None
        rows.append(_row(study, budget, tokens, draws))
    return rows


def _uncorrected(study: Study, budget: float) -> float:
    return study.calibration.uncorrected(budget) if study.calibration else budget


def zoo_networks(device: str) -> list[Network]:
    """Those of the zoo that belong to a device: the paper's own, and its table's others."""
    own = [f"pnag-{device}-{budget:g}" for budget in DEVICES[device].budgets]
    printed = [row.key for row in printed_table(DEVICES[device]) if row.key]
    # The phone has no table here; what is compared on CPUs serves.
    others = printed or [row.key for row in printed_table(DEVICES["cpu"]) if row.key]
    keys = dict.fromkeys([*own, *(k for k in others if ZOO[k].family != PNAG)])
    return [ZOO[key] for key in keys]


def rows_of_table(
    study: Study, answers: dict[str, list[dict[str, Any]]], times: dict[str, Any]
) -> list[dict[str, Any]]:
    """The paper's table, row by row, with what was computed and measured here beside it.

    A row of a method (EVO-30) stands beside our answer of that method to the budget that 30 ms are
    here. A row of PNAG stands beside the paper's own architecture, and is followed by the answers
    that have no printed row: ours, and OFA-MO's. Budgets that stand for none of the paper's come
    last.
    """
    rows: list[dict[str, Any]] = []
    for printed in printed_table(study.paper) or _rows_of_the_phone(study):
        row: dict[str, Any] = {"name": printed.name, "printed": asdict(printed)}
        method, _, budget = printed.name.rpartition("-")
        number = study.rank.get(float(budget)) if budget.isdigit() else None
        if method in ("EVO", "NAS-MO") and number is not None:
            found = answers[method.lower()][number]
            row |= _found_here(study, printed.name, method.lower(), found, times)
        elif printed.key:
            network = ZOO[printed.key]
            counts, timed = network.counts(), times["networks"][printed.key]
            row |= {
                "group": "paper" if network.family == PNAG else "comparator",
                "params_m": counts.params / 1e6,
                "macs_m": counts.conv_macs / 1e6,
                "milliseconds": timed["milliseconds"],
                "spread": timed["spread"],
                "note": _notes(printed.note, network, study),
            }
            if network.family == PNAG and isinstance(network.recipe, Ours):
                row |= {"arch": network.recipe.arch, "width_mult": network.recipe.width_mult}
        else:
            row |= {"group": None, "note": printed.note}
        rows.append(row)
        if method == "PNAG" and number is not None:
            for group in ("pnag", "ofa-mo"):
                name = f"{METHOD_NAMES[group]}-{budget}, found here"
                rows.append(_found_here(study, name, group, answers[group][number], times))
    if not study.rank:
        for number, asked_for in enumerate(study.budgets):
            for group in ("pnag", *METHODS):
                name = f"{METHOD_NAMES[group]}-{asked_for:g}, found here"
                rows.append(_found_here(study, name, group, answers[group][number], times))
    return rows


def _notes(printed: str, network: Network, study: Study) -> str:
    """What the paper's row needs to be told, and what our numbers beside it."""
    own = f"{network.resolution}x{network.resolution}"
    differs = network.resolution != study.size.resolution
    return "; ".join(filter(None, [printed, f"here timed and counted at {own}" if differs else ""]))


def _found_here(
    study: Study, name: str, method: str, answer: dict[str, Any], times: dict[str, Any]
) -> dict[str, Any]:
    """A row of a method's answer: predicted top-1, counted size, measured latency."""
    counts, timed = study.size.count(answer["arch"]), times["networks"][answer["arch"]]
    return {
        "name": name,
        "group": method,
        "budget": answer["budget"],
        "params_m": counts.params / 1e6,
        "macs_m": counts.conv_macs / 1e6,
        "milliseconds": timed["milliseconds"],
        "spread": timed["spread"],
        "top1": answer["accuracy"],
        "arch": answer["arch"],
    }


def _rows_of_the_phone(study: Study) -> list[PrintedRow]:
    """The paper's architectures and methods for the phone, of which it prints no numbers here."""
    names = [
        (f"{method}-{budget:g}", f"pnag-mobile-{budget:g}" if method == "PNAG" else None)
        for budget in study.paper.budgets
        for method in ("EVO", "NAS-MO", "PNAG")
    ]
    names += [(n.name, n.key) for n in zoo_networks(study.device) if n.family != PNAG]
    return [PrintedRow(0, name, None, None, None, None, None, None, key, "") for name, key in names]


@contextmanager
def held_study(path: Path, device: str, budgets: list[float]) -> Iterator[Study]:
    """`open_study`, in a run directory that no other process can use meanwhile.

    Raises:
        PnagError: as `open_study`, and if another process uses the run directory.
    """
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
    """Write everything that is told of answers and times; return what `experiment.json` holds."""
    rows = rows_of_table(study, answers, times)
    found = {
        "device": study.device,
        "paper": study.paper.title,
        "measured_on": read_json(study.run.latency_table)["identity"],
        "paper_budgets": study.paper.budgets,
        "budgets": study.budgets,
        "rows": rows,
        "drift": {k: times[k] for k in ("speed", "drift", "remeasured", "unsteady")},
        "busy": steadiness(study, times).warning,
        "within": {
            method: [_share_within(row) for row in answers[method]] for method in DRAWN
        },
    }  # fmt: skip
    write_json(study.folder / "experiment.json", found)
    title, about = _title(study), _about(study, found)
    unsure = [f"**{found['busy']}**"] if found["busy"] else []
    text = "\n\n".join([f"# {title}", *unsure, *about, markdown_table(rows)])
    write_text(study.folder / "table.md", text)
    networks = _networks_with_accuracy(rows)
    draw_figures(study, answers, networks, found, display)
    shown = Experiment(
        title=title,
        about=about,
        found=found,
        networks=networks,
        answers=answers,
        figures=study.paper.figures,
        papers=papers_architectures(study.device),
        cost=study.cost(study.problem.tokens),
        accuracy=study.problem.accuracy,
        losses=read_json(study.run.evaluator_curve)["ranking_loss"],
        rewards=read_json(study.run.generator_curve)["accuracy_within_budget"],
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


def draw_figures(
    study: Study,
    answers: dict[str, list[dict[str, Any]]],
    networks: list[dict[str, Any]],
    found: dict[str, Any],
    display: Display,
) -> None:
    """Figures A to H as SVG and PNG into `figures`; `networks` are the points of D and E."""
    problem, folder = study.problem, study.folder / "figures"
    budgets = [f"{budget:g}" for budget in study.budgets]
    over_latency, pictures = study.paper.figures
    shapes = figures.Shapes.of_weights(
        weight_shapes(study.run.generator), weight_shapes(study.run.evaluator)
    )
    of = study.size.of

    def architectures(columns: dict[str, str]) -> Figure:
        drawn = [(title, drawing(of, arch)) for title, arch in columns.items()]
        return architecture_columns(drawn, legend(of))

    drawn = {
        "A-models": lambda: figures.models(shapes),
        "B-convergence": lambda: figures.convergence(
            read_json(study.run.evaluator_curve)["ranking_loss"],
            read_json(study.run.generator_curve)["accuracy_within_budget"],
        ),
        "C-latency-of-draws": lambda: figures.draw_histograms(
            study.budgets,
            {m: [np.array(row["draws"]) for row in answers[m]] for m in DRAWN},
            study.cost(problem.tokens),
        ),
        f"{over_latency}-accuracy-over-latency".lstrip("-"): lambda: figures.accuracy_over_latency(
            [_point(row) for row in networks],
            f"{study.paper.title} in the paper; here {_machine(study)}"
            + (f"\n{found['busy']}" if found["busy"] else ""),
        ),
        f"{pictures}-found-here": lambda: architectures(
            {f"{b} ms": row["arch"] for b, row in zip(budgets, answers["pnag"], strict=True)}
        ),
        f"{pictures}-of-the-paper": lambda: architectures(
            {f"PNAG-{b:g}": arch for b, arch in papers_architectures(study.device).items()}
        ),
        "table-histograms": lambda: figures.table_histograms(
            study.cost(problem.tokens), problem.accuracy, "ms"
        ),
    }
    with display.bar("drawing figures") as bar:
        for done, (name, draw) in enumerate(drawn.items(), 1):
            save_figure(draw(), folder / name)
            bar.update(done, len(drawn), name)


def _machine(study: Study) -> str:
    identity = read_json(study.run.latency_table)["identity"]
    return f"{identity['device']}, {identity['runtime']}"


def _networks_with_accuracy(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows with a latency here and a top-1: predicted for ours, printed or published for others."""
    found = []
    for row in rows:
        printed = row.get("printed") or {}
        top1 = row.get("top1") or printed.get("top1")
        if top1 is None and printed.get("key"):
            top1 = ZOO[printed["key"]].top1
        if row["group"] and top1:
            found.append(row | {"top1": top1})
    return found


def _point(row: dict[str, Any]) -> figures.Point:
    return figures.Point(row["group"], row["name"], row["milliseconds"], row["top1"], row["spread"])
