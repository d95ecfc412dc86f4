"""Tables with tables in their cells, as the authors of PNAG publish theirs.

`architectures.json` of their repository is a list of `{"arch": "d:k:e", "w1.0": {"top1_acc": ...,
"mobile_latency": ..., "cpu_latency": ..., "gpu_latency": ...}, "w1.2": {...}}`. Its columns get the
names `w1.0.top1_acc` and so on. Latencies are seconds there, and milliseconds everywhere here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from numbers import Real
from pathlib import Path
from typing import Any

import pandas as pd

from pnag.table_files import TableFile

SECONDS = ("mobile_latency", "cpu_latency", "gpu_latency")


def in_milliseconds(column: str) -> bool:
    """Whether a column, by its name, is of latencies that were seconds in a nested file."""
    outer, dot, name = column.rpartition(".")
    return bool(outer and dot) and name in SECONDS


def flattened(read: TableFile, path: Path) -> TableFile:
    """The table with a column for each number in its columns of mappings.

    A mapping of anything but numbers, such as an architecture of Once-for-All, stays what it is.
    """
    columns: dict[str, Any] = {}
    seconds = []
    for name in read.frame.columns:
        cells = read.frame[name].tolist()
        if not (cells and all(map(_of_numbers, cells))):
            columns[name] = read.frame[name]
            continue
        for inner in dict.fromkeys(key for cell in cells for key in cell):
            values = pd.Series([cell.get(inner) for cell in cells], dtype=float)
            full = f"{name}.{inner}"
            columns[full] = 1000 * values if in_milliseconds(full) else values
            seconds += [full] * in_milliseconds(full)
    notes = [f"{path} has {', '.join(seconds)} in seconds: taken as ms"] if seconds else []
    return replace(read, frame=pd.DataFrame(columns), notes=read.notes + notes)


def _of_numbers(cell: Any) -> bool:
    return isinstance(cell, Mapping) and all(
        value is None or (isinstance(value, Real) and not isinstance(value, bool))
        for value in cell.values()
    )
