"""Which column, or columns, of a table are its architectures: ours, and those of other programs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from pnag.errors import BadValueError, PnagError
from pnag.space import Architecture, BaseArchitecture, SearchSpace
from pnag.space.notation import NAMES, SIZES, parts_of, sizes_besides

ELSEWHERE = (
    "architecture", "subnetwork", "subnet", "config", "netconfig", "netsetting", "netid", "net",
)  # fmt: skip
"""Names of such columns in DyNAS-T's and others' tables, in small letters and nothing else."""


def architectures_of(
    raw: pd.DataFrame, path: Path, space: SearchSpace
) -> tuple[list[str], list[str]]:
    """The M rows' architectures in text form, and notes on where they were found.

    Args:
        space: of their family.

    Raises:
        PnagError: names the row (counted from 1 below the header), or says what columns there are.
    """
    values, note = _values(raw, path)
    texts = []
    resolutions: set[float] = set()
    for row, value in enumerate(values, 1):
        try:
            if isinstance(value, str) and value.lstrip().startswith("{"):
                value = parts_of(value)
            texts.append(str(space.architecture.parse(value)))
        except ValueError as error:
            hint = _other_family(value, space)
            raise PnagError(f"{path}, row {row}: {error}{hint}") from error
        if isinstance(value, Mapping):
            resolutions |= {sizes_besides(value).get("resolution", 0.0)}
    notes = [note] if note else []
    if len(resolutions) > 1:
        said = ", ".join(f"{one:g}" if one else "none" for one in sorted(resolutions))
        notes.append(
            f"the architectures of {path} come with several resolutions ({said}), which are not "
            "looked at: rows that should not be compared belong in tables of their own"
        )
    return texts, notes


def _other_family(value: Any, space: SearchSpace) -> str:
    """What to do where an architecture is one, but of another family; empty if it is none."""
    try:
        BaseArchitecture.parse(value)
    except ValueError:
        return ""
    if space.architecture is BaseArchitecture:
        return ""
    return "; if the table is of another family of networks, name it with --family"


def _values(raw: pd.DataFrame, path: Path) -> tuple[Iterator[Any], str]:
    """What each row has for an architecture, and a note if that is not in a column `arch`."""
    if "arch" in raw.columns:
        return iter(raw["arch"]), ""
    by_name = {re.sub(r"[^a-z]", "", str(name).lower()): name for name in reversed(raw.columns)}
    for name in ("arch", *ELSEWHERE):
        if name in by_name:
            column = by_name[name]
            return iter(raw[column]), f"the architectures of {path} are its column {column!r}"
    lists = {names[0]: _list_columns(raw, names) for names in NAMES.values()}
    if all(lists.values()):
        used = ", ".join(repr(name) for found in lists.values() for name in found[:1])
        resolution = SIZES["resolution"]
        columns = lists | {resolution[0]: _list_columns(raw, resolution)}
        rows = (
            {name: _cells(raw, found, row) for name, found in columns.items() if found}
            for row in range(len(raw))
        )
        return rows, f"the architectures of {path} are made of its columns {used}"
    raise PnagError(
        f"the table {path} has no column 'arch'; it has: {', '.join(map(repr, raw.columns))}"
        f"{_hint(raw)}"
    )


def _list_columns(raw: pd.DataFrame, names: tuple[str, ...]) -> list[str]:
    """The one column with a list, or those with a number each (`ks_0`, `ks_1`, ...), in order."""
    for name in names:
        for column in raw.columns:
            if column.lower() == name:
                return [column]
    for name in names:
        numbered = [
            (int(found[1]), column)
            for column in raw.columns
            if (found := re.fullmatch(rf"{name}[ _.\[]?(\d+)\]?", column.lower()))
        ]
        if len(numbered) > 1:
            return [column for _, column in sorted(numbered)]
    return []


def _cells(raw: pd.DataFrame, columns: list[str], row: int) -> Any:
    if len(columns) == 1:
        return raw[columns[0]].iloc[row]
    return [raw[column].iloc[row] for column in columns]


def _hint(raw: pd.DataFrame) -> str:
    """What to do about it: an architecture may stand under a name that could be anything."""
    for column in raw.columns:
        first = raw[column].dropna()
        try:
            Architecture.parse(first.iloc[0])
        except (BadValueError, IndexError):
            continue
        return f"; call {column!r} 'arch', as there are architectures in it"
    return "; for a search space of your own, name its columns: pnag run --choices A,B"
