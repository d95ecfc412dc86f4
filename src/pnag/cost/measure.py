"""The stage that times a device: every block, then whole networks to calibrate and to check."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pnag.cost.latency_table import LatencyTable, differences
from pnag.cost.runtimes import Runtime, clock_mhz
from pnag.cost.timing import Open, measure_interleaved
from pnag.errors import PnagError
from pnag.families import build
from pnag.families.blocks import block_ids, block_specs, covering_architectures
from pnag.files import check_writable, exists
from pnag.space import Architecture, SearchSpace

# Of middling size, so that its time tells the speed that both small and large networks feel.
REFERENCE = Architecture((3,) * 5, (5, 5, 5, 0) * 5, (4, 4, 4, 0) * 5)
# Networks in memory at once (50 MB each); the file is saved after each group. Few large groups,
# because between groups only the reference tells how they compare.
GROUP = 50

Progress = Callable[[str, int, int], None]
"""Told what is being done, how many turns are done and how many there will be."""


def measure_device(
    runtime: Runtime,
    space: SearchSpace,
    path: Path,
    *,
    width_mult: float = 1.0,
    resolution: int = 224,
    num_classes: int = 1000,
    rounds: int = 24,
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
        check: how many others, drawn in the same way, to check the fit on.

    Raises:
        PnagError: if `path` holds a table of another device, runtime, thread count or size, or
            cannot be written.
    """
    identity: dict[str, Any] = {
        **runtime.identity(),
        "resolution": resolution,
        "width_mult": width_mult,
        "num_classes": num_classes,
        "rounds": rounds,
        "calibration": calibration,
        "check": check,
        "seed": seed,
    }
    table = LatencyTable.load(path) if exists(path) else LatencyTable(identity)
    if table.identity != identity:
        raise PnagError(
            f"{path} was measured with another {differences(table.identity, identity)}; choose "
            "another file"
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

    check_writable(path)  # the first save comes after all blocks
    started = time.monotonic()
    torch.manual_seed(seed)  # fresh weights; their values do not change a time
    shape = (runtime.batch, 3, resolution, resolution)
    reference = runtime.prepare(build(REFERENCE, width_mult, num_classes), shape)
    total = rounds * (missing_blocks * len(specs) + sum(map(len, missing.values())))
    done = 0

    def time_group(parts: dict[str, Open], what: str) -> dict[str, list[float]]:
        clocks: list[float] = []

        def advance(turns: int) -> None:
            nonlocal done
            done += turns
            clock = clock_mhz(runtime)  # just after a turn: an idle device clocks down
            if clock:
                clocks.append(clock)
            progress(what, done, total)

        progress(what, done, total)
        samples, drift = measure_interleaved(
            parts, reference, rounds=rounds, seed=seed, advance=advance
        )
        drift.clocks = [min(clocks), max(clocks)] if clocks else []
        table.drift = table.drift.merged(drift)
        return samples

    def save() -> None:
        nonlocal started
        now = time.monotonic()
        table.seconds += now - started
        started = now
        table.save(path)

    if missing_blocks:
        progress("preparing blocks", done, total)
        table.blocks = time_group(prepare_blocks(runtime, space, width_mult, resolution), "blocks")
        save()
    for name, texts in missing.items():
        for group in _chunks(texts, GROUP):
            progress(f"preparing {name} networks", done, total)
            group_networks = {
                text: runtime.prepare(build(text, width_mult, num_classes), shape) for text in group
            }
            getattr(table, name).update(time_group(group_networks, f"{name} networks"))
            save()
    return table


def _networks(space: SearchSpace, calibration: int, check: int, seed: int) -> dict[str, list[str]]:
    """Text forms of distinct architectures, which depend on the arguments only."""
    rng = np.random.default_rng(seed)
    # Twice as many as needed: towards the ends of the range the same ones are drawn again.
    spread = space.sample_stretched(2 * (calibration + check), rng)
    stretched = list(dict.fromkeys(space.text(rng.permutation(spread))))
    uniform = [t for t in space.text(space.sample_unique(2 * (calibration + check), rng))
               if t not in stretched]  # fmt: skip
    first = calibration // 2, calibration - calibration // 2
    second = check // 2, check - check // 2
    return {
        "calibration": stretched[: first[0]] + uniform[: first[1]],
        "check": stretched[first[0] :][: second[0]] + uniform[first[1] :][: second[1]],
    }


def prepare_blocks(
    runtime: Runtime, space: SearchSpace, width_mult: float, resolution: int
) -> dict[str, Open]:
    """Each of the 90 blocks, cut out of nine networks that contain them all."""
    specs = block_specs(width_mult, resolution)
    architectures = covering_architectures()
    ids = block_ids(space.encode(architectures)).reshape(len(architectures), 5, 4)
    blocks: dict[str, Open] = {}
    for arch, unit_ids in zip(architectures, ids, strict=True):
        network = build(arch, width_mult).eval()
        for unit in range(5):
            for layer in range(arch.depths[unit]):
                spec = specs[unit_ids[unit, layer]]
                stage = network.blocks[1 + unit]
                assert isinstance(stage, torch.nn.Sequential)
                blocks[spec.key] = runtime.prepare(
                    stage[layer],
                    (runtime.batch, spec.in_channels, spec.input_size, spec.input_size),
                )
    return blocks


def _chunks(items: Sequence[str], size: int) -> list[Sequence[str]]:
    return [items[i : i + size] for i in range(0, len(items), size)]
