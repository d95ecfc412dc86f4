"""On how many images should a subnet be judged? On few, and the best ones again on more?

    pnag train --images FOLDER --out RUN
    python benchmarks/images_a_subnet.py RUN

Judges the same sampled subnets of a trained supernet on several numbers of validation images, block
by block in turns, so their times compare. Then lets each way spend the same time, drawing its rows
from that pool anew for every seed:

- 1000: every row on 1,000 images, and so on;
- 1000+2000: every row on 1,000 images, then the best BEST of them (by how far they are above what
  their multiply-adds let expect) on 2,000, and so on.

A Gaussian process is fitted to the rows. It is asked about UNSEEN subnets, whose truth is their
accuracy on the test part: Kendall's tau, and how far its choice in each of BINS ranges of
multiply-adds is behind the best there. Accuracies are kept in RUN. A second look is billed as the
first is, though the best ones share fewer units; draws of one pool overlap, so standard errors are
too small where they are most of it.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import kendalltau

from pnag.cost.runtimes.machine import cpu_name
from pnag.families import count_batch, load_checkpoint
from pnag.files import file_fingerprint, fingerprint, write_text
from pnag.judging.subnets import SubnetEvaluator
from pnag.run.decoded_images import decode_images
from pnag.run.display import Display
from pnag.run.finished_supernet import load_plan
from pnag.run.run_directory import RunDirectory
from pnag.search.gaussian_process import fit_gaussian_process
from pnag.space import SearchSpace, Tokens, sample_shared
from pnag.supernet.loop import to_device
from pnag.supernet.plan import evaluator_settings
from pnag.supernet.trained_on import trained_on

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
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 2000, 5000, 10_000])
    parser.add_argument("--pool", type=int, default=1600, help="sampled subnets")
    parser.add_argument("--rows", type=int, nargs="+", default=[200, 400, 800],
                        help="in whose time on --same images")  # fmt: skip
    parser.add_argument("--same", type=int, default=2000)
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
    pool = sample_shared(SPACE, options.pool, np.random.default_rng(0))
    unseen = SPACE.sample(UNSEEN, np.random.default_rng(99))
    settings = evaluator_settings(device)
    what = [file_fingerprint(run.supernet), data.identity, options.images, options.pool]
    file = run.path / f"images_a_subnet.{fingerprint(what)}.npz"
    if not file.exists():
        evaluators = [
            SubnetEvaluator(supernet, data, replace(settings, validation=count))
            for count in options.images
        ]
        with display.bar("judging") as bar:
            found, seconds = judged(evaluators, pool, bar.update)
        tested = replace(data, validation=data.test)
        test = SubnetEvaluator(supernet, tested, replace(settings, validation=None))
        with display.bar("judging on the test part") as bar:
            (truth,), _ = judged([test], unseen, bar.update)
        np.savez(file, found=found, seconds=seconds, truth=truth)
    kept = np.load(file)
    assert options.same in options.images and max(options.images) <= len(data.validation)
    on: dict[int, Floats] = dict(zip(options.images, kept["found"], strict=True))
    seconds = dict(zip(options.images, kept["seconds"], strict=True))
    truth = kept["truth"]

    resolution = data.preprocessing.resolution
    macs, unseen_macs = (
        count_batch(supernet.family, t, resolution=resolution).macs / 1e6 for t in (pool, unseen)
    )
    bins = np.array_split(np.argsort(unseen_macs), BINS)

    def worth(rows: NDArray[np.int64], targets: Floats) -> tuple[float, float]:
        found = fit_gaussian_process(SPACE, pool[rows], targets).predict(unseen)
        behind = [truth[b].max() - truth[b][found[b].argmax()] for b in bins]
        return float(kendalltau(found, truth)[0]), float(np.mean(behind))

    each = ", ".join(f"{1000 * s:.0f} ms on {count}" for count, s in seconds.items())
    lines = [
        f"{cpu_name()}, 1 thread; {data.source} at {resolution}, {data.validation.labels.size} "
        "validation images",
        f"{load_plan(run.supernet_plan)}",
        f"{settings.calibration} calibration images; a subnet takes {each}",
        f"truth: {UNSEEN} others on {len(data.test)} test images, {truth.min():.2%} to "
        f"{truth.max():.2%}; mean and standard error of {options.seeds} draws",
        "",
        f"{'time of':>8} {'images':12} {'rows':>5} {'tau':>15} {'choice behind (points)':>24}",
    ]
    ways = [(count, None) for count in options.images]
    ways += list(itertools.combinations(options.images, 2))
    for n in options.rows:
        for count, more in ways:
            cost = seconds[count] + (BEST * seconds[more] if more else 0)
            number = round(n * seconds[options.same] / cost)
            assert number <= len(pool), f"{number} rows are more than --pool {len(pool)}"
            results = []
            for seed in range(options.seeds):
                rows = np.random.default_rng(seed).permutation(len(pool))[:number]
                targets = on[count][rows]
                if more:
                    above = above_expected(targets, macs[rows])
                    best = np.argsort(-above)[: round(BEST * number)]
                    targets[best] = on[more][rows[best]]
                results.append(worth(rows, targets))
            (tau, behind), (tau_error, behind_error) = (
                np.mean(results, 0),
                np.std(results, 0, ddof=1) / np.sqrt(len(results)),
            )
            lines.append(
                f"{n:8d} {f'{count}+{more}' if more else count!s:12} {number:5d} "
                f"{tau:7.3f} +- {tau_error:.3f} "
                f"{100 * behind:14.3f} +- {100 * behind_error:.3f}"
            )
    text = "\n".join(lines) + "\n"
    print(text)
    write_text(RESULTS / "images_a_subnet.txt", text)


if __name__ == "__main__":
    main()
