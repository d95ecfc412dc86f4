"""Data sets of the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from pnag.errors import PnagError
from pnag.training.columns import from_columns, quiet
from pnag.training.part_names import part_of
from pnag.training.rows import Opened, Source


def hub(name: str) -> Source:
    """A data set of the hub, fetched at once."""
    import datasets

    try:
        with quiet():
            loaded = datasets.load_dataset(name)
    # RuntimeError: of data sets that are a program, which `datasets` no longer runs
    except (datasets.exceptions.DatasetsError, OSError, ValueError, RuntimeError) as error:
        raise PnagError(
            f"there is no folder {name} here, and the data set {name!r} of the Hugging Face hub "
            f"cannot be fetched: {' '.join(str(error).split())[:300]}; where there is no network, "
            f"run `hf download {name} --repo-type dataset --local-dir FOLDER` on a machine that "
            "has one, copy FOLDER here and name it instead"
        ) from error
    notes: list[str] = []
    parts = {}
    for split, rows in loaded.items():
        part = part_of(split)
        if part is None or part in parts:
            notes.append(f"not used: the split {split} of {name}")
        else:
            parts[part] = rows
    if "train" not in parts:
        raise PnagError(
            f"the data set {name!r} has no split train; it has: {', '.join(loaded)}; name another"
        )
    files = {
        part: [(f.name, f) for f in (Path(c["filename"]) for c in rows.cache_files)]
        for part, rows in parts.items()
    }

    def open_hub(_: Path) -> Opened:
        opened = from_columns(parts, name)
        return Opened(opened.classes, opened.parts, notes + opened.notes)

    return Source(f"hub {name}", files, open_hub)
