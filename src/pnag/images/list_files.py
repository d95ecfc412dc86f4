"""Lists of files with their classes, as text, JSON lines or Parquet: rows of cells."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pnag.errors import PnagError
from pnag.images.image_files import SUFFIXES as IMAGES
from pnag.table_files import decoded

SUFFIXES = (".csv", ".tsv", ".txt", ".jsonl", ".json", ".parquet")
_LARGEST = 1 << 29


@dataclass(frozen=True)
class Table:
    """Cells as text; every row has a cell for every column.

    Attributes:
        columns: their names; of a list without a header their numbers.
    """

    columns: list[str]
    rows: list[list[str]]

    def column(self, number: int) -> list[str]:
        """Its cells."""
        return [row[number] for row in self.rows]


def read_table(path: Path, named: Sequence[str]) -> Table | None:
    """The rows of a list; None if it is not a table at all.

    Args:
        named: file names, without folder and suffix, one of which is in each row of a list of
            these files: they distinguish a header from a row.

    Raises:
        PnagError: if the file cannot be read.
    """
    try:
        if path.stat().st_size > _LARGEST:
            return None
        suffix = path.suffix.lower()
        if suffix == ".parquet":
            return _of_parquet(path)
        data = path.read_bytes()
    except OSError as error:
        raise PnagError(f"cannot read the list {path}: {error.strerror or error}") from error
    try:
        text, _ = decoded(data, path)
    except PnagError:  # it is no text
        return None
    if suffix in (".json", ".jsonl"):
        return _of_json(text, suffix == ".jsonl")
    return _of_text(text, set(named))


def _of_text(text: str, named: set[str]) -> Table | None:
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        return None
    rows = _split(lines)
    width = max(map(len, rows))
    if width < 2:
        return None
    rows = [[*map(str.strip, row), *[""] * (width - len(row))] for row in rows]
    has_header = not any(_names_file(cell, named) for cell in rows[0])
    columns = rows[0] if has_header else [f"column {number + 1}" for number in range(width)]
    return Table(columns, rows[1:] if has_header else rows)


def _names_file(cell: str, named: set[str]) -> bool:
    return cell in named or Path(cell).stem in named or Path(cell).suffix.lower() in IMAGES


def _split(lines: list[str]) -> list[list[str]]:
    for delimiter in ("\t", ";", ","):
        if all(delimiter in line for line in lines[:20]):
            return _cells(lines, delimiter)
    words = [line.split() for line in lines]
    if len({len(row) for row in words}) == 1:
        return words
    return [line.rsplit(None, 1) for line in lines]  # names with spaces


def _cells(lines: list[str], delimiter: str) -> list[list[str]]:
    # Any list may have long cells, such as masks, and be the one or not. No cell is longer than the
    # file; what the limit was is for all of Python.
    limit = csv.field_size_limit(_LARGEST)
    try:
        return list(csv.reader(io.StringIO("\n".join(lines)), delimiter=delimiter))
    finally:
        csv.field_size_limit(limit)


def _of_json(text: str, lines: bool) -> Table | None:
    try:
        value = [json.loads(line) for line in text.splitlines() if line.strip()] if lines else (
            json.loads(text))  # fmt: skip
    except ValueError:
        return None
    if isinstance(value, dict):  # names to classes
        pairs = list(value.items())
        if not pairs or any(isinstance(label, (dict, list)) for _, label in pairs):
            return None
        return Table(["key", "label"], [[name, _text(label)] for name, label in pairs])
    if not isinstance(value, list) or not value or not all(isinstance(v, dict) for v in value):
        return None
    columns = list(dict.fromkeys(name for row in value for name in row))
    return Table(columns, [[_text(row.get(name)) for name in columns] for row in value])


def _of_parquet(path: Path) -> Table | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except pa.ArrowException as error:
        raise PnagError(f"cannot read the list {path}: {error}") from error
    columns = [[_text(value) for value in column.to_pylist()] for column in table.columns]
    return Table(table.column_names, [list(row) for row in zip(*columns, strict=True)])


def _text(value: Any) -> str:
    return "" if value is None else str(value)
