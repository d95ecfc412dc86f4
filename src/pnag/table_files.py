"""Tables from files of any program: Parquet, JSON, and text as spreadsheets and scripts write it.

A file's content says what it is, not its name. The encoding of text, the separator of columns and
the decimal sign are found out, and reported where they are not a CSV's.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from pnag.errors import PnagError
from pnag.table_numbers import UNIT, is_missing, readings, signs_of

SEPARATORS = {",": "','", ";": "';'", "\t": "tabs", "|": "'|'"}
BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig", "UTF-8"),
    (codecs.BOM_UTF32_LE, "utf-32", "UTF-32"),  # before UTF-16's, which begins it
    (codecs.BOM_UTF32_BE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF16_LE, "utf-16", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16", "UTF-16"),
)


@dataclass(frozen=True)
class TableFile:
    """A table as it stands in a file.

    Attributes:
        frame: of a text, columns of numbers where every cell is one, else of texts.
        notes: how the file was read, where that is not plain.
        unsure: columns of texts that can be numbers in two ways, each with a cell that can.
    """

    frame: pd.DataFrame
    notes: list[str] = field(default_factory=list)
    unsure: dict[str, str] = field(default_factory=dict)


def read_table_file(path: Path) -> TableFile:
    """Read a table; spaces around the names of columns are cut off.

    Raises:
        PnagError: if it is missing, empty, malformed, or of a kind that is not read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PnagError(f"cannot read the table {path}: {error.strerror or error}") from error
    if data[:4] == b"PAR1":
        try:
            read = TableFile(pd.read_parquet(path))
        except (OSError, ValueError) as error:
            raise PnagError(f"cannot read the table {path}: {error}") from error
    else:
        text, encoding = decoded(unpacked(data, path), path)
        if text.lstrip()[:1] in ("{", "["):
            read = TableFile(_from_json(text, path))
        else:
            read = _typed(texts_of(text, path))
            how = [encoding] * (encoding != "UTF-8") + read.notes
            if how:
                read = replace(read, notes=[f"{path} is read with {', '.join(how)}"])
    names = _unique([str(name).strip() for name in read.frame.columns])
    return replace(read, frame=read.frame.set_axis(names, axis=1))


def unpacked(data: bytes, path: Path) -> bytes:
    """The content of a file that gzip may have packed.

    Raises:
        PnagError: if it is damaged, or a workbook.
    """
    if data[:2] == b"PK" or data[:4] == b"\xd0\xcf\x11\xe0":
        raise PnagError(
            f"the table {path} is a workbook or an archive; save it as CSV in the program that "
            "wrote it"
        )
    if data[:2] != b"\x1f\x8b":
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise PnagError(f"cannot unpack the table {path}: {error}") from error


def decoded(data: bytes, path: Path) -> tuple[str, str]:
    """A file's text and the name of its encoding.

    Raises:
        PnagError: if it is no text.
    """
    codec, name = next(
        ((codec, name) for bom, codec, name in BOMS if data.startswith(bom)), _unmarked(data)
    )
    try:
        return data.decode(codec), name
    except UnicodeDecodeError as error:
        if name == "UTF-8" and 0 not in data:
            return data.decode("cp1252", "replace"), "Windows-1252"
        raise PnagError(f"cannot read the table {path}: it is not text ({error})") from error


def _unmarked(data: bytes) -> tuple[str, str]:
    """The codec and name of an encoding without a mark at the beginning."""
    # UTF-16 shows in the zeros beside the letters of names and numbers.
    zeros = [data[:1000][side::2].count(0) for side in (0, 1)]
    if max(zeros) > min(len(data), 1000) / 4 and not min(zeros):
        return ("utf-16-be" if zeros[0] else "utf-16-le"), "UTF-16"
    return "utf-8", "UTF-8"


@dataclass(frozen=True)
class Texts:
    """A text's columns, each a list of as many cells without spaces around; and what splits them.

    Columns are in the file's order, and their names all different.
    """

    columns: dict[str, list[str]]
    separator: str


def texts_of(text: str, path: Path) -> Texts:
    """Split a text into columns.

    Raises:
        PnagError: if it is empty or malformed.
    """
    lines = text.splitlines(keepends=True)
    declared = re.fullmatch(r"sep=(.)", lines[0].strip("\r\n"), re.IGNORECASE) if lines else None
    if declared:  # Excel begins some files so
        text = "".join(lines[1:])
    try:
        separator = declared[1] if declared else _separator(text)
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator))
    except csv.Error as error:
        raise PnagError(f"cannot read the table {path}: {error}") from error
    numbered = [(i, row) for i, row in enumerate(rows, 1 + bool(declared)) if _cut(row)]
    if not numbered:
        raise PnagError(
            f"cannot read the table {path}: it is empty; it needs a line with its columns' names"
        )
    header = _unique([name.strip() for name in _cut(numbered[0][1])])
    cells: list[list[str]] = []
    for number, row in numbered[1:]:
        if len(_cut(row)) > len(header):
            raise PnagError(
                f"row {number} of the table {path} has {len(_cut(row))} cells, and its header "
                f"{len(header)}; a cell with {_named(separator)} in it, such as an architecture, "
                "needs quotes"
            )
        cells.append([cell.strip() for cell in (row + [""] * len(header))[: len(header)]])
    columns = {name: [row[place] for row in cells] for place, name in enumerate(header)}
    return Texts(columns, separator)


def _typed(texts: Texts) -> TableFile:
    """Columns of numbers as such, and what a user should know about how they are read."""
    columns, separator = texts.columns, texts.separator
    how = [f"{_named(separator)} between columns"] if separator != "," else []
    signs = signs_of(columns, separator)
    typed: dict[str, pd.Series] = {}
    unlike: dict[str, float] = {}  # what Python reads otherwise, or not at all
    units: set[str] = set()
    for name, cells in columns.items():
        sign = signs[name]
        present = {cell: readings(cell) for cell in cells if not is_missing(cell)}
        if sign is None or not all(sign in ways for ways in present.values()):
            typed[name] = pd.Series([c if c else None for c in cells], dtype=object)
            continue
        values = {cell: ways[sign] for cell, ways in present.items()}
        typed[name] = pd.Series([values.get(cell) for cell in cells], dtype=float)
        unlike |= {cell: value for cell, value in values.items() if "," in cell}
        units |= {found[1] for cell in values if (found := UNIT.search(cell))}
    for kind, whole in (("decimal commas", False), ("commas between thousands", True)):
        for cell, value in unlike.items():
            if (readings(cell).get(".") == value) == whole:
                how.append(f"{kind} ({cell} is {value:.15g})")
                break
    how += [f"{unit} after numbers left out" for unit in sorted(units)]
    unsure = {
        name: next(c for c in columns[name] if len(set(readings(c).values())) == 2)
        for name, sign in signs.items()
        if sign is None
    }
    return TableFile(pd.DataFrame(typed, columns=list(columns)), how, unsure)


def _separator(text: str) -> str:
    """What splits the first line that is not empty into most columns; a comma if none does."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    return max(SEPARATORS, key=lambda one: len(next(csv.reader([first], delimiter=one), [])))


def _named(separator: str) -> str:
    return SEPARATORS.get(separator, repr(separator))


def _cut(row: list[str]) -> list[str]:
    """A row without the empty cells at its end."""
    end = len(row)
    while end and not row[end - 1].strip():
        end -= 1
    return row[:end]


def _unique(names: Sequence[str]) -> list[str]:
    """Names that are all different: a second `a` is `a.1`, or the next that no column has."""
    made: list[str] = []
    for name in names:
        own, number = name, 0
        while own in made or (number and own in names):
            number += 1
            own = f"{name}.{number}"
        made.append(own)
    return made


def _from_json(text: str, path: Path) -> pd.DataFrame:
    """Rows as a list of mappings, one a line, or by architecture; or columns as lists."""
    value: Any
    try:
        value = json.loads(text)
    except ValueError as error:
        try:
            value = [json.loads(line) for line in text.splitlines() if line.strip()]
        except ValueError:
            raise PnagError(f"cannot read the table {path}: {error}") from error
    if isinstance(value, dict) and value:
        inner = list(value.values())
        if all(isinstance(one, dict) for one in inner):
            value = [{"arch": name, **row} for name, row in value.items()]
        elif all(isinstance(one, list) for one in inner) and len({len(one) for one in inner}) == 1:
            return pd.DataFrame(value)
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise PnagError(
            f"the table {path} is JSON, but neither a list of rows nor columns of equal length"
        )
    return pd.DataFrame(value)
