"""Time a few whole networks of a family on a new device, and fit what predicts all others."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pnag.cost.latency_model import LatencyModel, block_counts
from pnag.cost.measure import prepare_network, stretched_and_uniform
from pnag.cost.proof import Timed, timed
from pnag.cost.quick import QuickFit, fit_quick
from pnag.cost.runtimes import Runtime
from pnag.cost.timing import Drift, Open, measure_interleaved
from pnag.families.base import Family
from pnag.families.counts import counts_of
from pnag.space import AnyArchitecture, SearchSpace

LEAST = 0.01  # of what is known about a block


@dataclass(frozen=True)
class QuickMeasured:
    """A device, as a few networks show it.

    Attributes:
        model: of all networks. fit: it as a mixture of known devices.
        networks: what was timed, by architecture. drift: of the machine meanwhile.
    """

    model: LatencyModel
    fit: QuickFit
    networks: dict[str, Timed]
    drift: Drift


def measure_quickly(
    runtime: Runtime,
    family: Family,
    known: Sequence[LatencyModel],
    *,
    networks: int,
    resolution: int,
    num_classes: int,
    rounds: int,
    seed: int,
    advance: Callable[[int], None],
) -> QuickMeasured:
    """Time `networks` of a family, in turns, and fit a latency model to them and to known devices.

    Args:
        known: models of other devices, of the same family and size. Multiply-adds and the number
            of layers are taken for two further devices.
        resolution: in pixels, where the family's architectures do not choose theirs.
    """
    texts = spread_networks(family.space, networks, seed)
    torch.manual_seed(seed)  # fresh weights; their values do not change a time

    def prepared(arch: AnyArchitecture) -> Open:
        return prepare_network(runtime, family, arch, resolution, num_classes)

    ready, reference = {text: prepared(text) for text in texts}, prepared(family.middling)
    samples, drift = measure_interleaved(
        ready, reference, rounds=rounds, seed=seed, advance=advance
    )
    usual = statistics.median(drift.levels)
    found = {text: timed(times, usual) for text, times in samples.items()}
    devices = [*known, *counted_devices(family, resolution, num_classes)]
    model, fit = quick_model(family, devices, found)
    return QuickMeasured(model, fit, found, drift)


def spread_networks(space: SearchSpace, count: int, seed: int) -> list[str]:
    """Distinct architectures, half uniformly sampled, half from the smallest to the largest."""
    stretched, uniform = stretched_and_uniform(space, count, np.random.default_rng(seed))
    half = min(count // 2, len(stretched))
    return stretched[:half] + uniform[: count - half]


def quick_model(
    family: Family, devices: Sequence[LatencyModel], measured: dict[str, Timed]
) -> tuple[LatencyModel, QuickFit]:
    """The model of a device of which a few networks are measured, and the fit that it came from."""
    tokens = family.space.encode(list(measured))
    times = np.array([timing.milliseconds for timing in measured.values()])
    known = np.stack([device.predict(tokens) for device in devices], axis=1)
    scale = np.median(times[:, None] / known, axis=0)
    # what a block takes by what is known, each device counting alike
    alone = np.mean([s * np.abs(d.blocks) for s, d in zip(scale, devices, strict=True)], axis=0)
    counts = block_counts(family.block_ids(tokens), len(alone))
    fit = fit_quick(known, counts * alone, times)
    blocks = (
        sum(w * d.blocks for w, d in zip(fit.devices, devices, strict=True)) + fit.parts * alone
    )
    fixed = fit.fixed + sum(
        w * np.atleast_1d(d.fixed) for w, d in zip(fit.devices, devices, strict=True)
    )
    # nothing takes no time, and a file of blocks says so
    blocks = np.maximum(blocks, LEAST * alone)
    whole = np.maximum(np.asarray(fixed), LEAST * times.min())
    return LatencyModel(
        whole if family.elastic else float(whole[0]), np.asarray(blocks), family
    ), fit


def counted_devices(family: Family, resolution: int, num_classes: int) -> list[LatencyModel]:
    """Multiply-adds (in 10^8) and layers, as if a device took a millisecond for each."""
    every = [
        family.fixed(pixels, num_classes) for pixels in family.space.resolutions or (resolution,)
    ]
    blocks = family.blocks(resolution)
    pairs = [
        ([counts_of(layers).macs / 1e8 for layers in every], [b.macs / 1e8 for b in blocks]),
        ([float(len(layers)) for layers in every], [1.0] * len(blocks)),
    ]
    return [
        LatencyModel(np.array(fixed) if family.elastic else fixed[0], np.array(each), family)
        for fixed, each in pairs
    ]
