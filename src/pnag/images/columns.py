"""Data sets of rows with an image column and a label column, as `datasets` has them."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pnag.errors import PnagError
from pnag.images.part_names import part_of
from pnag.images.rows import Column, Opened, all_rows

if TYPE_CHECKING:
    from datasets import Dataset

_IMAGE_COLUMNS = ("image", "img")
_LABEL_COLUMNS = ("label", "labels", "fine_label")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the progress bars of `datasets`: a run shows its own."""
    import datasets

    shown = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()


def from_splits(splits: dict[str, Dataset], name: str) -> Opened:
    """As `from_columns`, of splits by whatever they are called.

    Raises:
        PnagError: also if none of them is to train on.
    """
    parts, notes = by_part(splits, name)
    opened = from_columns(parts, name)
    return Opened(opened.classes, opened.parts, notes + opened.notes)


def by_part(splits: dict[str, Dataset], name: str) -> tuple[dict[str, Dataset], list[str]]:
    """The splits that are parts, and what a user should know about the others.

    Raises:
        PnagError: if none of them is to train on.
    """
    notes: list[str] = []
    parts: dict[str, Dataset] = {}
    for split, rows in splits.items():
        part = part_of(split)
        if part is None or part in parts:
            notes.append(f"not used: the split {split} of {name}")
        else:
            parts[part] = rows
    if "train" not in parts:
        raise PnagError(
            f"the data set {name!r} has no split train; it has: {', '.join(splits)}; name another"
        )
    return parts, notes


def from_columns(
    parts: dict[str, Dataset], name: str, folders: Mapping[str, Sequence[Path]] | None = None
) -> Opened:
    """Parts from data sets with an image column and a label column.

    Args:
        folders: from which images are found that a part's rows name instead of holding.

    Raises:
        PnagError: if one of the columns is not clear, or holds something else.
    """
    features = parts["train"].features
    image, label = _image_and_label(features, name)
    _check_same_labels(parts, label, name)
    values, notes = _known_values(parts, label, name)
    kept = {part: _images(parts[part], image, name) for part in values}
    classes, labels = _labelled(features[label], values, f"{name}: the column {label!r}")
    for part, found in labels.items():
        if len(found) and not (found.min() >= 0 and found.max() < len(classes)):
            raise PnagError(
                f"{name}: a label of part {part} is {found.min()} or {found.max()}, but there are "
                f"{len(classes)} classes; correct or remove such rows"
            )
    present = np.unique(labels["train"])
    absent = sorted(set(range(len(classes))) - set(present.tolist()))
    if absent:
        for part in sorted(set(labels) - {"train"}):
            if unknown := set(np.unique(labels[part]).tolist()) & set(absent):
                raise PnagError(
                    f"{name}: part {part} has the class {classes[min(unknown)]!r} that train does "
                    "not have; remove such rows, or add images of it to train"
                )
        notes.append(
            f"{len(absent)} class(es) have no images and are left out: "
            f"{', '.join(classes[label] for label in absent[:5])}"
        )
        labels = {part: np.searchsorted(present, found) for part, found in labels.items()}
        classes = [classes[label] for label in present]
    return Opened(
        tuple(classes),
        {p: all_rows(Column(kept[p], tuple((folders or {}).get(p, ()))), labels[p]) for p in kept},
        notes,
    )


def _image_and_label(features: Any, name: str) -> tuple[str, str]:
    """The names of both columns."""
    import datasets

    found = []
    for kind, names, typed in (
        ("image", _IMAGE_COLUMNS, datasets.Image),
        ("label", _LABEL_COLUMNS, datasets.ClassLabel),
    ):
        column = _column(features, names, [c for c, f in features.items() if isinstance(f, typed)])
        if column is None:
            raise PnagError(
                f"{name} has no {kind} column; it has: {', '.join(map(repr, features))}; name the "
                f"column of {kind}s {names[0]!r}"
            )
        found.append(column)
    return found[0], found[1]


def _check_same_labels(parts: Mapping[str, Dataset], label: str, name: str) -> None:
    """Refuse a part whose labels mean something else than train's, or that has none."""
    import datasets

    mine = parts["train"].features[label]
    for part, rows in parts.items():
        theirs = rows.features.get(label)
        if theirs is None:
            raise PnagError(
                f"{name}: part {part} has no column {label!r}, which train has; add it, or remove "
                f"the part (its columns: {', '.join(map(repr, rows.features))})"
            )
        named = all(isinstance(each, datasets.ClassLabel) for each in (mine, theirs))
        if named and theirs.names != mine.names:
            first = next(
                (a, b)
                for a, b in itertools.zip_longest(mine.names, theirs.names, fillvalue="no class")
                if a != b
            )
            raise PnagError(
                f"{name}: the column {label!r} of part {part} names other classes than that of "
                f"train ({first[1]!r} where train has {first[0]!r}); write both with the same names"
            )
        if _is_number(mine) != _is_number(theirs):
            raise PnagError(
                f"{name}: the column {label!r} holds {_kind(theirs)} in part {part} and "
                f"{_kind(mine)} in train; write both alike"
            )


def _is_number(feature: Any) -> bool:
    return "int" in str(getattr(feature, "dtype", ""))


def _kind(feature: Any) -> str:
    """What a column holds, for people."""
    return f"{type(feature).__name__} of {getattr(feature, 'dtype', 'several values')}"


def _known_values(
    parts: dict[str, Dataset], label: str, name: str
) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """The label column's values of each part, and notes on parts whose labels are kept secret."""
    values, notes = {}, []
    for part, rows in parts.items():
        column = rows.data.column(label)
        if column.null_count:
            raise PnagError(
                f"{name}: {column.null_count} row(s) of {part} have no {label}; remove them"
            )
        found = column.to_numpy()
        if not (found.dtype.kind in "iu" and len(found) and found.max() < 0):
            values[part] = found
        elif part == "train":
            raise PnagError(f"{name}: all of column {label!r} in train is {found.max()}")
        else:
            notes.append(f"not used: part {part}, whose labels are kept secret ({found.max()})")
    return values, notes


def _images(rows: Dataset, column: str, name: str) -> Dataset:
    """The image column alone, as files' bytes, under the name `image`."""
    import datasets

    try:
        return (
            rows.select_columns([column])
            .rename_columns({column: "image"} if column != "image" else {})
            .cast_column("image", datasets.Image(decode=False))
        )
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise PnagError(
            f"{name}: the column {column!r} does not hold images: {error}; it needs the bytes "
            "of image files"
        ) from error


def _labelled(
    kind: Any, values: dict[str, NDArray[Any]], what: str
) -> tuple[list[str], dict[str, NDArray[np.int64]]]:
    """The names of the classes, and each part's labels.

    Args:
        kind: the label column's feature. what: the column, for the error.
    """
    import datasets

    if isinstance(kind, datasets.ClassLabel):
        return list(kind.names), {part: found.astype(np.int64) for part, found in values.items()}
    if not isinstance(kind, datasets.Value) or values["train"].dtype.kind not in "iuOUTSb":
        held = kind.dtype if isinstance(kind, datasets.Value) else type(kind).__name__
        raise PnagError(
            f"{what} must hold names or whole numbers of classes, one for each image, not {held}"
        )
    every = np.array(sorted(set(np.concatenate([np.unique(v) for v in values.values()]))))
    labels = {part: np.searchsorted(every, v.astype(every.dtype)) for part, v in values.items()}
    return [str(value) for value in every], labels


def _column(features: Any, names: tuple[str, ...], typed: list[str]) -> str | None:
    for name in names:
        if name in features:
            return name
    return typed[0] if len(typed) == 1 else None
