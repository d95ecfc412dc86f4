"""The stage that times a device: every block, then whole networks to calibrate and to check."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pnag.cost.latency_table import LatencyTable, differences, in_all, of_each
from pnag.cost.runtimes import Runtime, clock_mhz
from pnag.cost.timing import Open
from pnag.cost.yardsticks import measure_beside_yardsticks, yardsticks
from pnag.errors import PnagError
from pnag.families.base import Family, sized
from pnag.files import check_writable, exists
from pnag.space import AnyArchitecture, SearchSpace

# Networks in memory at once (50 MB each); the file is saved after each group. Few large groups,
# because between groups only the reference and the yardsticks show how they compare.
GROUP = 50

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many turns are done and how many there will be."""


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
        rounds: turns of every block and network; the median over them counts. Half as many where
            architectures choose among resolutions: at several times the blocks and networks the
            model's error is the same (`benchmarks/README.md`).
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
    missing = {}
    for name, texts in _networks(family.space, calibration, check, seed).items():
        timed = getattr(table, name)
        missing[name] = [text for text in texts if text not in timed]
        # An earlier version may have chosen others, of which some are to be unseen now.
        setattr(table, name, {text: timed[text] for text in texts if text in timed})
    blocks = {block.key for block in family.blocks(resolution)}
    if not blocks <= table.blocks.keys() or any(missing.values()):
        check_writable(path)  # the first save comes after all blocks
        _Measuring(runtime, family, path, table, progress).complete(blocks, missing)
    return table


class _Measuring:
    """A latency table that is being filled.

    Args:
        table: its identity says how to measure.
    """

    def __init__(
        self, runtime: Runtime, family: Family, path: Path, table: LatencyTable, progress: Progress
    ) -> None:
        self.runtime, self.family, self.path, self.table = runtime, family, path, table
        self.progress = progress
        self.saved = time.monotonic()
        self.rounds = of_each(int(table.identity["rounds"]), family.space)
        self.seed = int(table.identity["seed"])
        self.done = self.total = 0

    def complete(self, blocks: set[str], missing: dict[str, list[str]]) -> None:
        """Measure all blocks if one is missing, and the missing networks of each part."""
        torch.manual_seed(self.seed)  # fresh weights; their values do not change a time
        # Of middling size: its time shows the speed that both small and large networks feel.
        self.reference = self.prepared(self.family.middling)
        texts_beside = list(self.table.yardsticks) or yardsticks(self.family)
        self.beside = {text: self.prepared(text) for text in texts_beside}
        lacking = blocks if not blocks <= self.table.blocks.keys() else set()
        groups = bool(lacking) + sum(-(-len(texts) // GROUP) for texts in missing.values())
        parts = len(lacking) + sum(map(len, missing.values())) + groups * len(self.beside)
        self.total = self.rounds * parts
        if lacking:
            self.progress("preparing blocks", self.done, self.total)
            resolution = self.table.identity["resolution"]
            prepared = prepare_blocks(self.runtime, self.family, resolution)
            self.table.blocks = self.times(prepared, "blocks")
            self.save()
        for name, texts in missing.items():
            for start in range(0, len(texts), GROUP):
                self.progress(f"preparing {name} networks", self.done, self.total)
                prepared = {text: self.prepared(text) for text in texts[start : start + GROUP]}
                getattr(self.table, name).update(self.times(prepared, f"{name} networks"))
                self.save()

    def prepared(self, arch: AnyArchitecture) -> Open:
        """A whole network with fresh weights."""
        identity = self.table.identity
        return prepare_network(
            self.runtime, self.family, arch, identity["resolution"], identity["num_classes"]
        )

    def times(self, parts: dict[str, Open], what: str) -> dict[str, list[float]]:
        """Milliseconds of every turn, by name."""
        clocks: list[float] = []

        def advance(turns: int) -> None:
            self.done += turns
            clock = clock_mhz(self.runtime)  # just after a turn: an idle device clocks down
            if clock:
                clocks.append(clock)
            self.progress(what, self.done, self.total)

        self.progress(what, self.done, self.total)
        samples, now, drift = measure_beside_yardsticks(
            parts, self.reference, self.beside, self.table.yardsticks,
            rounds=self.rounds, seed=self.seed, advance=advance,
        )  # fmt: skip
        self.table.yardsticks = self.table.yardsticks or now
        drift.clocks = [min(clocks), max(clocks)] if clocks else []
        self.table.drift = self.table.drift.merged(drift)
        return samples

    def save(self) -> None:
        """Write the table with the seconds that it took until now."""
        now = time.monotonic()
        self.table.seconds += now - self.saved
        self.saved = now
        self.table.save(self.path)


def _networks(space: SearchSpace, calibration: int, check: int, seed: int) -> dict[str, list[str]]:
    """Text forms of distinct architectures, which depend on the arguments only."""
    rng = np.random.default_rng(seed)
    calibration = in_all(calibration, space)
    stretched, uniform = stretched_and_uniform(space, calibration + check, rng)
    first = calibration // 2, calibration - calibration // 2
    second = check // 2, check - check // 2
    return {
        "calibration": stretched[: first[0]] + uniform[: first[1]],
        "check": stretched[first[0] :][: second[0]] + uniform[first[1] :][: second[1]],
    }


def stretched_and_uniform(
    space: SearchSpace, number: int, rng: np.random.Generator
) -> tuple[list[str], list[str]]:
    """Distinct architectures from the smallest to the largest, shuffled, and uniformly sampled.

    Args:
        number: how many are wanted of both together.

    Raises:
        PnagError: if the space has fewer than twice as many.
    """
    if 2 * number > space.size:
        raise PnagError(
            f"{number} networks are to be timed, which are drawn from {2 * number} different ones, "
            f"and there are only {space.size} architectures; time fewer with --calibration and "
            "--check, or latency.calibration and latency.check in a --recipe"
        )
    # Twice as many as needed: towards the ends of the range the same ones are drawn again.
    spread = space.sample_stretched(2 * number, rng)
    stretched = list(dict.fromkeys(space.text(rng.permutation(spread))))
    uniform = space.text(space.sample_unique(2 * number, rng))
    return stretched, [text for text in uniform if text not in stretched]


def prepare_network(
    runtime: Runtime, family: Family, arch: AnyArchitecture, resolution: int, num_classes: int
) -> Open:
    """A whole network with fresh weights.

    Args:
        resolution: where the family's architectures do not choose theirs.
    """
    pixels = family.parse(arch).resolution or resolution
    return runtime.prepare(family.build(arch, num_classes), (runtime.batch, 3, pixels, pixels))


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
