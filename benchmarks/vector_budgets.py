"""Budgets of three costs at once: f, the front of vectors and a short search against a long one.

    python benchmarks/vector_budgets.py                        # 16,000 rows
    python benchmarks/vector_budgets.py --rows 2000 --small    # in minutes; says so in the result

The table is of uniformly sampled networks of width 1.2 with the published accuracy predictor's
top-1, their published latencies on a Note 10 and on an i7-8700K, and their parameters. `pnag run
--cost ms,params,i7` would do the same with it. Then vectors of budgets are asked: what a random
architecture of any size has of each cost, times 1 to 1.3, so that each can be held; of each cost
with odds of 3 in 10 there is no budget. The long search is that of `pnag generate --thorough`. All
judge by the predictors; the result says how far the answers are apart, and what each took.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from note10 import FACTS, Note10

from pnag.cost.counted import CountedCost
from pnag.cost.load import load_cost
from pnag.families.registry import family, of_width
from pnag.files import write_text
from pnag.run.recipe import make_recipe, search_settings
from pnag.search.front import Floats, FrontSettings, draw_up_to
from pnag.search.gaussian_process import fit_gaussian_process
from pnag.search.generator import Generator
from pnag.search.labels import Labels
from pnag.search.pnag import NoStore, PnagSettings, train_and_search, vectors_to_answer
from pnag.search.predictor_fit import fit_predictor
from pnag.search.several_budgets import best_within
from pnag.search.sources import SOURCES
from pnag.search.vector_front import Known, VectorSettings, answer_vector, find_vector_front
from pnag.space import Tokens

RESULT = Path(__file__).parent / "results" / "vector_budgets.txt"
COSTS = ("ms", "params", "i7")
ROOM = (1.0, 1.3)
LIMITED = 0.7  # odds of each cost


@dataclass(frozen=True)
class Problem:
    """A table of M networks and its predictors.

    Attributes:
        tokens: (M, T), accuracy: (M,), costs: (M, 3).
    """

    tokens: Tokens
    accuracy: Floats
    costs: Floats
    labels: Labels


def problem_of(rows: int, seed: int) -> Problem:
    """The table, and the predictors that `pnag run` fits to it."""
    truth, networks = Note10(), family(of_width(1.2))
    tokens = truth.space.sample_unique(rows, np.random.default_rng(seed))
    i7 = load_cost(str(FACTS / "i7-8700K_latency_ms.csv"), networks)
    params = CountedCost("params", networks.name)
    costs = np.stack([p(tokens) for p in (truth.latency, params.predict, i7.predict)], axis=1)
    accuracy, settings = truth.accuracy(tokens), make_recipe({}).predictor
    process = replace(fit_gaussian_process(truth.space, tokens, accuracy, seed=seed), factor=None)
    own, *further = (
        fit_predictor(truth.space, tokens, column, settings=settings, seed=seed)
        for column in costs.T
    )
    return Problem(tokens, accuracy, costs, Labels(truth.space, process, own, tuple(further)))


def settings_of(small: bool) -> PnagSettings:
    """What `pnag run` takes, or a fraction of it."""
    settings = search_settings(make_recipe({}))
    if not small:
        return settings
    return replace(
        settings,
        evaluator=replace(settings.evaluator, steps=40),
        generator=replace(settings.generator, iterations=150),
        vectors=replace(settings.vectors, vectors=1024, rounds=20, children=2048),
    )


def asked(labels: Labels, count: int, seed: int) -> Floats:
    """(count, 3) vectors of budgets that can be held; infinite where there is none."""
    rng = np.random.default_rng(1000 + seed)
    stretched = labels.space.sample_stretched(20 * count, rng)
    costs = labels.costs(stretched[rng.permutation(len(stretched))[:count]])
    vectors = costs * rng.uniform(*ROOM, costs.shape)
    limited = rng.random(costs.shape) < LIMITED
    limited[~limited.any(1), 0] = True
    return np.asarray(np.where(limited, vectors, np.inf))


def costs_of(labels: Labels, limited: Floats) -> Callable[[Tokens], Floats]:
    """What predicts the costs that have a budget."""
    predictors = (labels.cost, *labels.further)
    chosen = [predictors[c] for c in np.flatnonzero(np.isfinite(limited))]
    return lambda tokens: np.stack([cost.predict(tokens) for cost in chosen], axis=1)


@dataclass(frozen=True)
class Answered:
    """One answer: its accuracy, largest share of a budget, seconds, and where it comes from."""

    accuracy: float
    share: float
    seconds: float
    cpu: float
    source: str


def quick(
    labels: Labels, generator: Generator, known: Known, vector: Floats, settings: VectorSettings
) -> Answered:
    """As `pnag generate` answers."""
    began, cpu = time.perf_counter(), time.process_time()
    limited = np.flatnonzero(np.isfinite(vector))
    one, share = answer_vector(
        labels, generator, replace(known, costs=known.costs[:, limited]), costs_of(labels, vector),
        vector[limited], vector, settings,
    )  # fmt: skip
    seconds, spent = time.perf_counter() - began, time.process_time() - cpu
    return Answered(float(one.accuracy[0]), share, seconds, spent, SOURCES[int(one.source[0])])


def long(
    problem: Problem, generator: Generator, known: Known, vector: Floats, settings: FrontSettings
) -> Answered:
    """As `pnag generate --thorough` answers."""
    began, cpu = time.perf_counter(), time.process_time()
    space, labels = problem.labels.space, problem.labels
    best = problem.tokens[(-problem.accuracy).argsort()[:500]]
    start = [
        draw_up_to(generator, float(vector[0]), settings), known.tokens, best,
        space.sample_stretched(2000, np.random.default_rng(0)),
    ]  # fmt: skip
    tokens, share = best_within(
        space, np.concatenate(start), labels.accuracy.predict, costs_of(labels, vector),
        vector[np.isfinite(vector)], settings,
    )  # fmt: skip
    seconds, spent = time.perf_counter() - began, time.process_time() - cpu
    accuracy = float(labels.accuracy.predict(tokens)[0])
    return Answered(accuracy, share, seconds, spent, "long search")


def report(title: str, quick_ones: list[Answered], long_ones: list[Answered]) -> str:
    """The table of the result."""
    pairs = zip(quick_ones, long_ones, strict=True)
    gaps = 100 * np.array([b.accuracy - a.accuracy for a, b in pairs])
    cpu, wall = (1e3 * np.array([getattr(a, n) for a in quick_ones]) for n in ("cpu", "seconds"))
    within = 100 * np.mean([a.share <= 1 for a in quick_ones])
    sources = {name: sum(a.source == name for a in quick_ones) for name in SOURCES}
    lines = [
        title,
        f"vectors asked                         {len(quick_ones)}",
        f"within all budgets (%)                {within:.0f}",
        f"points behind the long search, mean   {gaps.mean():.3f}",
        f"  largest; share behind by > 0.1 (%)  {gaps.max():.3f}; {100 * (gaps > 0.1).mean():.0f}",
        f"milliseconds each, median (of CPU)    {np.median(wall):.0f} ({np.median(cpu):.0f})",
        f"  largest (of CPU)                    {wall.max():.0f} ({cpu.max():.0f})",
        f"seconds of the long search (of CPU)   {np.median([b.seconds for b in long_ones]):.1f} "
        f"({np.median([b.cpu for b in long_ones]):.1f})",
        "answers come from                     "
        + ", ".join(f"{k}: {v}" for k, v in sources.items()),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Train, ask, compare, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=16_000)
    parser.add_argument("--vectors", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--small", action="store_true", help="less training, a shorter long search")
    options = parser.parse_args()
    torch.set_num_threads(1)
    problem, settings = problem_of(options.rows, options.seed), settings_of(options.small)
    labels = problem.labels
    began = time.process_time()
    taught, _ = train_and_search(
        problem.tokens, problem.accuracy, problem.costs, labels,
        replace(settings, front=replace(settings.front, rounds=0)),
        NoStore(settings, lambda done, total: None), options.seed,
    )  # fmt: skip
    trained = time.process_time() - began
    vectors = vectors_to_answer(problem.accuracy, problem.costs, labels, settings, options.seed)
    known = find_vector_front(labels, taught.generator, vectors, problem.tokens, settings.vectors)
    answered = time.process_time() - began - trained
    searched = FrontSettings(rounds=30, children=1024) if options.small else FrontSettings()
    quick_ones, long_ones = [], []
    for vector in asked(labels, options.vectors, options.seed):
        quick_ones.append(quick(labels, taught.generator, known, vector, settings.vectors))
        long_ones.append(long(problem, taught.generator, known, vector, searched))
        title = (
            f"{', '.join(COSTS)}: {options.rows:,} rows, one thread, seed {options.seed}"
            f"{', small' if options.small else ''}; R and f {trained:.0f} s of CPU, front of "
            f"{len(vectors):,} vectors {answered:.0f} s"
        )
        text = report(title, quick_ones, long_ones)
        write_text(RESULT, text)
    print(text)


if __name__ == "__main__":
    main()
