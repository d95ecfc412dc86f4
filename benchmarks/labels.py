"""By which labels should R rank a table: its own accuracies and costs, or the predicted ones?

    python benchmarks/labels.py --seeds 5

`train_and_search` gets the same table, predictors and seed with either; all else is alike. The
referee is `note10.py`. With `--noise 0.3` the table's accuracies (not the referee's) have normal
errors of 0.3 points, as those of a supernet that is judged on few images. Each (noise, labels,
seed) is kept in `results/labels.json` as soon as it is finished, so a stopped run goes on, and
several processes can share the work (`--first-seed 0 --seeds 3` and `--first-seed 3 --seeds 2`);
`--report` only prints.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from note10 import Note10
from rich.console import Console
from rich.table import Table
from scipy.stats import kendalltau
from search_note10 import BUDGETS, DRAWS, ROWS, machine, problem_of, settings_of_a_run

from pnag.files import read_json, write_json, write_text
from pnag.search.dominance import dominance_ranks
from pnag.search.evaluator import Evaluator
from pnag.search.front import Floats
from pnag.search.methods import Problem, silent
from pnag.search.pnag import NoStore, PnagSettings, train_and_search
from pnag.space import Tokens

RESULTS = Path(__file__).parent / "results"
LABELS: dict[str, Callable[[Problem], tuple[Floats, Floats]]] = {
    "the table's": lambda problem: (problem.accuracy, problem.cost),
    "predicted": lambda problem: problem.label(problem.tokens),
}
SHOWN = {
    "answer": "the answer: points of top-1 below the best known",
    "draw": "the best by prediction of 1,000 draws from f(B): points below the best known",
    "within": "share of the 1,000 draws within the true budget (%)",
    "tau": "R's order of the 1,000 draws against dominance (E) by the truth: Kendall's tau",
}


def table_of(truth: Note10, rows: int, noise: float, seed: int) -> Problem:
    """A table with its predictors. `noise`: standard deviation of an accuracy's error, points."""
    rng = np.random.default_rng(seed)
    tokens = truth.space.sample_unique(rows, rng)
    accuracy = truth.accuracy(tokens) + rng.normal(0, noise / 100, rows)
    return problem_of(truth, tokens, accuracy, truth.latency(tokens), seed)


def one_run(
    truth: Note10, problem: Problem, labels: str, settings: PnagSettings, seed: int
) -> dict[str, Any]:
    """Search by one kind of labels; what the truth says of answers, draws and R."""
    started = time.perf_counter()
    taught, found = train_and_search(
        problem.tokens, *LABELS[labels](problem), problem.labels, settings,
        NoStore(settings, silent), seed,
    )  # fmt: skip
    seconds = time.perf_counter() - started
    rows: dict[str, list[float]] = {name: [] for name in (*SHOWN, "cost")}
    for budget in BUDGETS:
        index = found.front.best(budget)
        answer = found.front.tokens[index : index + 1] if index is not None else None
        rows["answer"].append(float(truth.accuracy(answer)[0]) if answer is not None else 0.0)
        rows["cost"].append(float(truth.latency(answer)[0]) if answer is not None else 0.0)
        drawn = taught.generator.sample(
            torch.full((DRAWS,), budget, dtype=torch.float64), torch.Generator().manual_seed(seed)
        )
        accuracy, cost = problem.label(drawn)
        best = np.where(cost <= budget, accuracy, -np.inf).argmax()
        rows["draw"].append(float(truth.accuracy(drawn[best : best + 1])[0]))
        rows["within"].append(float((truth.latency(drawn) <= budget).mean()))
        rows["tau"].append(tau(taught.evaluator, truth, problem, drawn, budget))
    return {"machine": machine(), "seconds": seconds, **rows}


@torch.no_grad()
def tau(
    evaluator: Evaluator, truth: Note10, problem: Problem, tokens: Tokens, budget: float
) -> float:
    """Kendall's tau of R's order of architectures under a budget with the true one."""
    budgets = torch.tensor([budget], dtype=torch.float64)
    scores = evaluator(problem.labels.describe(tokens)[0], budgets)[0]
    true = (torch.from_numpy(truth.accuracy(tokens)), torch.from_numpy(truth.latency(tokens)))
    return float(kendalltau(scores, dominance_ranks(*true, budgets)[0]).statistic)


def values(runs: dict[str, Any], shown: str, best_known: list[float]) -> Floats:
    """(seeds, budgets) of one of `SHOWN`."""
    found = np.array([run[shown] for _, run in sorted(runs.items())])
    if shown in ("answer", "draw"):
        return np.asarray((np.array(best_known) - found) * 100)
    return found * 100 if shown == "within" else found


def report(results: dict[str, Any], best_known: list[float]) -> str:
    """Means over seeds; the mean of predicted less the table's, and its standard error."""
    console = Console(width=150, file=io.StringIO())
    every = [run for noise in results["runs"].values() for of in noise.values()
             for run in of.values()]  # fmt: skip
    console.print("\n".join(sorted({run["machine"] for run in every})))
    console.print(f"seconds of a search: {np.median([run['seconds'] for run in every]):.0f}\n")
    for noise, by_labels in results["runs"].items():
        for shown, title in SHOWN.items():
            table = Table(title=f"noise {noise} points; {title}", title_justify="left")
            for name in ("labels", "seeds", *(f"{b:g} ms" for b in BUDGETS), "mean"):
                table.add_column(name, justify="right")
            found = {name: values(runs, shown, best_known) for name, runs in by_labels.items()}
            for name, cells in found.items():
                table.add_row(
                    name, str(len(cells)), *(f"{x:.2f}" for x in cells.mean(0)),
                    f"{cells.mean():.3f}",
                )  # fmt: skip
            seeds = [set(runs) for runs in by_labels.values()]
            if len(seeds) == 2 and seeds[0] == seeds[1] and len(seeds[0]) > 1:
                first, second = (found[name] for name in LABELS)
                apart = second - first
                means = apart.mean(1)  # one a seed
                table.add_row(
                    "difference", "", *(f"{x:+.2f}" for x in apart.mean(0)), f"{means.mean():+.3f}"
                )
                errors = apart.std(0, ddof=1) / len(apart) ** 0.5
                table.add_row(
                    "its error", "", *(f"{x:.2f}" for x in errors),
                    f"{means.std(ddof=1) / len(means) ** 0.5:.3f}",
                )  # fmt: skip
            console.print(table)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def kept(path: Path) -> dict[str, Any]:
    """The results so far."""
    results: dict[str, Any] = read_json(path) if path.exists() else {"runs": {}}
    return results


def keep(path: Path, noise: str, labels: str, seed: int, run: dict[str, Any]) -> None:
    """Add one run to the results on disk, which other processes add to as well."""
    with FileLock(path.with_suffix(".lock")):
        results = kept(path)
        of_noise = results["runs"].setdefault(noise, {name: {} for name in LABELS})
        of_noise[labels][str(seed)] = run
        write_json(path, results)


def main() -> None:
    """Run what is missing, write and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--noise", type=float, default=0.0, help="of a table's accuracy, points")
    parser.add_argument("--rows", type=int, default=ROWS, help="of the table; fewer for a try")
    parser.add_argument("--quick", action="store_true", help="hardly any training, for a try")
    parser.add_argument("--results", type=Path, default=RESULTS / "labels.json")
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    path = options.results
    if path.parent == RESULTS and (options.quick or options.rows != ROWS):
        parser.error("a try needs --results: the published ones are of the full search")
    settings = settings_of_a_run()
    if options.quick:
        settings = replace(
            settings,
            evaluator=replace(settings.evaluator, steps=20, hidden=64),
            generator=replace(settings.generator, iterations=20, samples=8, hidden=16),
            front=replace(settings.front, budgets=16, draws=16, rounds=5, children=256),
        )
    truth, noise = Note10(), f"{options.noise:g}"
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        of_noise = kept(path)["runs"].get(noise, {})
        missing = [name for name in LABELS if str(seed) not in of_noise.get(name, {})]
        if options.report or not missing:
            continue
        problem = table_of(truth, options.rows, options.noise, seed)
        for name in missing:
            run = one_run(truth, problem, name, settings, seed)
            keep(path, noise, name, seed, run)
            print(options.noise, name, seed, f"{run['seconds']:.0f} s", flush=True)
    results = kept(path)
    if not results["runs"]:
        parser.error(f"{path} holds no runs yet; start without --report")
    known = read_json(RESULTS / "search_note10.json")["best_known"]
    text = report(results, [known[str(budget)] for budget in BUDGETS])
    write_text(path.with_suffix(".txt"), text)
    print(text)


if __name__ == "__main__":
    main()
