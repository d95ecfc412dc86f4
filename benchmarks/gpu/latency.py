"""The latency model of the CUDA runtime: its error on networks that it was not fitted to."""

from __future__ import annotations

import tempfile
from pathlib import Path

from common import Options, Rows

import pnag
from pnag.cost.latency_model import check_latency_model, fit_latency_model
from pnag.cost.measure import measure_device
from pnag.cost.runtimes import make_runtime


def measure(options: Options) -> Rows:
    """At one image a call and at 64."""
    space = pnag.SearchSpace()
    sizes = (
        {"rounds": 3, "calibration": 4, "check": 3, "width_mult": 0.25, "resolution": 32}
        if options.tiny
        else {"rounds": 9, "calibration": 48, "check": 50}
    )
    rows: Rows = {}
    for name in ("cuda-batch1", "cuda") if options.device.type == "cuda" else ("torch",):
        runtime = make_runtime(name)
        with tempfile.TemporaryDirectory() as folder:
            table = measure_device(runtime, space, Path(folder) / "table.json", **sizes)
        error = check_latency_model(space, fit_latency_model(space, table), table)
        rows |= {
            f"{name}: mean error": error.mape,
            f"{name}: within 5 %": error.within_5,
            f"{name}: Kendall's tau": error.tau,
            f"{name}: fastest and slowest, ms": [min(error.measured_ms), max(error.measured_ms)],
            f"{name}: sum of blocks over network": blocks_over_network(space, table),
            f"{name}: machine's spread": table.drift.spread,
            f"{name}: seconds": table.seconds,
        }
    return rows


def blocks_over_network(space, table) -> float:  # type: ignore[no-untyped-def]
    """What the blocks of the first network take alone, as a share of the network: about 0.9.

    Above 1, a lone block takes longer than within a network: its launches are timed, not the work.
    """
    from pnag.families.blocks import block_ids, block_specs

    specs = block_specs(table.identity["width_mult"], table.identity["resolution"])
    text, samples = next(iter(table.calibration.items()))
    ids = [index for index in block_ids(space.encode([text]))[0] if index >= 0]
    alone = sum(table.milliseconds(table.blocks[specs[index].key]) for index in ids)
    return float(alone / table.milliseconds(samples))
