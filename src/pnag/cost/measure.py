"""The stage that times a device: every block, then whole networks to calibrate and to check."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pnag.cost.latency_table import LatencyTable
from pnag.cost.onnx_cpu import OnnxCpu
from pnag.cost.timing import Call, measure_interleaved
from pnag.errors import PnagError
from pnag.networks import build
from pnag.networks.blocks import block_ids, block_specs, covering_architectures
from pnag.space import Architecture, SearchSpace

# Of middling size, so that its time tells the speed that both small and large networks feel.
REFERENCE = Architecture((3,) * 5, (5, 5, 5, 0) * 5, (4, 4, 4, 0) * 5)
GROUP = 14  # networks in memory at once; the file is saved after each group

Progress = Callable[[str, int, int], None]
"""Told what is being done, how many turns are done and how many there will be."""


def measure_device(
    runtime: OnnxCpu,
    space: SearchSpace,
    path: Path,
    *,
    width_mult: float = 1.0,
    resolution: int = 224,
    rounds: int = 12,
    calibration: int = 48,
    check: int = 50,
    seed: int = 0,
    progress: Progress = lambda what, done, total: None,
) -> LatencyTable:
    """Measure what `path` does not hold yet, saving after every group of networks.

    Args:
        path: the table's file; a table of the same identity is completed, any other refused.
        rounds: turns of every block and network; the median over them counts.
        calibration: how many whole networks to fit to, half of them uniformly sampled, half spread
            from the smallest to the largest.
        check: how many other, uniformly sampled ones to check the fit on.

    Raises:
        PnagError: if `path` holds a table of another device, runtime, thread count or size.
    """
    identity: dict[str, Any] = {
        **runtime.identity(),
        "resolution": resolution,
        "width_mult": width_mult,
        "rounds": rounds,
        "calibration": calibration,
        "check": check,
        "seed": seed,
    }
    table = LatencyTable.load(path) if path.exists() else LatencyTable(identity)
    if table.identity != identity:
        differing = [k for k in identity if table.identity.get(k) != identity[k]]
        raise PnagError(
            f"{path} was measured with another "
            + ", ".join(f"{k} ({table.identity.get(k)}, not {identity[k]})" for k in differing)
            + "; delete it or choose another file"
        )
    parts = _networks(space, calibration, check, seed)
    missing = {
        name: [text for text in texts if text not in getattr(table, name)]
        for name, texts in parts.items()
    }
    specs = block_specs(width_mult, resolution)
    missing_blocks = any(spec.key not in table.blocks for spec in specs)
    if not missing_blocks and not any(missing.values()):
        return table

    torch.manual_seed(seed)  # fresh weights; their values do not change a time
    shape = (1, 3, resolution, resolution)
    reference = runtime.load(build(REFERENCE, width_mult), shape)
    total = rounds * (missing_blocks * len(specs) + sum(map(len, missing.values())))
    done = 0

    def time_group(calls: dict[str, Call], what: str) -> dict[str, list[float]]:
        nonlocal done

        def advance(turns: int) -> None:
            nonlocal done
            done += turns
            progress(what, done, total)

        progress(what, done, total)
        samples, drift = measure_interleaved(
            calls, reference, rounds=rounds, seed=seed, advance=advance
        )
        table.drift = table.drift.merged(drift)
        return samples

    if missing_blocks:
        progress("loading blocks", done, total)
        table.blocks = time_group(load_blocks(runtime, space, width_mult, resolution), "blocks")
        table.save(path)
    for name, texts in missing.items():
        for group in _chunks(texts, GROUP):
            progress(f"loading {name} networks", done, total)
            calls = {text: runtime.load(build(text, width_mult), shape) for text in group}
            getattr(table, name).update(time_group(calls, f"{name} networks"))
            table.save(path)
    return table


def _networks(space: SearchSpace, calibration: int, check: int, seed: int) -> dict[str, list[str]]:
    """Text forms of distinct architectures, which depend on the arguments only."""
    rng = np.random.default_rng(seed)
    stretched = space.text(space.sample_stretched(calibration // 2, rng))
    uniform = space.text(space.sample_unique(calibration + check, rng))
    texts = list(dict.fromkeys(stretched + uniform))[: calibration + check]
    return {"calibration": texts[:calibration], "check": texts[calibration:]}


def load_blocks(
    runtime: OnnxCpu, space: SearchSpace, width_mult: float, resolution: int
) -> dict[str, Call]:
    """A call for each of the 90 blocks, cut out of nine networks that contain them all."""
    specs = block_specs(width_mult, resolution)
    architectures = covering_architectures()
    ids = block_ids(space.encode(architectures)).reshape(len(architectures), 5, 4)
    calls: dict[str, Call] = {}
    for arch, unit_ids in zip(architectures, ids, strict=True):
        network = build(arch, width_mult).eval()
        for unit in range(5):
            for layer in range(arch.depths[unit]):
                spec = specs[unit_ids[unit, layer]]
                stage = network.blocks[1 + unit]
                assert isinstance(stage, torch.nn.Sequential)
                calls[spec.key] = runtime.load(
                    stage[layer], (1, spec.in_channels, spec.input_size, spec.input_size)
                )
    return calls


def _chunks(items: Sequence[str], size: int) -> list[Sequence[str]]:
    return [items[i : i + size] for i in range(0, len(items), size)]
