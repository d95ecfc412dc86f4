"""Seconds per subnet of our evaluation against Once-for-All's published way (`ofa` on PyPI).

Both judge the same architectures of one supernet on the same CIFAR-10 images, with batch norms
measured on the same calibration images, and take turns in one process:

- ofa: set_active_subnet, get_active_subnet, set_running_statistics, then a pass in eval mode.
- ours: `SubnetEvaluator.correct` of one architecture (nothing shared), and of a group drawn by
  `sample_shared`, per architecture.

python benchmarks/collect.py [--resolution 32 --validation 2000 --turns 9]
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from supernet_step import INSTALL, choose, ofa_supernet
from torch import Tensor, nn

import pnag
from pnag.images.batches import eval_batches
from pnag.images.images import load_images
from pnag.judging.subnets import Settings, SubnetEvaluator
from pnag.space import sample_shared

IMAGES = Path(__file__).parents[2] / "shared" / "data" / "cifar10"
Batches = list[tuple[Tensor, Tensor]]


def their_correct(
    supernet: nn.Module, arch: pnag.Architecture, calibration: Batches, validation: Batches
) -> int:
    """Images that `ofa`'s subnet classifies correctly, as its `eval_ofa_net.py` does it."""
    from ofa.imagenet_classification.elastic_nn.utils import set_running_statistics

    choose(supernet, arch)
    subnet = supernet.get_active_subnet(preserve_weight=True)
    set_running_statistics(subnet, calibration)
    subnet.eval()
    with torch.no_grad():
        return sum(int((subnet(x).argmax(1) == y).sum()) for x, y in validation)


def main() -> None:
    """Print medians and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", default=str(IMAGES))
    parser.add_argument("--cache", type=Path, default=Path("/tmp/pnag-images"))
    parser.add_argument("--width-mult", type=float, default=1.0)
    parser.add_argument("--resolution", type=int, default=32)
    parser.add_argument("--calibration", type=int, default=256)
    parser.add_argument("--validation", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=100, help="of ofa; 100 is its default")
    parser.add_argument("--channels-last", action="store_true", help="ofa's network and batches")
    parser.add_argument("--group", type=int, default=8, help="architectures that share units")
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    data = load_images(options.images, resolution=options.resolution, cache=options.cache)
    theirs = ofa_supernet(options.width_mult, len(data.classes))
    if theirs is None:
        return
    try:
        import ofa.imagenet_classification.elastic_nn.utils  # noqa: F401
    except ImportError as error:
        print(INSTALL.format(error))
        return
    ours = pnag.Supernet(options.width_mult, len(data.classes))
    ours.load_state_dict(theirs.state_dict())
    form = torch.channels_last if options.channels_last else torch.contiguous_format
    theirs.to(memory_format=form)
    calibration, validation = (
        [
            (x.contiguous(memory_format=form), y)
            for x, y in eval_batches(data, part, options.batch, limit=limit)
        ]
        for part, limit in (("train", options.calibration), ("validation", options.validation))
    )
    space = pnag.SearchSpace()
    evaluators = {
        precision: SubnetEvaluator(
            ours, data, Settings(options.calibration, options.validation, precision)
        )
        for precision in ("float32", "bfloat16")
    }

    def mine(precision: str, group: bool) -> Callable[[int], tuple[float, int]]:
        def run(turn: int) -> tuple[float, int]:
            tokens = groups[turn] if group else groups[turn][:1]
            started = time.perf_counter()
            counts = evaluators[precision].correct(tokens)
            return (time.perf_counter() - started) / len(tokens), int(counts[0])

        return run

    def other(turn: int) -> tuple[float, int]:
        arch = space.decode(groups[turn][:1])[0]
        started = time.perf_counter()
        correct = their_correct(theirs, arch, calibration, validation)
        return time.perf_counter() - started, correct

    rng = np.random.default_rng(0)
    groups = [
        sample_shared(space, options.group, rng, shared=options.group)
        for _ in range(options.turns + 1)
    ]
    ways = {"ofa": other}
    for precision in evaluators:
        ways[f"ours, {precision}, alone"] = mine(precision, group=False)
        ways[f"ours, {precision}, in groups of {options.group}"] = mine(precision, group=True)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(options.turns + 1):
        for name in list(ways) if turn % 2 else list(reversed(ways)):
            took, _ = ways[name](turn)
            if turn:  # the first one warms up allocator and oneDNN
                seconds[name].append(took)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(
        f"torch {torch.__version__}, {options.threads} threads of {os.cpu_count()} CPUs, load "
        f"{load}; width {options.width_mult:g}, {options.resolution}x{options.resolution}, "
        f"{options.calibration} calibration and {options.validation} validation images, ofa in "
        f"batches of {options.batch}, {'channels last' if options.channels_last else 'contiguous'}"
    )
    for name, times in seconds.items():
        ratios = sorted(a / b for a, b in zip(seconds["ofa"], times, strict=True))
        quarter = len(ratios) // 4
        print(
            f"  {name:35s} {statistics.median(times):6.3f} s per subnet, ofa / this: median "
            f"{statistics.median(ratios):5.2f}, quartiles {ratios[quarter]:5.2f} to "
            f"{ratios[-1 - quarter]:5.2f} over {len(ratios)} turns"
        )


if __name__ == "__main__":
    main()
