"""Is it better to judge most subnets on half of the images, and only the best on all of them?

    pnag train --images FOLDER --out RUN
    python benchmarks/half_images.py RUN

Judges the same sampled subnets of a trained supernet on all images that a run would use and on
half of them, block by block in turns, so their times compare. Then lets three ways spend the same
time, each drawing its rows from that pool anew for every seed:

- all: every row on all images;
- half: every row on half of them;
- best: every row on half of them, then the best BEST of them (by how far they are above what their
  multiply-adds let expect) again on all.

A Gaussian process is fitted to the rows. It is asked about UNSEEN subnets, whose truth is their
accuracy on the test part: Kendall's tau, and how far its choice in each of BINS ranges of
multiply-adds is behind the best there.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import kendalltau

from pnag.cost.runtimes.machine import cpu_name
from pnag.files import write_text
from pnag.networks import count_batch, load_checkpoint
from pnag.pipeline.display import Display
from pnag.pipeline.finished_supernet import load_plan
from pnag.pipeline.image_stages import decode_images
from pnag.pipeline.run_directory import RunDirectory
from pnag.search.gaussian_process import fit_gaussian_process
from pnag.space import SearchSpace, Tokens, sample_shared
from pnag.training.loop import to_device
from pnag.training.plan import evaluator_settings
from pnag.training.subnets import SubnetEvaluator
from pnag.training.trained_on import trained_on

RESULTS = Path(__file__).parent / "results"
SPACE = SearchSpace()
BLOCK = 8  # that share their first units
BEST = 0.25
UNSEEN = 200
BINS = 10
Floats = NDArray[np.float64]


def judged(
    evaluators: list[SubnetEvaluator], tokens: Tokens, progress: Callable[[int, int], None]
) -> tuple[list[Floats], list[float]]:
    """Each evaluator's (M,) accuracies of the (M, T) tokens, and its median seconds a subnet."""
    accuracies = [np.empty(len(tokens)) for _ in evaluators]
    seconds: list[list[float]] = [[] for _ in evaluators]
    for turn, first in enumerate(range(0, len(tokens), BLOCK)):
        rows = slice(first, first + BLOCK)
        order = range(len(evaluators))
        for which in order if turn % 2 else reversed(order):
            started = time.perf_counter()
            accuracies[which][rows] = evaluators[which].accuracies(tokens[rows])
            seconds[which].append((time.perf_counter() - started) / len(tokens[rows]))
        progress(first + len(tokens[rows]), len(tokens))
    return accuracies, [float(np.median(one)) for one in seconds]


def above_expected(accuracies: Floats, macs: Floats) -> Floats:
    """(M,) by how much each is above a parabola through all of them."""
    return np.asarray(accuracies - np.polyval(np.polyfit(macs, accuracies, 2), macs))


def main() -> None:
    """Judge, spend, compare, keep."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--pool", type=int, default=1600, help="sampled subnets")
    parser.add_argument("--rows", type=int, nargs="+", default=[200, 400, 800], help="on all")
    parser.add_argument("--seeds", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(1)
    run, display, device = RunDirectory(options.run), Display(), torch.device("cpu")
    told = trained_on(run.supernet)
    assert told is not None
    data = decode_images(
        display, told.source, resolution=told.resolution, cache=run.path / "images",
        classes=told.classes, seed=told.seed, on_corrupt=told.on_corrupt,
    )  # fmt: skip
    supernet = load_checkpoint(run.supernet)
    to_device(supernet, device)
    supernet.eval()
    settings = evaluator_settings(device)
    halved = replace(settings, validation=settings.validation_images(data) // 2)
    evaluators = [SubnetEvaluator(supernet, data, one) for one in (settings, halved)]
    pool = sample_shared(SPACE, options.pool, np.random.default_rng(0))
    with display.bar("judging on all and on half") as bar:
        (on_all, on_half), (seconds, half_seconds) = judged(evaluators, pool, bar.update)
    unseen = SPACE.sample(UNSEEN, np.random.default_rng(99))
    test = SubnetEvaluator(
        supernet, replace(data, validation=data.test), replace(settings, validation=None)
    )
    with display.bar("judging on the test part") as bar:
        (truth,), _ = judged([test], unseen, bar.update)

    resolution = data.preprocessing.resolution
    macs, unseen_macs = (
        count_batch(SPACE, t, width_mult=supernet.width_mult, resolution=resolution).macs / 1e6
        for t in (pool, unseen)
    )
    bins = np.array_split(np.argsort(unseen_macs), BINS)

    def worth(rows: NDArray[np.int64], targets: Floats) -> tuple[float, float]:
        found = fit_gaussian_process(SPACE, pool[rows], targets).predict(unseen)
        behind = [truth[b].max() - truth[b][found[b].argmax()] for b in bins]
        return float(kendalltau(found, truth)[0]), float(np.mean(behind))

    lines = [
        f"{cpu_name()}, 1 thread; {data.source} at {resolution}",
        f"{load_plan(run.supernet_plan)}",
        f"{settings.calibration} calibration images; seconds a subnet: {seconds:.4f} on "
        f"{evaluators[0].images} images, {half_seconds:.4f} on {evaluators[1].images} "
        f"({half_seconds / seconds:.2f})",
        f"truth: {UNSEEN} others on {test.images} test images, {truth.min():.2%} to "
        f"{truth.max():.2%}; mean and standard error of {options.seeds} draws",
        "",
        f"{'time of':>8} {'way':5} {'rows':>5} {'tau':>15} {'choice behind (points)':>24}",
    ]  # fmt: skip
    ratio = half_seconds / seconds
    for n in options.rows:
        counts = {"all": n, "half": round(n / ratio), "best": round(n / (ratio + BEST))}
        for way, count in counts.items():
            results = []
            for seed in range(options.seeds):
                rows = np.random.default_rng(seed).permutation(len(pool))[:count]
                targets = (on_all if way == "all" else on_half)[rows]
                if way == "best":
                    above = above_expected(targets, macs[rows])
                    best = np.argsort(-above)[: round(BEST * count)]
                    targets[best] = on_all[rows[best]]
                results.append(worth(rows, targets))
            (tau, behind), (tau_error, behind_error) = (
                np.mean(results, 0),
                np.std(results, 0, ddof=1) / np.sqrt(len(results)),
            )
            lines.append(
                f"{n:8d} {way:5} {count:5d} {tau:7.3f} +- {tau_error:.3f} "
                f"{100 * behind:14.3f} +- {100 * behind_error:.3f}"
            )
    text = "\n".join(lines) + "\n"
    print(text)
    write_text(RESULTS / "half_images.txt", text)


if __name__ == "__main__":
    main()
