"""Time networks of the zoo on a runtime, all in one interleaved run."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from pnag.cost.proof import Timed, timed
from pnag.cost.runtimes import Runtime
from pnag.cost.timing import Drift, measure_interleaved
from pnag.deploy.zoo.network import Network
from pnag.families import family

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many of it are done and how many there will be."""


@dataclass(frozen=True)
class ZooTimes:
    """Latencies by key, at the machine's usual speed during the run, and how steady that was."""

    networks: dict[str, Timed]
    drift: Drift


def measure_zoo(
    runtime: Runtime,
    networks: Sequence[Network],
    *,
    rounds: int = 24,
    seed: int = 0,
    progress: Progress = lambda what, done, total: None,
) -> ZooTimes:
    """Time networks, each on images of its own size, `rounds` turns each.

    All stay open at once, for turns of all in random order are what makes their times comparable:
    the whole zoo takes 5 GB in ONNX Runtime.

    Raises:
        PnagError: if a library that builds one of them is not installed.
    """
    torch.manual_seed(seed)  # fresh weights; their values do not change a time
    ready = {}
    for done, network in enumerate(networks):
        progress(f"preparing {network.key}", done, len(networks))
        shape = (runtime.batch, 3, network.resolution, network.resolution)
        ready[network.key] = runtime.prepare(network.build(), shape)
    usual = family()
    reference = runtime.prepare(usual.build(usual.middling), (runtime.batch, 3, 224, 224))
    turns = 0

    def advance(taken: int) -> None:
        nonlocal turns
        turns += taken
        progress("turns", turns, rounds * len(networks))

    samples, drift = measure_interleaved(
        ready, reference, rounds=rounds, seed=seed, advance=advance
    )
    reference_ms = statistics.median(drift.levels)
    return ZooTimes({key: timed(times, reference_ms) for key, times in samples.items()}, drift)
