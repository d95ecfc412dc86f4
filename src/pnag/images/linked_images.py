"""Parquet files that name image files instead of holding them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

_IMAGE_COLUMNS = ("image", "img")
_LEAST = 16  # bytes of an image


def find_linked(path: str, folders: Sequence[Path]) -> str:
    """The image file that a row names: from the folder of its Parquet file, or from here.

    Args:
        folders: of the Parquet files that the row may be of.
    """
    for folder in folders:
        if (folder / path).exists():  # of an absolute path it is that path
            return str(folder / path)
    return path if Path(path).exists() or not folders else str(folders[0] / path)


def linked_images(files: Sequence[Path]) -> list[tuple[str, Path]]:
    """All image files that Parquet files name, as a cache knows them.

    A file that cannot be read names none here; opening it reports what is wrong.
    """
    folders = list(dict.fromkeys(file.parent for file in files))
    try:
        names = sorted({name for file in files for name in _names(file)})
    except (pa.ArrowException, OSError):
        return []
    return [(name, Path(find_linked(name, folders))) for name in names]


def _names(file: Path) -> list[str]:
    with pq.ParquetFile(file) as opened:
        for field in opened.schema_arrow:
            if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
                if field.name in _IMAGE_COLUMNS:
                    column = opened.read(columns=[field.name]).column(0)
                    return [name for name in column.to_pylist() if name]
            elif pa.types.is_struct(field.type) and _only_paths(opened, field):
                column = opened.read(columns=[f"{field.name}.path"]).column(0)
                return [row["path"] for row in column.to_pylist() if row and row.get("path")]
    return []


def _only_paths(opened: pq.ParquetFile, field: pa.Field) -> bool:
    names = {inner.name for inner in field.type}
    if not {"path", "bytes"} <= names:
        return names == {"path"}
    size = 0
    for number in range(opened.metadata.num_row_groups):
        group = opened.metadata.row_group(number)
        for column in map(group.column, range(group.num_columns)):
            if column.path_in_schema == f"{field.name}.bytes":
                size += column.total_uncompressed_size
    return bool(size < _LEAST * opened.metadata.num_rows)
