"""Search methods against a ground truth: what their answers are really worth at every budget.

    python benchmarks/search_note10.py --seeds 5

Every method gets what a user has: a table of 16,000 uniformly sampled architectures (another one
for each seed) and the two predictors that pnag fits to it. PNAG is what `pnag run` does
(`train_and_search`). The referee scores answers by the published accuracy predictor and latency
table (`note10.py`). Each (method, seed) is kept in `results/search_note10.json` as soon as it is
finished, with the function that made it and the machine, so a stopped run goes on, and several
processes can share the work (`--first-seed 0 --seeds 3` and `--first-seed 3 --seeds 2`); `--report`
only prints.
"""

from __future__ import annotations

import argparse
import io
import json
import platform
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import matplotlib.pyplot as plt
import numpy as np
import torch
from filelock import FileLock
from note10 import Note10
from rich.console import Console
from rich.table import Table

from pnag.cost.runtimes.machine import cpu_name
from pnag.files import read_json, write_json, write_text
from pnag.run.recipe import make_recipe, search_settings
from pnag.search.front import FrontSettings, improve
from pnag.search.gaussian_process import GaussianProcess, fit_gaussian_process
from pnag.search.labels import Labels
from pnag.search.methods import METHODS, Problem, Searcher, silent
from pnag.search.methods.evo import Evo
from pnag.search.methods.multi_objective import (
    MultiObjective,
    MultiObjectiveSettings,
    nas_mo,
    ofa_mo,
    train_for_budget,
)
from pnag.search.methods.nsga2 import nsga2
from pnag.search.methods.pnag_method import pnag
from pnag.search.methods.random_search import RandomSearch
from pnag.search.pnag import PnagSettings, train_and_search
from pnag.search.predictor_fit import fit_predictor
from pnag.search.rounds import ask_in_rounds
from pnag.space import Tokens

RESULTS = Path(__file__).parent / "results"
VERSION = 2  # of the runs; raise it where a method is changed: those of another one are made anew
BUDGETS = (23.0, 24.5, 26.0, 28.0, 30.0, 32.5, 35.0, 37.5, 40.0, 45.0, 50.0, 60.0)
ROWS = 16_000
ROUNDS, PER_ROUND = 20, 50
NSGA2_ROUNDS, NSGA2_PER_ROUND = 5, 200
DRAWS = 1000
# MnasNet's two pairs of exponents: with -0.07 on both sides the reward does not know the budget.
SOFT = MultiObjectiveSettings(within=-0.07, beyond=-0.07)
HARD = MultiObjectiveSettings(within=0.0, beyond=-1.0)
# The functions that make each method's rows.
MADE_BY: dict[str, tuple[Callable[..., Any], ...]] = {
    "pnag": (train_and_search,),
    "pnag+rounds": (ask_in_rounds, train_and_search),
    "random": (RandomSearch,),
    "nsga2": (nsga2,),
    "nsga2+rounds": (nsga2,),
    "evo": (Evo,),
    "ofa-mo": (train_for_budget, ofa_mo.keywords["choose"]),
    "nas-mo": (train_for_budget, nas_mo.keywords["choose"]),
    "ofa-mo hard": (train_for_budget, ofa_mo.keywords["choose"]),
    "nas-mo hard": (train_for_budget, nas_mo.keywords["choose"]),
}

Floats = np.ndarray


def problem_of(truth: Note10, tokens: Tokens, accuracy: Floats, cost: Floats, seed: int) -> Problem:
    """The table with the predictors that `pnag run --table` fits to it."""
    settings = make_recipe({}).predictor
    labels = Labels(
        truth.space,
        fit_gaussian_process(truth.space, tokens, accuracy, seed=seed),
        fit_predictor(truth.space, tokens, cost, settings=settings, seed=seed),
    )
    return Problem(truth.space, tokens, accuracy, cost, labels)


def settings_of_a_run() -> PnagSettings:
    """What `pnag run` takes for evaluator, generator and front where its recipe says nothing."""
    return search_settings(make_recipe({}))


def rounds_of_pnag(truth: Note10, problem: Problem, seed: int) -> Problem:
    """The same with ROUNDS * PER_ROUND further true evaluations, for all budgets together."""
    grown = ask_in_rounds(
        truth.space, problem.tokens, problem.accuracy, problem.cost, problem.labels.cost.predict,
        lambda tokens: (truth.accuracy(tokens), truth.latency(tokens)),
        rounds=ROUNDS, per_round=PER_ROUND, seed=seed,
    )  # fmt: skip
    return problem_of(truth, *grown, seed)


def rounds_of_nsga2(truth: Note10, problem: Problem, seed: int) -> Problem:
    """As many evaluations for NSGA-II: each round asks for its front's members, evenly by cost.

    In fewer rounds, for each is a run of half a minute.
    """
    rng = np.random.default_rng(seed)
    for _ in range(NSGA2_ROUNDS):
        front = nsga2(problem, seed, silent).front.tokens
        known = {row.tobytes() for row in problem.tokens}
        new = front[[row.tobytes() not in known for row in front]]
        new = new[np.unique(np.linspace(0, len(new) - 1, NSGA2_PER_ROUND).astype(int))]
        while len(new) < NSGA2_PER_ROUND:  # its set is small: the rest are mutants of the set
            more = truth.space.mutate(front, 0.04, rng)
            more = more[[row.tobytes() not in known for row in more]]
            new = np.unique(np.concatenate([new, more]), axis=0)
        new = new[rng.permutation(len(new))[:NSGA2_PER_ROUND]]
        accuracy, cost = truth.accuracy(new), truth.latency(new)
        process = cast(GaussianProcess, problem.labels.accuracy).extended(new, accuracy)
        problem = Problem(
            truth.space,
            np.concatenate([problem.tokens, new]),
            np.concatenate([problem.accuracy, accuracy]),
            np.concatenate([problem.cost, cost]),
            Labels(truth.space, process, problem.labels.cost),
        )
    return problem


class Methods:
    """All methods on one table, each trained when first asked for; what they share is done once."""

    def __init__(self, truth: Note10, seed: int, rows: int) -> None:
        self.truth, self.seed = truth, seed
        self.tokens = truth.space.sample_unique(rows, np.random.default_rng(seed))
        self.multi: dict[MultiObjectiveSettings, MultiObjective] = {}

    @cached_property
    def fitted(self) -> tuple[Problem, float]:
        """The table with its predictors, and the seconds that they took."""
        started = time.perf_counter()
        accuracy, cost = self.truth.accuracy(self.tokens), self.truth.latency(self.tokens)
        problem = problem_of(self.truth, self.tokens, accuracy, cost, self.seed)
        return problem, time.perf_counter() - started

    def train(self, method: str) -> Searcher:
        """The searcher of a method's name."""
        problem, seed = self.fitted[0], self.seed
        if method == "pnag+rounds":
            return pnag(
                rounds_of_pnag(self.truth, problem, seed), seed, silent, settings_of_a_run()
            )
        if method == "pnag":
            return pnag(problem, seed, silent, settings_of_a_run())
        if method == "nsga2+rounds":
            return nsga2(rounds_of_nsga2(self.truth, problem, seed), seed, silent)
        if "-mo" in method:
            # NAS-MO and OFA-MO differ in the choice among the draws; the generators are the same.
            settings = HARD if method.endswith(" hard") else SOFT
            if settings not in self.multi:
                self.multi[settings] = ofa_mo(problem, seed, silent, settings)
            choose = (nas_mo if method.startswith("nas") else ofa_mo).keywords["choose"]
            return replace(self.multi[settings], choose=choose)
        return METHODS[method](problem, seed, silent)


def one_run(methods: Methods, method: str) -> dict[str, Any]:
    """Train one method, ask it all budgets, let the truth judge."""
    truth = methods.truth
    fit_seconds = methods.fitted[1]
    started = time.perf_counter()
    searcher = methods.train(method)
    trained = time.perf_counter() - started
    rows = []
    for budget in BUDGETS:
        started = time.perf_counter()
        answer = searcher.answer(budget)
        seconds = time.perf_counter() - started
        drawn = searcher.generate(budget, DRAWS)
        rows.append(
            {
                "budget": budget,
                "arch": truth.space.text(answer)[0],
                "accuracy": float(truth.accuracy(answer)[0]),
                "cost": float(truth.latency(answer)[0]),
                "within": float((truth.latency(drawn) <= budget).mean()),
                "seconds": seconds,
            }
        )
    return {
        "made_by": made_by(method),
        "machine": machine(),
        "fit_seconds": fit_seconds,
        "train_seconds": trained,
        "hypervolume": hypervolume([(r["cost"], r["accuracy"]) for r in rows]),
        "answers": rows,
    }


def made_by(method: str) -> str:
    """The full names of the functions that make a method's rows."""
    return ", ".join(f"{f.__module__}.{f.__qualname__}" for f in MADE_BY[method])


def machine() -> str:
    """What this process runs on."""
    return (
        f"{cpu_name()}, {torch.get_num_threads()} threads, Python {platform.python_version()}, "
        f"torch {torch.__version__}"
    )


def hypervolume(points: list[tuple[float, float]]) -> float:
    """ms x accuracy that the answers dominate, of the corner at 60 ms and 0.78."""
    total, best = 0.0, 0.78
    for position, (cost, accuracy) in enumerate(sorted(points)):
        best = max(best, accuracy)
        following = sorted(points)[position + 1][0] if position + 1 < len(points) else 60.0
        total += max(0.0, min(following, 60.0) - min(cost, 60.0)) * (best - 0.78)
    return total


def best_known(truth: Note10) -> dict[str, float]:
    """The best that a strong search with millions of true evaluations finds, for each budget."""
    best = dict.fromkeys(BUDGETS, 0.0)
    settings = FrontSettings(rounds=300, children=12_000, bins=1000)
    for seed in range(3):
        rng = np.random.default_rng(seed)
        start = [truth.space.sample(20_000, rng), truth.space.sample_stretched(20_000, rng)]
        front = improve(
            truth.space, np.concatenate(start),
            lambda t: (truth.accuracy(t), truth.latency(t)), (20.0, 65.0), settings, seed=seed,
        )  # fmt: skip
        for budget in BUDGETS:
            index = front.best(budget)
            if index is not None:
                best[budget] = max(best[budget], float(front.accuracy[index]))
    return {str(budget): accuracy for budget, accuracy in best.items()}


def best_of_all(results: dict[str, Any]) -> dict[float, float]:
    """The best accuracy known for each budget, be it a method's answer."""
    best = {float(b): a for b, a in results["best_known"].items()}
    for runs in results["runs"].values():
        for run in runs.values():
            for row in run["answers"]:
                if row["cost"] <= row["budget"]:
                    best[row["budget"]] = max(best[row["budget"]], row["accuracy"])
    return best


def report(results: dict[str, Any]) -> str:
    """Medians over seeds as a text table; gaps in points of top-1."""
    best = best_of_all(results)
    console = Console(width=210, file=io.StringIO())
    everyone = [run for runs in results["runs"].values() for run in runs.values()]
    console.print("\n".join(sorted({run["machine"] for run in everyone})) + "\n")
    for title, cell in (
        ("gap to the best known (points of top-1); * the answer breaks its budget", "gap"),
        ("share of 1,000 generated architectures within the true budget (%)", "within"),
    ):
        table = Table(title=title, title_justify="left")
        for name in ("method", "seeds", *(f"{b:g} ms" for b in BUDGETS)):
            table.add_column(name, justify="right")
        if cell == "gap":
            table.add_row("best known (%)", "", *(f"{best[b] * 100:.2f}" for b in BUDGETS))
        for method, runs in results["runs"].items():
            cells = []
            for i, budget in enumerate(BUDGETS):
                rows = [run["answers"][i] for run in runs.values()]
                if cell == "gap":
                    gaps = [(best[budget] - row["accuracy"]) * 100 for row in rows]
                    broken = any(row["cost"] > budget * 1.0001 for row in rows)
                    cells.append(f"{np.median(gaps):.2f}±{np.ptp(gaps) / 2:.2f}" + "*" * broken)
                else:
                    cells.append(f"{np.median([row['within'] for row in rows]):.0%}")
            table.add_row(method, str(len(runs)), *cells)
        console.print(table)
    table = Table(title="cost and hypervolume (medians)", title_justify="left")
    for name in ("method", "predictors (s)", "training (s)", "a further budget (s)", "hypervolume"):
        table.add_column(name, justify="right")
    for method, runs in results["runs"].items():
        seconds = [np.median([r["seconds"] for r in run["answers"]]) for run in runs.values()]
        values = [
            np.median([run[key] for run in runs.values()])
            for key in ("fit_seconds", "train_seconds", "hypervolume")
        ]
        table.add_row(
            method, f"{values[0]:.0f}", f"{values[1]:.0f}", f"{np.median(seconds):.3f}",
            f"{values[2]:.4f}",
        )  # fmt: skip
    console.print(table)
    table = Table(title="what made each row", title_justify="left")
    for name in ("method", "functions"):
        table.add_column(name)
    for method, runs in results["runs"].items():
        table.add_row(method, "; ".join(sorted({run["made_by"] for run in runs.values()})))
    console.print(table)
    console.print("NAS-MO uses OFA-MO's generators: its seconds for a further budget are OFA-MO's.")
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def figure(results: dict[str, Any]) -> str:
    """Gap to the best known over budgets, one line a method with the range of its seeds, as SVG."""
    best = best_of_all(results)
    pictured = {
        "pnag+rounds": "#0b7285", "pnag": "#22b8cf", "nsga2+rounds": "#e8590c", "nsga2": "#ffa94d",
        "evo": "#5f3dc4", "ofa-mo hard": "#868e96", "random": "#ced4da",
    }  # fmt: skip
    drawing, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for method, colour in pictured.items():
        runs = results["runs"].get(method, {})
        if not runs:
            continue
        gaps = np.array(
            [[(best[r["budget"]] - r["accuracy"]) * 100 for r in run["answers"]]
             for run in runs.values()]
        )  # fmt: skip
        axes.plot(BUDGETS, np.median(gaps, 0), "o-", color=colour, label=method, ms=4)
        axes.fill_between(BUDGETS, gaps.min(0), gaps.max(0), color=colour, alpha=0.15, lw=0)
    axes.set_xlabel("budget (ms on a Samsung Note 10)")
    axes.set_ylabel("points of top-1 below the best known")
    axes.set_ylim(-0.05, 2.5)
    axes.grid(alpha=0.3)
    axes.legend(ncols=2, frameon=False)
    buffer = io.StringIO()
    drawing.savefig(buffer, format="svg", metadata={"Date": None})
    plt.close(drawing)
    return buffer.getvalue()


def kept(path: Path) -> dict[str, Any]:
    """The results so far: all that is of this version; best known accuracies are of any."""
    results: dict[str, Any] = read_json(path) if path.exists() else {}
    if results.get("version") != VERSION:
        results = {"best_known": results["best_known"]} if "best_known" in results else {}
    return {"version": VERSION, "runs": {}} | results


def keep(path: Path, change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Change the results on disk, which other processes change too; return them."""
    with FileLock(path.with_suffix(".lock")):
        results = kept(path)
        change(results)
        order = list(MADE_BY)
        results["runs"] = dict(sorted(results["runs"].items(), key=lambda r: order.index(r[0])))
        write_json(path, results)
    return results


def run_seed(path: Path, truth: Note10, seed: int, wanted: list[str], rows: int) -> None:
    """Do what is missing of one seed, and keep each method's run as soon as it is finished."""
    methods = Methods(truth, seed, rows)
    for method in wanted:
        if str(seed) in kept(path)["runs"].get(method, {}):
            continue
        run = one_run(methods, method)

        def add(results: dict[str, Any], method: str = method, run: Any = run) -> None:
            results["runs"].setdefault(method, {})[str(seed)] = run

        results = keep(path, add)
        gaps = [results["best_known"][str(r["budget"])] - r["accuracy"] for r in run["answers"]]
        seconds = run["train_seconds"] + sum(r["seconds"] for r in run["answers"])
        print(method, seed, json.dumps([round(g * 100, 2) for g in gaps]), f"{seconds:.0f} s",
              flush=True)  # fmt: skip


def main() -> None:
    """Run what is missing, write and print the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--methods", default=",".join(MADE_BY))
    parser.add_argument("--rows", type=int, default=ROWS, help="of the table; fewer for a try")
    parser.add_argument("--results", type=Path, default=RESULTS / "search_note10.json")
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    path, wanted = options.results, options.methods.split(",")
    for method in wanted:
        if method not in MADE_BY:
            parser.error(f"--methods has {method!r}; there are {', '.join(MADE_BY)}")
    if options.rows != ROWS and path.parent == RESULTS:
        parser.error(
            f"--rows {options.rows} needs --results: the published ones are of {ROWS} rows"
        )
    if not options.report:
        truth = Note10()
        if "best_known" not in kept(path):
            known = best_known(truth)
            keep(path, lambda results: results.update(best_known=known))
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            run_seed(path, truth, seed, wanted, options.rows)
    results = kept(path)
    if not results["runs"]:
        parser.error(f"{path} holds no runs of this version; start without --report")
    text = report(results)
    write_text(path.with_suffix(".txt"), text)
    write_text(path.with_suffix(".svg"), figure(results))
    print(text)


if __name__ == "__main__":
    main()
