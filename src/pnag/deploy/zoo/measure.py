"""Time networks of the zoo on a runtime, all in one interleaved run."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import torch

from pnag.cost.proof import Timed, prepare, reason, timed, try_to_prepare
from pnag.cost.runtimes import Runtime
from pnag.cost.timing import Drift, Open, measure_interleaved
from pnag.deploy.zoo.network import Network
from pnag.errors import PnagError
from pnag.families import family

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many of it are done and how many there will be."""


@dataclass(frozen=True)
class ZooTimes:
    """Latencies by key, at the machine's usual speed during the run, and how steady that was.

    Attributes:
        left_out: why networks that could be left out do not run on the runtime, by key.
    """

    networks: dict[str, Timed]
    drift: Drift
    left_out: dict[str, str] = field(default_factory=dict)


def measure_zoo(
    runtime: Runtime,
    networks: Sequence[Network],
    *,
    may_leave_out: Collection[str] = (),
    rounds: int = 24,
    seed: int = 0,
    progress: Progress = lambda what, done, total: None,
) -> ZooTimes:
    """Time networks, each on images of its own size, `rounds` turns each.

    All stay open at once, because only turns of all in random order give comparable times: the
    whole zoo takes 5 GB in ONNX Runtime.

    Args:
        may_leave_out: keys of networks that are skipped if the runtime cannot run them.

    Raises:
        PnagError: if a library that builds one of them is not installed, if the runtime cannot run
            one that is not to be left out, or none at all.
    """
    torch.manual_seed(seed)  # fresh weights; their values do not change a time
    ready, left_out = _prepare_all(runtime, networks, may_leave_out, progress)
    usual = family()
    reference = prepare(runtime, usual.build(usual.middling), 224)
    turns = 0

    def advance(taken: int) -> None:
        nonlocal turns
        turns += taken
        progress("turns", turns, rounds * len(ready))

    samples, drift = measure_interleaved(
        ready, reference, rounds=rounds, seed=seed, advance=advance
    )
    reference_ms = statistics.median(drift.levels)
    found = {key: timed(times, reference_ms) for key, times in samples.items()}
    return ZooTimes(found, drift, left_out)


def _prepare_all(
    runtime: Runtime,
    networks: Sequence[Network],
    may_leave_out: Collection[str],
    progress: Progress,
) -> tuple[dict[str, Open], dict[str, str]]:
    """What opens each network, by key, and why others do not run; errors as of `measure_zoo`."""
    ready: dict[str, Open] = {}
    left_out: dict[str, str] = {}
    for done, network in enumerate(networks):
        key = network.key
        progress(f"preparing {key}", done, len(networks))
        tried = try_to_prepare(runtime, network.build(), network.resolution)
        if not isinstance(tried, Exception):
            ready[key] = tried
        elif key in may_leave_out:
            left_out[key] = reason(tried)
        else:
            raise PnagError(
                f"{key} does not run on this runtime ({reason(tried)}); leave it out, or take "
                "another with --runtime"
            ) from tried
    if left_out and not ready:
        key, why = next(iter(left_out.items()))
        raise PnagError(
            f"none of {len(left_out)} networks runs on this runtime, {key} for this reason: {why}; "
            "take another with --runtime"
        )
    return ready, left_out
