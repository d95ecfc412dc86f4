"""Parquet files."""

from __future__ import annotations

import errno
from pathlib import Path

from pnag.errors import PnagError
from pnag.training.columns import from_columns, quiet
from pnag.training.part_names import part_of
from pnag.training.rows import Opened, Source


def parquet_parts(root: Path, files: list[Path]) -> dict[str, list[Path]]:
    """The Parquet files of a folder, by part."""
    if len(folders := {file.parent for file in files}) > 1:
        raise PnagError(
            f"{root} has Parquet files in {len(folders)} folders "
            f"({', '.join(sorted(map(str, folders))[:4])}); name the one to use"
        )
    parts: dict[str, list[Path]] = {}
    for file in files:
        parts.setdefault(part_of(file.name) or "", []).append(file)
    if "" in parts and len(parts) > 1:
        raise PnagError(
            f"{parts[''][0]} is of no part: the names of Parquet files start with train, test or "
            "val where there are several parts; rename it"
        )
    if "" in parts:
        return {"train": files}
    if "train" not in parts:
        raise PnagError(
            f"{root} has {files[0].name} but no Parquet file whose name starts with train; add it, "
            "or name a file to be split"
        )
    return parts


def parquet(parts: dict[str, list[Path]]) -> Source:
    """Parquet files, by part."""

    def open_parquet(scratch: Path) -> Opened:
        import datasets

        files = {part: [str(file) for file in some] for part, some in parts.items()}
        try:
            with quiet():
                loaded = datasets.load_dataset("parquet", data_files=files, cache_dir=str(scratch))
        except (datasets.exceptions.DatasetsError, OSError, ValueError) as error:
            cause = error.__cause__ or error
            if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
                raise PnagError(
                    f"cannot write a temporary copy of {files['train'][0]} to {scratch.parent}: "
                    f"{cause.strerror}; free space or choose another folder for the decoded "
                    "images with --cache"
                ) from error
            raise PnagError(
                f"cannot read {files['train'][0]} or another Parquet file of it: {cause}"
            ) from error
        return from_columns(dict(loaded), files["train"][0])

    files = {part: [(file.name, file) for file in some] for part, some in parts.items()}
    size = sum(file.stat().st_size for some in parts.values() for file in some if file.exists())
    return Source("parquet", files, open_parquet, scratch_bytes=size)
