"""The file of everything that was timed on one device: blocks, fixed parts, whole networks."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pnag.cost.timing import Drift
from pnag.errors import PnagError
from pnag.files import read_json, write_json
from pnag.space import SearchSpace

VERSION = 2  # of how times are taken and which networks are


@dataclass
class LatencyTable:
    """Times relative to the reference network, with what they were measured on.

    Attributes:
        identity: device, runtime, version, threads, resolution, width_mult, num_classes, rounds
            and so on.
        blocks: for each block's key its relative times, one a round.
        calibration, check: the same for whole networks, by architecture text.
        yardsticks: the same for the networks that tie groups to each other. Tables of earlier
            versions have none: their groups are tied by the reference alone.
        drift: the machine's steadiness over all groups so far.
        seconds: that measuring has taken so far, stops left out.
    """

    identity: dict[str, Any]
    blocks: dict[str, list[float]] = field(default_factory=dict)
    calibration: dict[str, list[float]] = field(default_factory=dict)
    check: dict[str, list[float]] = field(default_factory=dict)
    yardsticks: dict[str, list[float]] = field(default_factory=dict)
    drift: Drift = field(default_factory=Drift)
    seconds: float = 0.0

    @property
    def reference_ms(self) -> float:
        """The reference network's median time: all relative times are turned into ms by it."""
        return statistics.median(self.drift.levels)

    def check_runtime(self, identity: Mapping[str, Any]) -> None:
        """Refuse a runtime whose times do not compare with the table's.

        Args:
            identity: of the runtime.

        Raises:
            PnagError: if it differs from what the table was measured on; the message says in what.
        """
        there = {name: self.identity.get(name) for name in identity}
        if there != identity:
            raise PnagError(
                f"the latency table was measured with another {differences(there, identity)}: its "
                "times cannot be compared with those measured now; restore that setting, or "
                "measure again: give the run's `pnag run` command again"
            )

    def milliseconds(self, samples: list[float]) -> float:
        """Median time in ms."""
        return statistics.median(samples) * self.reference_ms

    def save(self, path: Path) -> None:
        """Write the table atomically."""
        write_json(path, {"version": VERSION, **asdict(self)})

    @classmethod
    def load(cls, path: Path) -> LatencyTable:
        """Read a table.

        Raises:
            PnagError: if the file is not a whole, sound latency table.
        """
        raw = read_json(path)
        try:
            if raw["version"] != VERSION:
                raise ValueError(f"version {raw['version']}, this pnag reads {VERSION}")
            table = cls(
                dict(raw["identity"]),
                blocks=_samples(raw["blocks"]),
                calibration=_samples(raw["calibration"]),
                check=_samples(raw["check"]),
                yardsticks=_samples(raw.get("yardsticks", {})),
                drift=Drift(
                    _times(raw["drift"]["levels"]) if raw["drift"]["levels"] else [],
                    int(raw["drift"]["remeasured"]),
                    int(raw["drift"]["unsteady"]),
                    _times(raw["drift"]["clocks"]) if raw["drift"].get("clocks") else [],
                ),
                seconds=float(raw.get("seconds", 0.0)),  # earlier tables did not count them
            )
            if table.blocks and not table.drift.levels:
                raise ValueError("blocks, but no time of the reference network")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise PnagError(
                f"{path} is not a latency table of pnag ({error}); name another file"
            ) from error
        return table


def of_each(number: int, space: SearchSpace) -> int:
    """How many networks, or turns, each resolution gets of the number that is asked for.

    Half as many where architectures choose among resolutions: what is so at one is nearly so at the
    next.
    """
    return -(-number // 2) if space.resolutions else number


def in_all(networks: int, space: SearchSpace) -> int:
    """How many whole networks are timed for calibration, of the number that is asked for."""
    return max(1, len(space.resolutions)) * of_each(networks, space)


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """How two identities differ, as `threads (1, not 2), version (1.20, not 1.21)`."""
    return ", ".join(
        f"{name} ({before.get(name)}, not {value})"
        for name, value in now.items()
        if before.get(name) != value
    )


def _samples(raw: dict[str, Any]) -> dict[str, list[float]]:
    return {str(name): _times(values) for name, values in raw.items()}


def _times(values: Any) -> list[float]:
    times = [float(value) for value in values]
    if not times or not all(math.isfinite(t) and t > 0 for t in times):
        raise ValueError("a time is not a positive number")
    return times
