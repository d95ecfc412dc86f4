"""The latency model of the CUDA runtime: its error on networks that it was not fitted to."""

from __future__ import annotations

import tempfile
from pathlib import Path

from common import Options, Rows

from pnag.cost.latency_model import check_latency_model, fit_latency_model
from pnag.cost.latency_table import LatencyTable
from pnag.cost.measure import measure_device
from pnag.cost.runtimes import make_runtime
from pnag.families import Family
from pnag.families.ofa_mobilenetv3 import ofa


def measure(options: Options) -> Rows:
    """At one image a call and at 64."""
    of = ofa(0.25 if options.tiny else 1.0)
    sizes = (
        {"rounds": 3, "calibration": 4, "check": 3, "resolution": 32}
        if options.tiny
        else {"rounds": 9, "calibration": 48, "check": 50}
    )
    rows: Rows = {}
    for name in ("cuda-batch1", "cuda") if options.device.type == "cuda" else ("torch",):
        runtime = make_runtime(name)
        with tempfile.TemporaryDirectory() as folder:
            table = measure_device(runtime, of, Path(folder) / "table.json", **sizes)
        error = check_latency_model(fit_latency_model(table), table)
        rows |= {
            f"{name}: mean error": error.mape,
            f"{name}: within 5 %": error.within_5,
            f"{name}: Kendall's tau": error.tau,
            f"{name}: fastest and slowest, ms": [min(error.measured_ms), max(error.measured_ms)],
            f"{name}: sum of blocks over network": blocks_over_network(of, table),
            f"{name}: machine's spread": table.drift.spread,
            f"{name}: seconds": table.seconds,
        }
    return rows


def blocks_over_network(of: Family, table: LatencyTable) -> float:
    """What the blocks of the first network take alone, as a share of the network: about 0.9.

    Above 1, a lone block takes longer than within a network: its launches are timed, not the work.
    """
    blocks = of.blocks(table.identity["resolution"])
    text, samples = next(iter(table.calibration.items()))
    ids = [index for index in of.block_ids(of.space.encode([text]))[0] if index >= 0]
    alone = sum(table.milliseconds(table.blocks[blocks[index].key]) for index in ids)
    return float(alone / table.milliseconds(samples))
