"""What the page and the figures of a run are made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from pnag.families import Family
from pnag.files import read_json


@dataclass(frozen=True)
class Results:
    """A finished run.

    Attributes:
        path: its directory. metrics: what `metrics.json` holds.
        sampled: columns `arch`, `accuracy` and `cost` of the table.
        front: `arch`, `accuracy`, `cost`, `params` and `macs`, by growing cost: the answer to any
            budget is the last row within it. `from` says where each comes from, if that is known.
            Costs in both are corrected by the timed ladder. `params` and `macs` only of networks.
        vectors: the same columns and `from`, of the best for many vectors of budgets; None in a run
            of one cost. further: (N,) each further cost of theirs, by its name.
        export_options: of `pnag export`, for its networks. family: of its architectures; None where
            they are rows of a table's own choices.
    """

    path: Path
    metrics: dict[str, Any]
    sampled: pd.DataFrame
    front: pd.DataFrame
    export_options: str
    family: Family | None
    vectors: pd.DataFrame | None = None
    further: dict[str, list[float]] = field(default_factory=dict)

    def log(self, name: str) -> dict[str, Any]:
        """What a stage has written of its training into the run's logs."""
        written: dict[str, Any] = read_json(self.path / "logs" / f"{name}.json")
        return written
