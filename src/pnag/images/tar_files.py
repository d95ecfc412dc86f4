"""WebDataset's tar files: 1.jpg and 1.cls, 2.jpg and 2.cls, and so on.

Not by the builder of `datasets`, which copies all images, takes only numbers for classes and all
images to have one suffix.
"""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pnag.errors import PnagError
from pnag.images.class_folders import some
from pnag.images.image_files import SUFFIXES
from pnag.images.image_lists import by_number_or_name
from pnag.images.list_classes import LABELS
from pnag.images.rows import Opened, Raw, Rows, all_rows


@dataclass(frozen=True)
class Members:
    """Images within tar files.

    Attributes:
        places: (N, 3): number of the file, first byte, bytes.
    """

    files: tuple[Path, ...]
    names: list[str]
    places: NDArray[np.int64]

    def __call__(self, ids: list[int]) -> list[Raw | None]:
        """Undecoded images."""
        found: list[Raw | None] = []
        for number, first, size in self.places[ids].tolist():
            descriptor = os.open(self.files[number], os.O_RDONLY)
            try:
                content = os.pread(descriptor, size, first)
            finally:
                os.close(descriptor)
            name = f"{self.files[number].name}: {self.names[ids[len(found)]]}"
            found.append({"path": name, "bytes": content})
        return found


@dataclass
class _Part:
    names: list[str] = field(default_factory=list)
    places: list[tuple[int, int, int]] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)


def open_tars(parts: Mapping[str, Sequence[Path]]) -> Opened:
    """The images of tar files, and their classes by .cls or .json beside each.

    Raises:
        PnagError: for files that cannot be read, or hold something else.
    """
    read = {part: _read(files) for part, files in parts.items()}
    classes = by_number_or_name({label for part in read.values() for label in part.labels})
    index = {name: number for number, name in enumerate(classes)}
    trained = set(read["train"].labels)
    for part, found in read.items():
        if unknown := by_number_or_name(set(found.labels) - trained):
            raise PnagError(
                f"{parts[part][0]}: {part} has the class {unknown[0]!r} that train does not have; "
                "leave such images out, or add some to train"
            )
    rows = {part: _rows(tuple(parts[part]), found, index) for part, found in read.items()}
    return Opened(tuple(classes), rows)


def _rows(files: tuple[Path, ...], part: _Part, index: dict[str, int]) -> Rows:
    members = Members(files, part.names, np.array(part.places, np.int64))
    return all_rows(members, np.array([index[label] for label in part.labels], np.int64))


def _read(files: Sequence[Path]) -> _Part:
    part = _Part()
    for number, path in enumerate(files):
        try:
            with tarfile.open(path, "r:") as archive:
                _read_one(path, number, archive, part)
        except (tarfile.TarError, OSError) as error:
            raise PnagError(
                f"cannot read {path}: {error}; unpack a compressed archive first"
            ) from error
    return part


def _read_one(path: Path, number: int, archive: tarfile.TarFile, part: _Part) -> None:
    images: dict[str, tarfile.TarInfo] = {}
    labels: dict[str, str] = {}
    for member in archive:
        name = member.name.rpartition("/")[2]
        if not member.isfile() or name.startswith("."):
            continue
        stem, _, suffix = name.partition(".")
        key = member.name[: len(member.name) - len(name)] + stem
        kind = suffix.lower().rpartition(".")[2]
        if f".{kind}" in SUFFIXES:
            if key in images:
                raise PnagError(
                    f"{path} has two images of one sample, {images[key].name} and {member.name}; "
                    "one is expected"
                )
            images[key] = member
        elif kind in ("cls", "json"):
            file = archive.extractfile(member)
            assert file is not None  # of a regular member
            if label := _label(kind, file.read()):
                labels.setdefault(key, label)
    missing = [member.name for key, member in images.items() if key not in labels]
    if not images or missing:
        seen = f"says no class of {some(missing)}" if images else "holds no images"
        raise PnagError(
            f"{path} {seen}; pnag reads WebDataset's tar files, which have a file 1.cls or 1.json "
            "with the class next to each 1.jpg; unpack any other, move it out of the folder of its "
            "images, and name that"
        )
    for key, member in images.items():
        part.names.append(member.name)
        part.places.append((number, member.offset_data, member.size))
        part.labels.append(labels[key])


def _label(kind: str, content: bytes) -> str:
    text = content.decode("utf-8", "replace").strip()
    if kind == "cls":
        return text
    try:
        value = json.loads(text)
    except ValueError:
        return ""
    if not isinstance(value, dict):
        return ""
    known = {title.lower(): str(held) for title, held in value.items() if held is not None}
    return next((known[name] for name in LABELS if name in known), "")
