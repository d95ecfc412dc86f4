"""Subnets judged a second at 224 pixels, against Once-for-All's way (`ofa` on PyPI, if there).

Both measure batch norms on the same 512 images and judge on the same 5,000. `ofa` is run as
published (float32, contiguous) and at its best (autocast, channels last), with its batches on the
device already.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from common import Options, Rows, noise, seconds, wait

import pnag
from pnag.families import family
from pnag.images.batches import eval_batches
from pnag.judging.subnets import Settings, SubnetEvaluator
from pnag.space import Tokens, sample_shared
from pnag.supernet.loop import to_device
from pnag.supernet.precision import judging_precision


def measure(options: Options) -> Rows:
    """Rates of both, alone and in groups of 8 that share their first units."""
    device = options.device
    resolution, width, classes = (32, 0.25, 10) if options.tiny else (224, 1.0, 1000)
    calibration, validation = (32, 64) if options.tiny else (512, 5000)
    data = noise(2 * calibration, validation, resolution, classes)
    torch.manual_seed(0)
    supernet = pnag.Supernet(width, classes)
    to_device(supernet, device)
    space, rng = pnag.SearchSpace(), np.random.default_rng(0)
    turns = 2 if options.tiny else 3
    groups = [sample_shared(space, 8, rng, shared=8) for _ in range(turns + 1)]
    rows: Rows = {}
    precision = judging_precision(device)
    evaluator: SubnetEvaluator | None = SubnetEvaluator(
        supernet.eval(), data, Settings(calibration, None, precision)
    )
    rows["chunks of images"] = len(evaluator.chunks)
    # cuDNN compiles kernels when it first sees a shape: not of a rate over thousands of subnets.
    met = space.encode(family().covering())
    rows["pnag: seconds for the first nine"] = _seconds_once(lambda: evaluator.correct(met), device)
    for name, count in (("alone", 1), ("in groups of 8", 8)):
        order = (group[:count] for group in groups)
        took = seconds(partial(_judge_next, evaluator, order), device, turns)
        rows[f"pnag {precision}, {name}: subnets/s"] = count / took
    evaluator = None  # its maps would leave the other side less memory
    if device.type == "cuda":
        torch.cuda.empty_cache()
    theirs = ofa_rates(options, data, supernet, groups, calibration)
    best = max((rate for rate in theirs.values() if isinstance(rate, float)), default=0.0)
    if best:
        rows["pnag in groups / the faster ofa"] = (
            rows[f"pnag {precision}, in groups of 8: subnets/s"] / best
        )
    return rows | theirs


def _judge_next(evaluator: SubnetEvaluator, order: Iterator[Tokens]) -> None:
    evaluator.correct(next(order))


def _seconds_once(work: Callable[[], object], device: torch.device) -> float:
    started = time.perf_counter()
    work()
    wait(device)
    return time.perf_counter() - started


def ofa_rates(options: Options, data, supernet, groups, calibration: int) -> Rows:  # type: ignore[no-untyped-def]
    """Subnets a second of `ofa`, or a word on why there is none."""
    from collect import their_correct
    from supernet_step import ofa_supernet

    device = options.device
    net = ofa_supernet(supernet.width_mult, supernet.num_classes)
    if net is None:
        return {"ofa": "not installed"}
    net.load_state_dict(supernet.state_dict())
    net.to(device)
    space = pnag.SearchSpace()
    rows: Rows = {}
    for name, form, dtype in (
        ("float32, contiguous", torch.contiguous_format, None),
        ("autocast, channels last", torch.channels_last, torch.bfloat16),
    ):
        net.to(memory_format=form)
        batches = [
            [
                (x.contiguous(memory_format=form), y)
                for x, y in eval_batches(data, part, 250, limit=limit, device=device)
            ]
            for part, limit in (("train", calibration), ("validation", None))
        ]
        archs = [*family().covering(), *(space.decode(g[:1])[0] for g in groups)]
        order = iter(archs)

        def judge() -> int:
            arch = next(order)  # noqa: B023
            with torch.autocast(device.type, dtype or torch.bfloat16, enabled=dtype is not None):  # noqa: B023
                return their_correct(net, arch, *batches)  # noqa: B023

        for _ in family().covering():
            judge()
        rows[f"ofa {name}: subnets/s"] = 1 / seconds(judge, device, len(groups) - 1)
    return rows
