"""The stage that times a device: every block, then whole networks to calibrate and to check."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pnag.cost.latency_table import LatencyTable, differences, in_all
from pnag.cost.runtimes import Runtime, clock_mhz
from pnag.cost.timing import Open, measure_interleaved
from pnag.errors import PnagError
from pnag.families.base import Family, sized
from pnag.files import check_writable, exists
from pnag.space import AnyArchitecture, SearchSpace

# Networks in memory at once (50 MB each); the file is saved after each group. Few large groups,
# because between groups only the reference tells how they compare.
GROUP = 50

Progress = Callable[[str, int, int], None]
"""Told what is being done, how many turns are done and how many there will be."""


def measure_device(
    runtime: Runtime,
    family: Family,
    path: Path,
    *,
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
        resolution: in pixels, where the family's architectures do not choose theirs.
        calibration: how many whole networks to fit to, half of them uniformly sampled, half spread
            from the smallest to the largest. Half as many of each resolution where architectures
            choose theirs: what is so at one is nearly so at the next.
        check: how many others, drawn in the same way, to check the fit on.

    Raises:
        PnagError: if `path` holds a table of another device, runtime, thread count or size, or
            cannot be written.
    """
    identity: dict[str, Any] = {
        **runtime.identity(),
        "resolution": resolution,
        **family.identity(),
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
    parts = _networks(family.space, calibration, check, seed)
    missing = {
        name: [text for text in texts if text not in getattr(table, name)]
        for name, texts in parts.items()
    }
    blocks = family.blocks(resolution)
    missing_blocks = any(block.key not in table.blocks for block in blocks)
    if not missing_blocks and not any(missing.values()):
        return table

    check_writable(path)  # the first save comes after all blocks
    started = time.monotonic()
    torch.manual_seed(seed)  # fresh weights; their values do not change a time

    def shape_of(arch: AnyArchitecture) -> tuple[int, ...]:
        pixels = family.parse(arch).resolution or resolution
        return runtime.batch, 3, pixels, pixels

    # Of middling size, so that its time tells the speed that both small and large networks feel.
    middling = family.middling
    reference = runtime.prepare(family.build(middling, num_classes), shape_of(middling))
    total = rounds * (missing_blocks * len(blocks) + sum(map(len, missing.values())))
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
        table.blocks = time_group(prepare_blocks(runtime, family, resolution), "blocks")
        save()
    for name, texts in missing.items():
        for group in _chunks(texts, GROUP):
            progress(f"preparing {name} networks", done, total)
            group_networks = {
                text: runtime.prepare(family.build(text, num_classes), shape_of(text))
                for text in group
            }
            getattr(table, name).update(time_group(group_networks, f"{name} networks"))
            save()
    return table


def _networks(space: SearchSpace, calibration: int, check: int, seed: int) -> dict[str, list[str]]:
    """Text forms of distinct architectures, which depend on the arguments only."""
    rng = np.random.default_rng(seed)
    calibration, check = (in_all(each, space) for each in (calibration, check))
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


def prepare_blocks(runtime: Runtime, family: Family, resolution: int) -> dict[str, Open]:
    """Each block that an architecture can hold, cut out of a few networks that have them all."""
    blocks: dict[str, Open] = {}
    for arch in family.covering():
        network = family.build(arch).eval()
        for pixels in family.space.resolutions or (resolution,):
            for layer in sized(family.active(arch), pixels, 1):
                if layer.unit >= 0 and layer.key not in blocks:
                    shape = (runtime.batch, layer.in_channels, layer.input_size, layer.input_size)
                    blocks[layer.key] = runtime.prepare(network.get_submodule(layer.name), shape)
    return blocks


def _chunks(items: Sequence[str], size: int) -> list[Sequence[str]]:
    return [items[i : i + size] for i in range(0, len(items), size)]
