"""Judged truths in the paper's own space: eleven costs, and the published predictor as referee.

    python benchmarks/truths_paper_space.py                # all that is missing, seed by seed
    python benchmarks/truths_paper_space.py --seeds 1 --costs note10 --methods pnag
    python benchmarks/truths_paper_space.py --report       # only prints

The truth of accuracy is the published predictor of width 1.2 at 224 pixels. The costs are the
published tables of a Note 10 and of an i7-8700K, and nine columns of GPU times. For the latter the
library's predictor learns from 4,000 of 5,000 networks measured whole; its error on the other 1,000
is in the report. What it predicts at 224 pixels then is the cost.

The rest is as in `truths.py`, whose functions these are: twelve budgets over a cost's range; 100,
200 or 500 evaluations of the accuracy for all of them together; the answer is the best *evaluated*
one within a budget. Of 10^19 architectures the best is not known: regret is against the best that a
long search of the truth itself, or any method, has found. All start from the same 40 uniform
samples and ask for 20 a round. NAS-MO's and OFA-MO's reward multiplies accuracies, so their
predictor is fitted to these, not to their ranks. Each (cost, method, seed) is kept in
`results/truths_paper_space.json` as soon as it is finished, so a stopped run goes on.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from note10 import FACTS, RESOLUTION, WIDTH_MULT, Note10
from quick_device import I7
from search_note10 import HARD, machine
from truths import (
    RESULTS,
    SHARES,
    TOTALS,
    Truth,
    by_evo,
    by_local_search,
    by_nsga2,
    by_pnag,
    in_rounds,
    standing,
)
from what_f_adds import Known

from pnag import SearchSpace
from pnag.cost.load import load_cost
from pnag.families.ofa_mobilenetv3 import ofa
from pnag.files import read_json, write_json, write_text
from pnag.run.recipe import make_recipe
from pnag.search.front import Floats, FrontSettings, improve
from pnag.search.labels import Labels
from pnag.search.learnt_kernel import fit_learnt
from pnag.search.methods import Problem, silent
from pnag.search.methods.multi_objective import MultiObjective, mnasnet_reward, nas_mo, ofa_mo
from pnag.search.policy_gradient import GeneratorSettings
from pnag.search.predictor import Predictor
from pnag.search.predictor_fit import fit_predictor
from pnag.space import Tokens

START, PER_ROUND = 40, 20
UNSEEN = 1000  # networks that no cost predictor is fitted to
GPUS = tuple(f"{gpu}_{batch}" for gpu in ("2080ti", "titan_rtx", "v100") for batch in (1, 32, 64))
COSTS = ("note10", I7, *GPUS)
SAMPLES = 20_000  # that a cost's range is taken from
LONG = FrontSettings(rounds=100, children=4000, bins=500)  # for the best known
# 5,120 draws a search, as many as the others' predictions.
GENERATOR = GeneratorSettings(iterations=40, samples=128)
MULTI = replace(HARD, generator=GENERATOR)


@dataclass(frozen=True)
class PaperTruth(Truth):
    """A truth that is computed; `tokens`, `accuracy` and `costs` are of samples of the space.

    Their costs are the range: from the smallest architecture to the dearest of SAMPLES uniform
    ones. The largest architecture costs half as much again and is worse than the best ones.

    Attributes:
        cost: (N, T) tokens to (N,) of it.
    """

    referee: Note10
    cost: Callable[[Tokens], Floats]

    def accuracy_of(self, tokens: Tokens) -> Floats:
        """(n,) true accuracies: the evaluations."""
        return self.referee.accuracy(tokens)

    def costs_of(self, tokens: Tokens) -> Floats:
        """(n, 1) costs."""
        return self.cost(tokens)[:, None]

    def best(self, tokens: Tokens) -> Floats:
        """(12,) best accuracy of these within each budget; 0 where none is within."""
        accuracy, cost = self.accuracy_of(tokens), self.cost(tokens)
        return np.array([accuracy[cost <= b].max(initial=0.0) for b in self.budgets()[:, 0]])


@cache
def gpu_rows() -> tuple[SearchSpace, Tokens, pd.DataFrame]:
    """The space with the resolutions of the measured networks, their tokens and their times."""
    frame = pd.read_parquet(FACTS / "ofa_gpu_latency_ms.parquet")
    pixels = frame["resolution"].astype(int)
    space = SearchSpace().with_resolutions(sorted(set(pixels)))
    texts = [f"{arch}@{size}" for arch, size in zip(frame["arch"], pixels, strict=True)]
    return space, space.encode(texts), frame


@cache
def learnt(column: str) -> tuple[Predictor, dict[str, Any]]:
    """The cost predictor of a GPU, as `pnag run --table` fits it, and its error on unseen rows."""
    space, tokens, frame = gpu_rows()
    times = frame[column].to_numpy(dtype=float)
    order = np.random.default_rng(0).permutation(len(frame))
    unseen, rest = order[:UNSEEN], order[UNSEEN:]
    settings = make_recipe({}).predictor
    predictor = fit_predictor(space, tokens[rest], times[rest], settings=settings)
    off = predictor.predict(tokens) / times - 1
    # Of rows in the order of the file: what a device was doing shows in neighbours, which have
    # nothing else in common.
    neighbours = float(np.corrcoef(off[:-1], off[1:])[0, 1])
    errors = np.abs(off)
    found = {"mean": errors[unseen].mean(), "median": np.median(errors[unseen])}
    found |= {"seen": errors[rest].mean(), "neighbours": neighbours}
    return predictor, {name: float(value) for name, value in found.items()}


def cost_of(name: str) -> Callable[[Tokens], Floats]:
    """(N, T) tokens to (N,) ms at 224 pixels."""
    if name in GPUS:
        predictor, space = learnt(name)[0], gpu_rows()[0]
        place = space.resolutions.index(RESOLUTION)
        return lambda tokens: predictor.predict(
            np.concatenate([np.full((len(tokens), 1), place, tokens.dtype), tokens], axis=1)
        )
    files = {
        "note10": f"note10_latency_ms/{RESOLUTION}_lookup_table.yaml",
        I7: f"{I7}_latency_ms.csv",
    }
    return load_cost(str(FACTS / files[name]), ofa(WIDTH_MULT), resolution=RESOLUTION).predict


@cache
def truth_of(name: str) -> PaperTruth:
    """One cost's problem."""
    referee, cost = Note10(), cost_of(name)
    rng = np.random.default_rng(0)
    tokens = referee.space.sample_stretched(SAMPLES, rng)
    tokens = tokens[cost(tokens) <= cost(referee.space.sample(SAMPLES, rng)).max()]
    costs = cost(tokens)[:, None]
    accuracy, nowhere = referee.accuracy(tokens), np.empty(0)  # too large a space for an index
    return PaperTruth(referee.space, tokens, accuracy, costs, nowhere, referee, cost)


def best_known(truth: PaperTruth) -> list[float]:
    """(12,) what a search of the truth itself finds, by some hundred thousand evaluations."""
    span = (float(truth.costs.min()), float(truth.costs.max()))
    front = improve(
        truth.space, truth.tokens, lambda t: (truth.accuracy_of(t), truth.cost(t)), span, LONG
    )
    found: list[float] = truth.best(front.tokens).tolist()
    return found


def by_multi_objective(
    make: Callable[..., MultiObjective],
    truth: Truth,
    problem: Problem,
    budget: Floats,
    n: int,
    seed: int,
) -> Tokens:
    """The draws of the budget's generator, those first that the method prefers."""
    tokens, limit = problem.tokens, float(budget[0])
    accuracy, cost = truth.accuracy_of(tokens), truth.costs_of(tokens)[:, 0]
    process = fit_learnt(truth.space, tokens, accuracy)
    labels = Labels(truth.space, process, Known(lambda some: truth.costs_of(some)[:, 0]))
    method = make(Problem(truth.space, tokens, accuracy, cost, labels), seed, silent, MULTI)
    drawn = np.unique(method.generate(limit, MULTI.draws), axis=0)
    predicted, costs = labels.label(drawn)
    reward = mnasnet_reward(predicted, costs, limit, MULTI)
    if make is ofa_mo:  # within the budget first, by accuracy; then by cost
        reward = np.where(costs <= limit, predicted, -costs)
    return np.asarray(drawn[np.argsort(-reward, kind="stable")])


def searched(propose: Callable[..., Tokens]) -> Callable[[Truth, int], Tokens]:
    """A method that asks in rounds for what a search of the predictor finds."""
    return partial(in_rounds, propose, start=START, per_round=PER_ROUND)


METHODS: dict[str, Callable[[Truth, int], Tokens]] = {
    "pnag": partial(by_pnag, start=START, per_round=PER_ROUND),
    "random": lambda truth, seed: truth.space.sample_unique(
        TOTALS[-1], np.random.default_rng(seed)
    ),
    "local search": searched(by_local_search),
    "nsga2": searched(by_nsga2),
    "evo": searched(by_evo),
    "ofa-mo": searched(partial(by_multi_objective, ofa_mo)),
    "nas-mo": searched(partial(by_multi_objective, nas_mo)),
}


def one_run(truth: PaperTruth, method: str, seed: int) -> dict[str, Any]:
    """The best accuracies of one method after each number of evaluations."""
    began = time.process_time()
    evaluated = METHODS[method](truth, seed)
    seconds = time.process_time() - began
    assert len(np.unique(evaluated, axis=0)) == len(evaluated) == TOTALS[-1]
    best = {str(total): truth.best(evaluated[:total]).tolist() for total in TOTALS}
    return {"machine": machine(), "cpu_seconds": seconds, "best": best}


def best_of_all(results: dict[str, Any], name: str) -> Floats:
    """(12,) best accuracies known for a cost, be they a method's."""
    runs = [run for of in results["runs"].get(name, {}).values() for run in of.values()]
    found = [run["best"][str(TOTALS[-1])] for run in runs]
    return np.asarray(np.max([results["best_known"][name], *found], axis=0))


def regrets(results: dict[str, Any], name: str, method: str, total: int) -> Floats:
    """(S, 12) points that the seeds' best evaluated are behind the best known."""
    runs = results["runs"][name][method].values()
    found = np.array([run["best"][str(total)] for run in runs])
    return np.asarray(100 * (best_of_all(results, name) - found))


def report(results: dict[str, Any]) -> str:
    """Errors of the costs, then medians of every cost, then how far PNAG is ahead or behind."""
    lines = ["cost learnt from 4,000 networks: relative error (%) on 1,000 unseen ones"]
    lines.append(f"{'':14}  mean  median  seen  correlation of neighbouring rows")
    for name, found in results.get("learnt", {}).items():
        shown = "  ".join(f"{100 * found[key]:5.2f}" for key in ("mean", "median", "seen"))
        lines.append(f"{name:14} {shown}  {found['neighbours']:5.2f}")
    runs = [run for of in results["runs"].values() for by in of.values() for run in by.values()]
    lines += ["", *sorted({run["machine"] for run in runs})]
    for name, by_method in results["runs"].items():
        if not by_method:
            continue
        for total in TOTALS:
            lines.append(f"\n{name}, {total} evaluations: median regret (points), budgets growing")
            lines.append(f"{'':14}" + "".join(f"{i:6}" for i in range(1, 13)) + "   mean  seeds  s")
            for method in (m for m in METHODS if m in by_method):
                median = np.median(regrets(results, name, method, total), axis=0)
                seconds = np.median([run["cpu_seconds"] for run in by_method[method].values()])
                lines.append(
                    f"{method:14}" + "".join(f"{x:6.2f}" for x in median)
                    + f" {median.mean():6.3f}  {len(by_method[method]):5}  {seconds:.0f}"
                )  # fmt: skip
    return "\n".join([*lines, "", *summary(results)]) + "\n"


def summary(results: dict[str, Any]) -> list[str]:
    """For each number of evaluations: means of all costs, and where PNAG is behind."""
    lines = []
    for total in TOTALS:
        medians = {
            (name, method): np.median(regrets(results, name, method, total), axis=0)
            for name, by_method in results["runs"].items()
            for method in by_method
        }
        means = []
        for method in METHODS:
            found = [median.mean() for (_, of), median in medians.items() if of == method]
            if found:
                means.append(f"{method} {np.mean(found):.3f} ({len(found)} costs)")
        behind = [
            (own[i] - min(others), f"{name} {i + 1}")
            for (name, method), own in medians.items()
            if method == "pnag"
            for i in range(len(SHARES))
            if (others := [m[i] for (n, o), m in medians.items() if n == name and o != "pnag"])
        ]
        lines.append(f"{total} evaluations, mean regret: {', '.join(means)}")
        lines.append(f"  PNAG {standing(behind)}")
    return lines


def main() -> None:
    """Run what is missing, write and print the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--costs", default=",".join(COSTS))
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--results", type=Path, default=RESULTS / "truths_paper_space.json")
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    path: Path = options.results
    results: dict[str, Any] = {"learnt": {}, "best_known": {}, "runs": {}}
    results |= read_json(path) if path.exists() else {}
    torch.set_num_threads(1)
    if not options.report:
        results["learnt"] = results["learnt"] or {name: learnt(name)[1] for name in GPUS}
        for seed in range(options.seeds):
            for name in options.costs.split(","):
                run_missing(path, results, name, options.methods.split(","), seed)
    text = report(results)
    write_text(path.with_suffix(".txt"), text)
    print(text)


def run_missing(
    path: Path, results: dict[str, Any], name: str, methods: list[str], seed: int
) -> None:
    """Do what is missing of one cost and seed, and keep each method's run as it is finished."""
    of = results["runs"].setdefault(name, {})
    missing = [method for method in methods if str(seed) not in of.get(method, {})]
    if missing and name not in results["best_known"]:
        results["best_known"][name] = best_known(truth_of(name))
    for method in missing:
        run = of.setdefault(method, {})[str(seed)] = one_run(truth_of(name), method, seed)
        write_json(path, results)
        means = [
            f"{np.mean(best_of_all(results, name) - np.array(b)) * 100:.2f}"
            for b in run["best"].values()
        ]
        print(name, method, seed, *means, f"{run['cpu_seconds']:.0f} s", flush=True)


if __name__ == "__main__":
    main()
