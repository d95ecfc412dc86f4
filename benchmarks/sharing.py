"""What sharing first units costs a predictor, and what it gains in time: the best group size.

1. Times each unit's share of a subnet's evaluation (validation and BN recalibration, one thread).
2. From that, how many architectures a time buys if groups of g share their first u units, and how
   well a Gaussian process that is fitted to so many predicts others. The truth is Once-for-All's
   published accuracy predictor (`note10.py`); every row gets noise of 0.2 %, as if judged on 10,000
   images that are the same for all.

python benchmarks/sharing.py [--images shared/data/cifar10 --resolution 32]
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from note10 import Note10
from numpy.typing import NDArray
from scipy.stats import kendalltau

from pnag import SearchSpace, Supernet
from pnag.images.images import load_images
from pnag.judging.subnets import Settings, SubnetEvaluator
from pnag.search.gaussian_process import fit_gaussian_process
from pnag.space import sample_shared

IMAGES = Path(__file__).parents[2] / "shared" / "data" / "cifar10"
GROUPS = (1, 2, 4, 8, 16, 32)
NOISE = 0.002


def unit_shares(options: argparse.Namespace) -> NDArray[np.float64]:
    """(6,) of a subnet's time: unit 1 to 5, and what follows them.

    Two architectures that differ in the last layer of unit u share all before it, so pairs tell
    what a unit costs without any look inside.
    """
    data = load_images(options.images, resolution=options.resolution, cache=options.cache)
    torch.manual_seed(0)
    supernet = Supernet(1.0, len(data.classes))
    settings = Settings(options.calibration, options.validation, options.precision)
    evaluator = SubnetEvaluator(supernet, data, settings)
    space = SearchSpace()
    rng = np.random.default_rng(0)

    def seconds(tokens: NDArray[np.int8]) -> float:
        started = time.perf_counter()
        evaluator.correct(tokens)
        return time.perf_counter() - started

    rows = []
    for arch in space.sample(options.turns, rng):
        seconds(arch[None])
        alone = seconds(arch[None])
        # The same architecture twice shares everything but the head; with another first layer of
        # unit u, everything before that unit.
        rests = []
        for unit in range(6):
            other = arch.copy()
            if unit < 5:
                column = 9 * unit + 2
                other[column] = (other[column] + 1) % 3
            rests.append(max(0.0, seconds(np.stack([arch, other])) - alone) / alone)
        rests.append(0.0)
        rows.append(-np.diff(rests))
    return np.array([statistics.median(column) for column in np.array(rows).T])


def main() -> None:
    """Print the shares, then the table of errors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", default=str(IMAGES))
    parser.add_argument("--cache", type=Path, default=Path("/tmp/pnag-images"))
    parser.add_argument("--resolution", type=int, default=32)
    parser.add_argument("--calibration", type=int, default=512)
    parser.add_argument("--validation", type=int, default=2000)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rows", type=int, nargs="+", default=[500, 2000])
    options = parser.parse_args()
    torch.set_num_threads(1)
    shares = unit_shares(options)
    shares /= shares.sum()
    print(
        f"share of a subnet's time at {options.resolution}x{options.resolution}, "
        f"{options.precision}: units 1 to 5 "
        f"{', '.join(f'{share:.0%}' for share in shares[:5])}; the rest {shares[5]:.0%}"
    )
    truth = Note10()
    space = truth.space
    test = space.sample(3000, np.random.default_rng(99))
    expected = truth.accuracy(test)
    for rows in options.rows:
        print(f"in the time of {rows} architectures that share nothing:")
        for units in (1, 2, 3, 4):
            for shared in GROUPS if units == 1 else GROUPS[1:]:
                before = shares[:units].sum()
                n = round(rows / (1 - before + before / shared))
                errors, taus = [], []
                for seed in range(options.seeds):
                    rng = np.random.default_rng(seed)
                    tokens = sample_shared(space, n, rng, shared=shared, units=units)
                    targets = truth.accuracy(tokens) + NOISE * rng.standard_normal(n)
                    found = fit_gaussian_process(space, tokens, targets).predict(test)
                    errors.append(np.abs(found - expected).mean())
                    taus.append(kendalltau(found, expected)[0])
                spread = np.std(errors, ddof=1) / np.sqrt(options.seeds)
                print(
                    f"  units {units if shared > 1 else 0}, groups of {shared:2d}: n {n:5d}, MAE "
                    f"{100 * np.mean(errors):.4f} +- {100 * spread:.4f} %, Kendall tau "
                    f"{np.mean(taus):.4f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
