"""Data sets of rows with an image column and a label column, as `datasets` has them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

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
    """The splits that are parts, and what a user should know of the others.

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
    import datasets

    features = parts["train"].features
    image = _column(
        features, _IMAGE_COLUMNS, [c for c, f in features.items() if isinstance(f, datasets.Image)]
    )
    label = _column(
        features,
        _LABEL_COLUMNS,
        [c for c, f in features.items() if isinstance(f, datasets.ClassLabel)],
    )
    for column, kind, names in ((image, "image", _IMAGE_COLUMNS), (label, "label", _LABEL_COLUMNS)):
        if column is None:
            raise PnagError(
                f"{name} has no {kind} column; it has: {', '.join(map(repr, features))}; name the "
                f"column of {kind}s {names[0]!r}"
            )
    assert image is not None and label is not None
    notes, kept, values = [], {}, {}
    for part, rows in parts.items():
        column = rows.data.column(label)
        if column.null_count:
            raise PnagError(
                f"{name}: {column.null_count} row(s) of {part} have no {label}; remove them"
            )
        found = column.to_numpy()
        if found.dtype.kind in "iu" and len(found) and found.max() < 0:
            if part == "train":
                raise PnagError(f"{name}: all of column {label!r} in train is {found.max()}")
            notes.append(f"not used: part {part}, whose labels are kept secret ({found.max()})")
            continue
        values[part] = found
        try:
            kept[part] = (
                rows.select_columns([image])
                .rename_columns({image: "image"} if image != "image" else {})
                .cast_column("image", datasets.Image(decode=False))
            )
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise PnagError(
                f"{name}: the column {image!r} does not hold images: {error}; it needs the bytes "
                "of image files"
            ) from error
    if isinstance(features[label], datasets.ClassLabel):
        classes = list(features[label].names)
        labels = {part: found.astype(np.int64) for part, found in values.items()}
    else:
        kind = features[label]
        if not isinstance(kind, datasets.Value) or values["train"].dtype.kind not in "iuOUTSb":
            what = kind.dtype if isinstance(kind, datasets.Value) else type(kind).__name__
            raise PnagError(
                f"{name}: the column {label!r} holds {what}, needs names or whole numbers of "
                "classes, one for each image"
            )
        every = sorted(set(np.concatenate([np.unique(found) for found in values.values()])))
        classes = [str(value) for value in every]
        labels = {
            part: np.searchsorted(np.array(every), found.astype(np.array(every).dtype))
            for part, found in values.items()
        }
    for part, found in labels.items():
        if len(found) and not (found.min() >= 0 and found.max() < len(classes)):
            raise PnagError(
                f"{name}: a label of part {part} is {found.min()} or {found.max()}, and there are "
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


def _column(features: Any, names: tuple[str, ...], typed: list[str]) -> str | None:
    for name in names:
        if name in features:
            return name
    return typed[0] if len(typed) == 1 else None
