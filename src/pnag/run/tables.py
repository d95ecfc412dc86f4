"""Tables of architectures: the sampled one of a run, and a user's own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pnag.cost.counted import COUNTED
from pnag.errors import PnagError
from pnag.files import exists, write_atomic
from pnag.near_names import meant
from pnag.run.arch_column import architectures_of
from pnag.run.nested_tables import flattened
from pnag.run.size import Size
from pnag.space import SearchSpace, Tokens
from pnag.space.choices import ChoiceSpace, rows_of
from pnag.table_files import TableFile, read_table_file
from pnag.table_numbers import readings

MIN_ROWS = 50


def architecture_table(
    tokens: Tokens,
    accuracy: NDArray[np.float64],
    cost: NDArray[np.float64],
    size: Size,
) -> pd.DataFrame:
    """Columns `arch`, `accuracy`, `cost`, `params`, `macs` and `memory` of (M, T) architectures.

    Args:
        accuracy, cost: (M,). size: of the networks, for what is counted.
    """
    columns = {"arch": size.of.space.text(tokens), "accuracy": accuracy, "cost": cost}
    return pd.DataFrame(columns | counted_columns(tokens, size))


def counted_columns(tokens: Tokens, size: Size) -> dict[str, Any]:
    """(M,) each of the `COUNTED` costs of (M, T) architectures, by its name."""
    counts = size.count_batch(tokens)
    return {name: getattr(counts, name) for name in COUNTED}


def write_table(frame: pd.DataFrame, path: Path) -> None:
    """Write a table as Parquet, atomically."""
    write_atomic(path, lambda temporary: frame.to_parquet(temporary, index=False))


def read_table(path: Path) -> pd.DataFrame:
    """Read a table of a run.

    Raises:
        PnagError: if it is missing, empty or malformed.
    """
    return _read(path).frame


def _read(path: Path) -> TableFile:
    if not exists(path):
        raise PnagError(
            f"there is no table {path}{meant(path, else_all=False) or '; check its path'}"
        )
    read = read_table_file(path)
    nested = any(isinstance(cell, Mapping) for cell in read.frame.iloc[:1].to_numpy().flat)
    return flattened(read, path) if nested else read


def read_columns(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """A table of a user's, which has these columns.

    Raises:
        PnagError: if it is missing, empty or malformed, or lacks one.
    """
    raw = _read(path).frame
    _need(raw, columns, path)
    _refuse_empty(raw, path)
    return raw


def _refuse_empty(raw: pd.DataFrame, path: Path) -> None:
    if raw.empty:
        raise PnagError(f"the table {path} has a header but no rows")


def _need(raw: pd.DataFrame, columns: Iterable[str], path: Path) -> None:
    for column in columns:
        if column not in raw.columns:
            raise PnagError(
                f"the table {path} has no column {column!r}; it has: "
                f"{', '.join(map(repr, raw.columns))}"
            )


def read_rows(
    path: Path, accuracy: str, cost: str, space: SearchSpace, further: Sequence[str] = ()
) -> tuple[pd.DataFrame, list[str]]:
    """A user's rows, each checked, as columns `arch`, `accuracy` and `cost`; and notes on them.

    Args:
        further: columns of further costs, which keep their names.

    Raises:
        PnagError: names the row (counted from 1 below the header) or the column, and the fix.
    """
    read = _read(path)
    raw = read.frame
    accuracy, cost = accuracy.strip(), cost.strip()  # as the names in the file are read
    columns = {"accuracy": accuracy, "cost": cost} | {name: name for name in further}
    for column in columns.values():
        _need(raw, [column], path)
        if cell := read.unsure.get(column):
            low, high = sorted(readings(cell).values())
            raise PnagError(
                f"{path}: {column} has numbers such as {cell}, which can be {low:.15g} or "
                f"{high:.15g}; write them without thousands separators and with the same decimal "
                "sign everywhere"
            )
    _refuse_empty(raw, path)
    texts, notes = _texts_of(raw, path, space)
    frame = pd.DataFrame({"arch": texts})
    for name, column in columns.items():
        numbers = pd.to_numeric(raw[column], errors="coerce").astype(float).to_numpy()
        bad = ~np.isfinite(numbers)
        if name != "accuracy":
            bad |= ~(numbers > 0)
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            what = "a finite number" if name == "accuracy" else "a positive finite number"
            fix = "name another column" if bad.all() else "correct or remove them"
            raise PnagError(
                f"{path}, row {row + 1}: {column} must be {what}, not {raw[column].iloc[row]} "
                f"({int(bad.sum())} such row(s)); {fix}"
            )
        frame[name] = numbers
    return frame, read.notes + notes


def _texts_of(raw: pd.DataFrame, path: Path, space: SearchSpace) -> tuple[list[str], list[str]]:
    """The M rows' architectures in text form, and notes on them."""
    if not isinstance(space, ChoiceSpace):
        return architectures_of(raw, path, space)
    _need(raw, space.order, path)
    try:
        return space.text(space.encode(rows_of(raw, space.order))), []
    except ValueError as error:
        raise PnagError(f"{path}, {error}") from error


def user_table(
    path: Path, accuracy: str, cost: str, space: SearchSpace, further: Sequence[str] = ()
) -> tuple[pd.DataFrame, list[str]]:
    """A user's table, checked, as columns `arch`, `accuracy` and `cost`; and notes on it.

    Rows that are equal in every respect are kept once (and noted).

    Args:
        further: columns of further costs, which keep their names.

    Raises:
        PnagError: as `read_rows`, and for a table that nothing can be learnt from.
    """
    frame, notes = read_rows(path, accuracy, cost, space, further)
    doubles = frame.duplicated()
    if doubles.any():
        notes.append(f"{int(doubles.sum())} row(s) of {path} repeat an earlier row and count once")
        frame = frame[~doubles].reset_index(drop=True)
    conflicts = frame[frame.duplicated("arch", keep=False)]
    if len(conflicts):
        raise PnagError(
            f"{path}: architecture {conflicts['arch'].iloc[0]} is in several rows with different "
            f"values ({conflicts['arch'].nunique()} such architecture(s)); keep one row of each, "
            "or their average"
        )
    if len(frame) < MIN_ROWS:
        raise PnagError(
            f"the table {path} has {len(frame)} architectures, which are too few to learn from; "
            f"bring at least {MIN_ROWS}, and better thousands"
        )
    for name, column in {
        "accuracy": accuracy,
        "cost": cost,
        **{name: name for name in further},
    }.items():
        if frame[name].nunique() == 1:
            raise PnagError(
                f"{path}: {column} is {frame[name].iloc[0]} in every row: nothing can be "
                "learnt from it"
            )
    return frame, notes


def add_rounds(
    frame: pd.DataFrame,
    files: list[Path],
    accuracy: str,
    cost: str,
    space: SearchSpace,
    further: Sequence[str],
) -> tuple[pd.DataFrame, int]:
    """The table with the rows of all rounds that are filled in, and how many rounds that are.

    Args:
        files: of round 1, 2, ...; those after the first empty one are not read.

    Raises:
        PnagError: for a file that is filled in in part, or wrongly.
    """
    for done, path in enumerate(files):
        if read_table(path).get(accuracy.strip(), pd.Series([0])).isna().all():
            return frame, done
        rows, _ = read_rows(path, accuracy, cost, space, further)
        both = pd.concat([frame, rows], ignore_index=True)
        twice = both[both.duplicated("arch")]
        if len(twice):
            raise PnagError(
                f"{path}: architecture {twice['arch'].iloc[0]} is already in an earlier row of "
                f"this file, of an earlier round or of the table ({len(twice)} such row(s)); "
                "remove one"
            )
        frame = both
    return frame, len(files)
