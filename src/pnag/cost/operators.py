"""Tables of operators' times, as any program writes them: a network's latency is their sum.

Its content says what a file is: a mapping from operators to times, or to mappings with a `mean`
(JSON, YAML), or a table with a column of operators and one of times (CSV and so on). Operators'
names say which program wrote them: `Naming`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from pnag.cost.latency_model import LatencyModel
from pnag.errors import PnagError
from pnag.families.base import Family
from pnag.families.layers import Layer
from pnag.table_files import Texts, decoded, texts_of, unpacked
from pnag.table_numbers import readings, signs_of

COLUMNS = ["operator", "ms"]
OPERATOR_COLUMNS = ("operator", "op", "layer", "block", "key", "name")
TIME_COLUMNS = ("ms", "mean_ms", "latency_ms", "time_ms", "mean", "latency", "time")


@dataclass(frozen=True)
class Naming:
    """Names of a network's operators in the tables of some program.

    Attributes:
        marks: what some of the names begin with, and those of no other naming.
        fixed: the operators that every network has, from the layers that every one has.
        block: the operator that is a block.
    """

    marks: tuple[str, ...]
    fixed: Callable[[Sequence[Layer]], list[str]]
    block: Callable[[Layer], str]


@dataclass(frozen=True)
class Operators:
    """Times by the operators' names, as they stand in a file.

    Attributes:
        times: numbers, texts, or mappings with a `mean`. sign: before the fraction of texts.
        of_column: the name of their column; empty if the file is a mapping.
    """

    times: Mapping[str, Any]
    sign: str = "."
    of_column: str = ""

    def has(self, naming: Naming) -> bool:
        """Whether any operator is called so."""
        return any(name.startswith(naming.marks) for name in self.times)

    def model(
        self, path: Path, naming: Naming, family: Family, resolution: int, num_classes: int
    ) -> LatencyModel:
        """The latency of every architecture of a family at a size.

        Raises:
            PnagError: if an operator is missing (most likely the table is of another size), or a
                time is not a positive number.
        """
        several = family.space.resolutions or (resolution,)
        fixed = [
            sum(
                self._milliseconds(name, path)
                for name in naming.fixed(family.fixed(r, num_classes))
            )
            for r in several
        ]
        blocks = [naming.block(block) for block in family.blocks(resolution)]
        return LatencyModel(
            np.array(fixed) if family.elastic else fixed[0],
            np.array([self._milliseconds(name, path) for name in blocks]),
            family,
        )

    def _milliseconds(self, name: str, path: Path) -> float:
        if name not in self.times:
            some = f", such as {next(iter(self.times))!r}" if self.times else ""
            raise PnagError(
                f"the latency table {path} has no operator {name!r} among its {len(self.times)}"
                f"{some}; was it measured at another width or resolution, or for another number of "
                "classes?"
            )
        value = self.times[name]
        inner: Any = value.get("mean") if isinstance(value, Mapping) else value
        try:
            if isinstance(inner, str):
                milliseconds = readings(inner.strip()).get(self.sign, math.nan)
            else:
                milliseconds = math.nan if isinstance(inner, bool) else float(inner)
        except (TypeError, ValueError):
            milliseconds = math.nan
        if 0 < milliseconds < math.inf:
            return milliseconds
        if self.of_column:
            raise PnagError(
                f"{path}: {self.of_column} of {name!r} must be a positive number, not {value!r}"
            )
        raise PnagError(f"{path}: `mean` of {name!r} must be a positive number, not {value!r}")


def read_operators(path: Path) -> Operators:
    """Read a file of operators' times.

    Raises:
        PnagError: if it cannot be read, or is neither a mapping nor such a table.
    """
    try:
        text, _ = decoded(unpacked(path.read_bytes(), path), path)
    except OSError as error:
        raise PnagError(f"cannot read the latency table {path}: {error}") from error
    value, problem = _mapping(text)
    if isinstance(value, dict):
        return Operators({str(name): time for name, time in value.items()})
    if isinstance(value, list):
        raise PnagError(f"{path} is not a latency table: a list, not a mapping of operators")
    try:
        return _of_table(texts_of(text, path), path)
    except PnagError as error:
        if problem is None or path.suffix.lower() not in (".json", ".yaml", ".yml"):
            raise
        raise PnagError(f"cannot read the latency table {path}: {problem}") from error


def _mapping(text: str) -> tuple[Any, Exception | None]:
    """What a text is as JSON or YAML, or why it is neither."""
    try:
        return json.loads(text), None
    except ValueError:
        pass
    try:
        return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)), None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: of what looks like a date
        return None, error


def _of_table(table: Texts, path: Path) -> Operators:
    by_name = {name.lower(): name for name in reversed(table.columns)}
    found = []
    for names, wanted in zip((OPERATOR_COLUMNS, TIME_COLUMNS), COLUMNS, strict=True):
        column = next((by_name[name] for name in names if name in by_name), None)
        if column is None:
            raise PnagError(
                f"the latency table {path} has no column {wanted!r}; it needs "
                f"{' and '.join(COLUMNS)}"
            )
        found.append(column)
    operators, times = (table.columns[name] for name in found)
    seen: set[str] = set()
    for name in operators:
        if name in seen:
            raise PnagError(f"the latency table {path} has {name!r} in several rows; keep one")
        seen.add(name)
    sign = signs_of(table.columns, table.separator)[found[1]]
    return Operators(dict(zip(operators, times, strict=True)), sign or ".", found[1])
