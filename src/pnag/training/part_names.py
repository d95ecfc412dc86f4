"""How the parts of a data set are called, in folders, in files and on the hub."""

from __future__ import annotations

# How parts are called, in folders, in Parquet files and on the hub.
_PARTS = {"train": "train", "test": "test", "val": "validation"}


def part_of(name: str) -> str | None:
    """The part that a file or a split is of, whose name begins with it."""
    return next((part for key, part in _PARTS.items() if name.lower().startswith(key)), None)


def exact_part(name: str) -> str | None:
    """The part that a folder is of."""
    names = {"train": "train", "test": "test"} | dict.fromkeys(
        ("val", "valid", "validation"), "validation"
    )
    return names.get(name.lower())
