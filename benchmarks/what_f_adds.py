"""What f adds: rows and local search, f's draws alone, and both, at equal predictor calls.

    python benchmarks/what_f_adds.py --rows 16000 --seeds 5
    python benchmarks/what_f_adds.py --rows 1000 --seeds 1 --small    # a try of minutes

Every way may predict the same number of architectures for all budgets together: f's training,
its draws and the local search all count. The referee is the truth. Problems: the Note 10's with one
cost (`note10`), the same with parameters as a second one (`note10+params`), and NAS-Bench-201's
with a Raspberry Pi 5's milliseconds (`nasbench201`), whose 15,625 networks are all known. Two more
need the directory of a run each:

    --this-machine runs/this-machine    # of `make run`: the published accuracies, its latencies
    --own-images runs/photos            # of `pnag run --images`: its rows, judged by its supernet

What the best network of one's own images is nobody knows: there all are held against the best
answer of any way and seed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from note10 import FACTS, Note10

from pnag.cost.counted import CountedCost
from pnag.cost.latency_model import LatencyModel
from pnag.families.registry import of_width
from pnag.files import read_json, write_text
from pnag.judging.subnets import make_evaluator
from pnag.run.display import Display
from pnag.run.image_run import open_images
from pnag.run.recipe import load_recipe, make_recipe, search_settings
from pnag.run.run_directory import RunDirectory
from pnag.run.supernet_stage import trained_supernet
from pnag.search.front import Floats, FrontSettings, improve, pareto_front
from pnag.search.gaussian_process import fit_gaussian_process
from pnag.search.labels import Labels, Predicts
from pnag.search.pnag import NoStore, PnagSettings, train_and_search, vectors_to_answer
from pnag.search.predictor_fit import fit_predictor
from pnag.search.vector_front import find_vector_front
from pnag.space import SearchSpace, Tokens
from pnag.space.search_space import Token
from pnag.supernet.plan import CollectingPlan, evaluator_settings

RESULT = Path(__file__).parent / "results" / "what_f_adds.txt"
SHARES = np.linspace(0.1, 0.9, 6)  # of each cost's range: the budgets
OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
NASBENCH = SearchSpace(tuple(Token(f"edge{i}", tuple(range(5))) for i in range(6)))
Truth = Callable[[Tokens], Floats]


@dataclass(frozen=True)
class Counted:
    """A predictor that counts what it is asked."""

    predictor: Predicts
    asked: list[int]

    def predict(self, tokens: Tokens) -> Floats:
        """(N,) predictions."""
        self.asked.append(len(tokens))
        return self.predictor.predict(tokens)


@dataclass(frozen=True)
class Problem:
    """A space with true accuracy and costs.

    Attributes:
        accuracy, costs: the truth; (N,) and (N, C) for (N, T) tokens.
        rows: (N, T) tokens of a table that there is; none where rows are drawn.
        costs_known: whether a search knows the costs, as a run does that measured them.
        searchable: whether the truth can be asked often enough to know the best.
    """

    space: SearchSpace
    accuracy: Truth
    costs: Truth
    rows: Tokens | None = None
    costs_known: bool = False
    searchable: bool = True

    def table(self, rows: int, seed: int) -> Tokens:
        """(N, T) tokens that a search starts from."""
        if self.rows is not None:
            return self.rows
        return self.space.sample_unique(rows, np.random.default_rng(seed))


def note10(further: bool) -> Problem:
    """The published predictor and the Note 10's latencies, alone or with parameters."""
    truth = Note10()
    params = CountedCost("params", of_width(1.2)).predict
    all_of = [truth.latency] + [params] * further

    def costs(tokens: Tokens) -> Floats:
        return np.stack([cost(tokens) for cost in all_of], axis=1)

    return Problem(truth.space, truth.accuracy, costs)


def tokens_of_cells(cells: Iterable[str]) -> Tokens:
    """(N, 6) tokens of NAS-Bench-201's text form."""
    rows = []
    for cell in cells:
        names = [part.rpartition("~")[0] for part in cell.split("|") if "~" in part]
        rows.append([OPERATIONS.index(name) for name in names])
    return np.array(rows, np.int8)


def nasbench201() -> Problem:
    """All 15,625 cells: CIFAR-100's accuracy after 200 epochs, milliseconds on a Raspberry Pi 5."""
    frame = pd.read_parquet(FACTS / "nasbench201.parquet")
    place = np.full((5,) * 6, -1)
    place[tuple(tokens_of_cells(frame["arch"]).T)] = np.arange(len(frame))
    scores = frame["cifar100_200_epochs"].to_numpy(dtype=float) / 100
    prices = frame["pi5_onnx_ms"].to_numpy(dtype=float)
    return Problem(
        NASBENCH,
        lambda tokens: scores[place[tuple(tokens.T)]],
        lambda tokens: prices[place[tuple(tokens.T)]][:, None],
    )


def this_machine(run: RunDirectory) -> Problem:
    """The published predictor (width 1.2) and what a run found that networks take here."""
    model, truth = LatencyModel.load(run.latency_model), Note10()
    truth.space = model.family.space
    return Problem(
        truth.space, truth.accuracy, lambda tokens: model.predict(tokens)[:, None], costs_known=True
    )


def own_images(run: RunDirectory) -> Problem:
    """What a run's supernet says of subnets on the validation part, and what they take."""
    opened = open_images(run, make_recipe(load_recipe(run.recipe)), Display())
    supernet, model = trained_supernet(opened), LatencyModel.load(run.latency_model)
    space, known = supernet.family.space, dict[str, float]()
    precision = CollectingPlan(**read_json(run.collecting_plan)).precision
    settings = evaluator_settings(opened.accelerator.device, precision=precision)
    evaluator = make_evaluator(supernet, opened.data, settings)

    def accuracy(tokens: Tokens) -> Floats:
        texts = space.text(tokens)
        new = list(dict.fromkeys(text for text in texts if text not in known))
        if new:
            known.update(zip(new, evaluator.accuracies(space.encode(new)).tolist(), strict=True))
        return np.array([known[text] for text in texts])

    frame = pd.read_parquet(run.table)
    known.update(zip(frame["arch"], frame["accuracy"].tolist(), strict=True))
    return Problem(
        space, accuracy, lambda tokens: model.predict(tokens)[:, None],
        space.encode(list(frame["arch"])), costs_known=True, searchable=False,
    )  # fmt: skip


def labels_of(problem: Problem, tokens: Tokens, seed: int) -> tuple[Labels, list[int]]:
    """Predictors as `pnag run --table` fits them, and the list that counts what they are asked."""
    settings = make_recipe({}).predictor
    space, asked = problem.space, list[int]()
    process = fit_gaussian_process(space, tokens, problem.accuracy(tokens), seed=seed)
    own, *further = (
        cost_of(problem, number)
        if problem.costs_known
        else fit_predictor(space, tokens, column, settings=settings, seed=seed)
        for number, column in enumerate(problem.costs(tokens).T)
    )
    counted = Counted(replace(process, factor=None), asked)
    return Labels(space, counted, own, tuple(further)), asked


def budgets_of(costs: Floats) -> Floats:
    """(V, C) budgets over the range of each cost; of several, all together."""
    low, high = costs.min(0), costs.max(0)
    return np.asarray(low + SHARES[:, None] * (high - low))


def answered(problem: Problem, labels: Labels, found: Tokens, budgets: Floats) -> Floats:
    """(V,) true accuracies of the answers from `found`; 0 where none is predicted to be within."""
    predicted, prices = labels.accuracy.predict(found), labels.costs(found)
    values = []
    for budget in budgets:
        held = np.where((prices <= budget).all(1), predicted, -np.inf)
        answer = found[[int(held.argmax())]]
        within = np.isfinite(held.max())
        values.append(float(problem.accuracy(answer)[0]) if within else 0.0)
    return np.array(values)


def ways(
    problem: Problem, rows: int, settings: PnagSettings, seed: int
) -> dict[str, tuple[Floats, int]]:
    """(V,) points that each way's answers are behind the best, and predictor calls, for one seed.

    Where the best is not known, minus their accuracies in points.
    """
    tokens = problem.table(rows, seed)
    accuracy, costs = problem.accuracy(tokens), problem.costs(tokens)
    labels, asked = labels_of(problem, tokens, seed)
    several = costs.shape[1] > 1
    cost = costs if several else costs[:, 0]
    budgets = budgets_of(costs)
    best = best_of(problem, budgets, seed) if problem.searchable else np.zeros(len(budgets))
    found: dict[str, tuple[Tokens, int]] = {}
    quiet = replace(settings, front=replace(settings.front, rounds=0))
    asked.clear()
    taught, own = train_and_search(
        tokens, accuracy, cost, labels, quiet, NoStore(quiet, lambda done, total: None), seed
    )
    drawn = own.own.tokens
    if several:
        vectors = np.concatenate([vectors_to_answer(accuracy, costs, labels, quiet, seed), budgets])
        only_f = replace(settings.vectors, rounds=0)
        drawn = find_vector_front(
            labels, taught.generator, vectors, tokens[:0], only_f, seed=seed
        ).tokens
    spent = sum(asked)
    found["f alone"] = drawn, spent
    children = settings.front.children
    more = max(1, spent // children // 4)  # rounds of local search from f's draws
    start = pareto_front(tokens, accuracy, costs[:, 0]).tokens
    for name, first, count in (
        ("rows and local search", start, more + spent // children),
        ("rows, f and local search", np.concatenate([start, drawn]), more),
    ):
        asked.clear()
        searched = local_search(labels, first, budgets, replace(settings.front, rounds=count), seed)
        found[name] = searched, sum(asked) + spent * (" f " in name)
    return {
        name: (100 * (best - answered(problem, labels, found_by, budgets)), calls)
        for name, (found_by, calls) in found.items()
    }


def local_search(
    labels: Labels, start: Tokens, budgets: Floats, settings: FrontSettings, seed: int
) -> Tokens:
    """What the front's local search finds; of several costs for each budget of the first."""
    span = (float(budgets[0, 0]) / 2, float(budgets[-1, 0]))

    def within(tokens: Tokens) -> tuple[Floats, Floats]:
        """Accuracy, and as the cost the largest share of the range that any cost takes."""
        costs = labels.costs(tokens)
        shares = np.stack(
            [np.interp(column, budget, SHARES, 0.0, 1.1) for column, budget in
             zip(costs.T, budgets.T, strict=True)], axis=1,
        )  # fmt: skip
        return labels.accuracy.predict(tokens), shares.max(1)

    if budgets.shape[1] == 1:
        return improve(labels.space, start, labels.label, span, settings, seed=seed).tokens
    return improve(labels.space, start, within, (0.0, 1.1), settings, seed=seed).tokens


def best_of(problem: Problem, budgets: Floats, seed: int) -> Floats:
    """(V,) best accuracy known within each budget: of all cells, else by a search of the truth."""
    if problem.space.size < 100_000:
        grid = np.stack(np.meshgrid(*[np.arange(5)] * 6, indexing="ij"), -1).reshape(-1, 6)
        everything = grid.astype(np.int8)
    else:
        first, *others = (cost_of(problem, c) for c in range(budgets.shape[1]))
        truth = Labels(problem.space, Known(problem.accuracy), first, tuple(others))
        start = problem.space.sample_stretched(2000, np.random.default_rng(seed))
        settings = replace(make_recipe({}).front, rounds=60, children=2048)
        everything = local_search(truth, start, budgets, settings, seed)
    accuracy, costs = problem.accuracy(everything), problem.costs(everything)
    return np.array([accuracy[(costs <= budget).all(1)].max() for budget in budgets])


@dataclass(frozen=True)
class Known:
    """The truth as a predictor."""

    predict: Truth


def cost_of(problem: Problem, which: int) -> Known:
    """One true cost as a predictor."""
    return Known(lambda tokens: problem.costs(tokens)[:, which])


PROBLEMS: dict[str, Callable[[], Problem]] = {
    "note10": lambda: note10(False),
    "note10+params": lambda: note10(True),
    "nasbench201": nasbench201,
}


def main() -> None:
    """Compare, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=16_000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--problems", default=",".join(PROBLEMS))
    parser.add_argument("--this-machine", type=Path, metavar="RUN")
    parser.add_argument("--own-images", type=Path, metavar="RUN")
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--small", action="store_true", help="less training")
    options = parser.parse_args()
    torch.set_num_threads(1)
    settings = search_settings(make_recipe({}))
    if options.small:
        settings = replace(
            settings,
            evaluator=replace(settings.evaluator, steps=30),
            generator=replace(settings.generator, iterations=80),
            front=replace(settings.front, children=1024, draws=32),
            vectors=replace(settings.vectors, vectors=512),
        )
    lines = [
        f"{options.rows:,} rows (NAS-Bench-201: at most 1,000; own images: its own), "
        f"{options.seeds} seed(s){', small' if options.small else ''}: mean points behind the "
        "best, predictor calls"
    ]
    problems = {name: PROBLEMS[name] for name in options.problems.split(",") if name}
    for option, make in (("this_machine", this_machine), ("own_images", own_images)):
        if run := getattr(options, option):
            problems[option] = partial(make, RunDirectory(run))
    for name, made in problems.items():
        problem = made()
        rows = min(options.rows, 1000) if problem.space is NASBENCH else options.rows
        runs = [ways(problem, rows, settings, seed) for seed in range(options.seeds)]
        behind = {way: np.array([run[way][0] for run in runs]) for way in runs[0]}
        nearest = np.min([found.min(0) for found in behind.values()], axis=0)
        for way, found in behind.items():
            gaps = (found if problem.searchable else found - nearest).mean(1)
            calls = [run[way][1] for run in runs]
            lines.append(
                f"{name:14} {way:25} {np.median(gaps):6.2f} ± {np.ptp(gaps) / 2:.2f}  "
                f"{int(np.median(calls)):,}"
            )
        write_text(options.out, "\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
