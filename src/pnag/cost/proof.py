"""Time networks against each other in one interleaved run."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn

from pnag.cost.latency_table import LatencyTable
from pnag.cost.measure import REFERENCE
from pnag.cost.onnx_cpu import OnnxCpu
from pnag.cost.timing import measure_interleaved
from pnag.networks import build


@dataclass(frozen=True)
class Timed:
    """One network's latency.

    Attributes:
        milliseconds: median, at the speed that the machine had when the table was measured.
        spread: half the middle 50 % of the rounds, as a fraction of the median.
    """

    milliseconds: float
    spread: float


@dataclass(frozen=True)
class Proof:
    """Networks timed together.

    Attributes:
        speed: reference time now over reference time in the table; 1.05 means that the machine
            was 5 % slower during the proof, which is taken out of `Timed.milliseconds`.
        drift: spread of the reference during the proof.
        remeasured, unsteady: disturbed turns, taken again or kept (`timing.Drift`).
    """

    networks: dict[str, Timed]
    speed: float
    drift: float
    remeasured: int
    unsteady: int


def time_together(
    runtime: OnnxCpu,
    networks: Mapping[str, nn.Module],
    table: LatencyTable,
    *,
    rounds: int = 24,
    advance: Callable[[int], None] = lambda turns: None,
) -> Proof:
    """Time networks interleaved, `rounds` turns each, at the table's resolution."""
    resolution = table.identity["resolution"]
    shape = (1, 3, resolution, resolution)
    ready = {name: runtime.prepare(network, shape) for name, network in networks.items()}
    identity = table.identity
    network = build(REFERENCE, identity["width_mult"], identity["num_classes"])
    reference = runtime.prepare(network, shape)
    samples, drift = measure_interleaved(ready, reference, rounds=rounds, advance=advance)
    timed = {}
    for name, times in samples.items():
        quarter, middle, three_quarters = statistics.quantiles(times, n=4)
        timed[name] = Timed(middle * table.reference_ms, (three_quarters - quarter) / 2 / middle)
    return Proof(
        timed,
        statistics.median(drift.levels) / table.reference_ms,
        drift.spread,
        drift.remeasured,
        drift.unsteady,
    )
