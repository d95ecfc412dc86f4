"""Complete truths: every architecture's accuracy and costs are known, so regret is exact.

    python benchmarks/truths.py                       # all that is missing, seed by seed
    python benchmarks/truths.py --seeds 1 --problems pi5_onnx_ms --methods pnag
    python benchmarks/truths.py --report              # only prints

NAS-Bench-201 has 15,625 cells (CIFAR-100's accuracy after 200 epochs; milliseconds of four devices,
and of two at once), NAS-Bench-Macro 6,561 networks (CIFAR-10's; FLOPs). A method may evaluate
100, 200 or 500 architectures for all twelve budgets together, and its answer to a budget is the
best *evaluated* one within it: nothing is believed unseen. An evaluation is of the accuracy; costs
are looked up at no charge, by every method alike.

All start from the same 30 uniform samples and then ask for 10 a round. PNAG's are the library's
`ask_in_rounds`. The others search the same predictor (`fit_learnt` of the accuracies' ranks,
fitted anew in each round) and ask for what they find. No method is told how many evaluations it
will have, so the first 100 of 500 are those of a run of 100. Each (problem, method, seed) is kept
in `results/truths.json` as soon as it is finished, so a stopped run goes on.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from note10 import FACTS
from rich.console import Console
from rich.table import Table
from search_note10 import machine
from what_f_adds import NASBENCH, Known, tokens_of_cells

from pnag.files import read_json, write_json, write_text
from pnag.search.expected_gain import normal_scores
from pnag.search.front import Floats, FrontSettings, improve
from pnag.search.labels import Labels
from pnag.search.learnt_kernel import fit_learnt
from pnag.search.methods import Problem, silent
from pnag.search.methods.evo import Evo, EvoSettings
from pnag.search.methods.nsga2 import Nsga2Settings, nsga2
from pnag.search.rounds import ask_in_rounds
from pnag.space import SearchSpace, Tokens
from pnag.space.search_space import Token

RESULTS = Path(__file__).parent / "results"
MACRO = SearchSpace(tuple(Token(f"layer{i}", tuple(range(3))) for i in range(8)))
START, PER_ROUND = 30, 10
TOTALS = (100, 200, 500)
SHARES = np.arange(1, 13) / 12  # of the range of one cost: the budgets
PAIRS = [(a, b) for a in (0.2, 0.4, 0.6) for b in (0.2, 0.4, 0.6, 0.8)]  # of those of two
GOALS = {200: 0.5, 500: 0.2}  # points of regret at most, median of the seeds
BEHIND = 0.2  # points that PNAG may be behind another method at most
LEVEL = 0.005  # points within which two are level
# 5,000 architectures a search, a third of the larger space.
EVO = EvoSettings(generations=50)
NSGA2 = Nsga2Settings(population=100, generations=50)
LOCAL = FrontSettings(rounds=10, children=512, bins=100)


@dataclass(frozen=True)
class Truth:
    """All N architectures of a space.

    Attributes:
        tokens: (N, T), accuracy: (N,) fractions, costs: (N, C).
        place: an architecture's index by its T tokens.
    """

    space: SearchSpace
    tokens: Tokens
    accuracy: Floats
    costs: Floats
    place: np.ndarray

    @classmethod
    def of(cls, space: SearchSpace, tokens: Tokens, accuracy: Floats, costs: Floats) -> Truth:
        """Index them."""
        place = np.full(tuple(space.choices_per_token), -1)
        place[tuple(tokens.T)] = np.arange(len(tokens))
        return cls(space, tokens, accuracy, costs, place)

    def accuracy_of(self, tokens: Tokens) -> Floats:
        """(n,) true accuracies: the evaluations."""
        return np.asarray(self.accuracy[self.place[tuple(tokens.T)]])

    def costs_of(self, tokens: Tokens) -> Floats:
        """(n, C) costs."""
        return np.asarray(self.costs[self.place[tuple(tokens.T)]])

    def budgets(self) -> Floats:
        """(12, C) over each cost's range."""
        low, high = self.costs.min(0), self.costs.max(0)
        shares = SHARES[:, None] if self.costs.shape[1] == 1 else np.array(PAIRS)
        return np.asarray(low + shares * (high - low))

    def regrets(self, evaluated: Tokens) -> list[float]:
        """Points that the best evaluated are behind the best of all, at each budget.

        Where none is within a budget, that budget's best accuracy itself.
        """
        accuracy, costs = self.accuracy_of(evaluated), self.costs_of(evaluated)
        found = []
        for budget in self.budgets():
            best = self.accuracy[(self.costs <= budget).all(1)].max()
            own = accuracy[(costs <= budget).all(1)].max(initial=0.0)
            found.append(100 * float(best - own))
        return found


def nasbench201(*costs: str) -> Truth:
    """CIFAR-100's accuracy after 200 epochs and milliseconds on some devices."""
    frame = pd.read_parquet(FACTS / "nasbench201.parquet")
    accuracy = frame["cifar100_200_epochs"].to_numpy(dtype=float) / 100
    prices = frame[list(costs)].to_numpy(dtype=float)
    return Truth.of(NASBENCH, tokens_of_cells(frame["arch"]), accuracy, prices)


def macro() -> Truth:
    """CIFAR-10's accuracy, mean of three trainings, and FLOPs."""
    frame = pd.read_csv(FACTS / "nasbench_macro_cifar10.csv")
    tokens = np.array([row.split() for row in frame["arch"]]).astype(np.int8)
    accuracy = frame["top1"].to_numpy(dtype=float) / 100
    return Truth.of(MACRO, tokens, accuracy, frame[["flops"]].to_numpy(dtype=float))


PROBLEMS: dict[str, Callable[[], Truth]] = {
    "pi5_onnx_ms": lambda: nasbench201("pi5_onnx_ms"),
    "raspi4_ms": lambda: nasbench201("raspi4_ms"),
    "1080ti_256_ms": lambda: nasbench201("1080ti_256_ms"),
    "fpga_ms": lambda: nasbench201("fpga_ms"),
    "raspi4_ms and fpga_ms": lambda: nasbench201("raspi4_ms", "fpga_ms"),
    "NAS-Bench-Macro flops": macro,
}
Proposes = Callable[[Truth, Problem, Floats, int, int], Tokens]
"""Truth (of the costs), problem by one budget's shares, that budget (C,), how many are asked for in
a round and a seed, to tokens, the ones to ask for first in front."""


def shares_of(truth: Truth, budget: Floats) -> Callable[[Tokens], Floats]:
    """(n,) largest share of a budget that any cost takes, above the cost's lowest: 1 holds it.

    Of one cost it grows as the cost does, so a front by one budget's share serves all budgets.
    """
    low = truth.costs.min(0)
    return lambda tokens: ((truth.costs_of(tokens) - low) / (budget - low)).max(1)


def in_rounds(
    propose: Proposes,
    truth: Truth,
    seed: int,
    *,
    start: int = START,
    per_round: int = PER_ROUND,
) -> Tokens:
    """(500, T) what is evaluated if each round asks for what a search of the predictor finds.

    Each round is for one of the budgets in turn. What is known already is passed over; if too
    little is left, mutants of what was found are asked for.
    """
    rng = np.random.default_rng(seed)
    tokens = truth.space.sample_unique(start, rng)
    budgets = truth.budgets()
    for done in range((TOTALS[-1] - start) // per_round):
        accuracy, budget = truth.accuracy_of(tokens), budgets[done % len(budgets)]
        values = normal_scores(accuracy)
        process = fit_learnt(truth.space, tokens, values)
        share = shares_of(truth, budget)
        labels = Labels(truth.space, process, Known(share))
        problem = Problem(truth.space, tokens, values, share(tokens), labels)
        found = propose(truth, problem, budget, per_round, seed + done)
        seen, asked, more = {row.tobytes() for row in tokens}, list[Tokens](), found
        while len(asked) < per_round:
            for row in more:
                if len(asked) < per_round and row.tobytes() not in seen:
                    seen.add(row.tobytes())
                    asked.append(row)
            more = truth.space.mutate(found, 0.2, rng)
        tokens = np.concatenate([tokens, np.array(asked)])
    return tokens


def evenly(front: Tokens, n: int) -> Tokens:
    """A front by growing cost, n evenly spread ones first."""
    first = np.unique(np.linspace(0, len(front) - 1, n).astype(int))
    return np.concatenate([front[first], np.delete(front, first, axis=0)])


def by_evo(truth: Truth, problem: Problem, budget: Floats, n: int, seed: int) -> Tokens:
    """The last population, best first."""
    if problem.cost.min() > 1:  # it starts from what holds the budget, of uniform samples or rows
        held = truth.tokens[problem.labels.cost.predict(truth.tokens) <= 1]
        problem = Problem(problem.space, held, problem.accuracy, problem.cost, problem.labels)
    return np.asarray(Evo(problem, seed, silent, EVO).generate(1.0, EVO.population))


def by_nsga2(truth: Truth, problem: Problem, budget: Floats, n: int, seed: int) -> Tokens:
    """The nondominated set."""
    return evenly(nsga2(problem, seed, silent, NSGA2).front.tokens, n)


def by_local_search(truth: Truth, problem: Problem, budget: Floats, n: int, seed: int) -> Tokens:
    """The front of the library's local search from what is evaluated."""
    share = problem.labels.cost.predict
    span = (float(share(truth.tokens).min()), float(share(truth.tokens).max()))
    found = improve(truth.space, problem.tokens, problem.label, span, LOCAL, seed=seed)
    return evenly(found.tokens, n)


def by_pnag(truth: Truth, seed: int, *, start: int = START, per_round: int = PER_ROUND) -> Tokens:
    """(500, T) what the library's rounds evaluate. R and f have no part: they need no truth."""
    tokens = truth.space.sample_unique(start, np.random.default_rng(seed))
    several = truth.costs.shape[1] > 1

    def cost(asked: Tokens) -> Floats:
        return truth.costs_of(asked) if several else truth.costs_of(asked)[:, 0]

    grown, _, _ = ask_in_rounds(
        truth.space, tokens, truth.accuracy_of(tokens), cost(tokens), cost,
        lambda asked: (truth.accuracy_of(asked), cost(asked)),
        rounds=(TOTALS[-1] - start) // per_round, per_round=per_round, seed=seed,
    )  # fmt: skip
    return grown


METHODS: dict[str, Callable[[Truth, int], Tokens]] = {
    "pnag": by_pnag,
    "random": lambda truth, seed: truth.space.sample_unique(
        TOTALS[-1], np.random.default_rng(seed)
    ),
    "local search": lambda truth, seed: in_rounds(by_local_search, truth, seed),
    "evo": lambda truth, seed: in_rounds(by_evo, truth, seed),
    "nsga2": lambda truth, seed: in_rounds(by_nsga2, truth, seed),
}


def one_run(truth: Truth, method: str, seed: int) -> dict[str, Any]:
    """The regrets of one method after each number of evaluations."""
    began = time.process_time()
    evaluated = METHODS[method](truth, seed)
    seconds = time.process_time() - began
    assert len(np.unique(evaluated, axis=0)) == len(evaluated) == TOTALS[-1]
    regrets = {str(total): truth.regrets(evaluated[:total]) for total in TOTALS}
    return {"machine": machine(), "cpu_seconds": seconds, "regrets": regrets}


def medians(runs: dict[str, Any], total: int) -> Floats:
    """(12,) median regret of the seeds, in points."""
    return np.asarray(np.median([run["regrets"][str(total)] for run in runs.values()], axis=0))


def report(results: dict[str, Any]) -> str:
    """Medians of every problem, then the goals."""
    console = Console(width=170, file=io.StringIO())
    runs = [run for of in results.values() for by in of.values() for run in by.values()]
    console.print("\n".join(sorted({run["machine"] for run in runs})) + "\n")
    for problem, by_method in results.items():
        by_method = {name: by_method[name] for name in METHODS if name in by_method}
        for total in TOTALS:
            title = f"{problem}, {total} evaluations: median regret (points), budgets growing"
            table = Table(title=title, title_justify="left")
            for name in ("method", "seeds", *(f"{i}" for i in range(1, 13)), "mean", "CPU s"):
                table.add_column(name, justify="right")
            for method, of in by_method.items():
                found = medians(of, total)
                seconds = np.median([run["cpu_seconds"] for run in of.values()])
                table.add_row(
                    method, str(len(of)), *(f"{x:.2f}" for x in found), f"{found.mean():.3f}",
                    f"{seconds:.0f}",
                )  # fmt: skip
            console.print(table)
    for line in goals(results):
        console.print(line)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def goals(results: dict[str, Any]) -> list[str]:
    """A line for each number of evaluations: which goals PNAG meets."""
    lines = []
    for total in TOTALS:
        rows = [
            (problem, i, float(own), {m: float(medians(of, total)[i]) for m, of in others.items()})
            for problem, by_method in results.items()
            if "pnag" in by_method
            for others in ({m: of for m, of in by_method.items() if m != "pnag"},)
            for i, own in enumerate(medians(by_method["pnag"], total))
        ]
        line = f"{total} evaluations: {len(rows)} (problem, budget); "
        if total in GOALS:
            missed = [f"{p} {i + 1}: {own:.2f}" for p, i, own, _ in rows if own > GOALS[total]]
            line += f"regret above {GOALS[total]} at {len(missed)} ({'; '.join(missed)}); "
        behind = [(own - min(other.values()), f"{p} {i + 1}") for p, i, own, other in rows if other]
        lines.append(line + standing(behind))
    return lines


def standing(behind: list[tuple[float, str]]) -> str:
    """How often PNAG is ahead, and where it is not, as a text.

    Args:
        behind: points that it is behind the best other method, and where, for each budget.
    """
    level = sum(gap <= LEVEL for gap, _ in behind)
    far = [f"{where}: {gap:.2f}" for gap, where in behind if gap > BEHIND]
    return (
        f"ahead of or level with every other method at {level} of {len(behind)}, behind "
        f"by more than {BEHIND} at {len(far)} ({'; '.join(far)})"
    )


def main() -> None:
    """Run what is missing, write and print the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--problems", default=",".join(PROBLEMS))
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--results", type=Path, default=RESULTS / "truths.json")
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    path: Path = options.results
    results: dict[str, Any] = read_json(path) if path.exists() else {}
    torch.set_num_threads(1)
    wanted = [(s, p) for s in range(options.seeds) for p in options.problems.split(",")]
    for seed, problem in wanted if not options.report else []:
        truth = PROBLEMS[problem]()
        for method in options.methods.split(","):
            of = results.setdefault(problem, {}).setdefault(method, {})
            if str(seed) in of:
                continue
            of[str(seed)] = one_run(truth, method, seed)
            write_json(path, results)
            means = [f"{np.mean(regret):.2f}" for regret in of[str(seed)]["regrets"].values()]
            print(
                problem, method, seed, *means, f"{of[str(seed)]['cpu_seconds']:.0f} s", flush=True
            )
    text = report(results)
    write_text(path.with_suffix(".txt"), text)
    print(text)


if __name__ == "__main__":
    main()
