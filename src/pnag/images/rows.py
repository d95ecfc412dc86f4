"""Images that are not decoded yet: rows of a part, parts of a source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pnag.images.contents import Files
from pnag.images.linked_images import find_linked

if TYPE_CHECKING:
    from datasets import Dataset


# A row of an image column that is not decoded, as `datasets` has it: its "bytes" or its "path".
Raw = dict[str, Any]


class Images(Protocol):
    """A whole part's images, by their numbers."""

    def __call__(self, ids: list[int]) -> list[Raw | None]:
        """Undecoded images."""


@dataclass(frozen=True)
class Column:
    """The image column of a data set.

    Attributes:
        folders: from which images are found that rows name instead of holding.
    """

    rows: Dataset
    folders: tuple[Path, ...] = ()

    def __call__(self, ids: list[int]) -> list[Raw | None]:
        """Undecoded images."""
        found: list[Raw | None] = list(self.rows[ids]["image"])
        for raw in found:
            if raw and raw.get("bytes") is None and raw.get("path"):
                raw["path"] = find_linked(raw["path"], self.folders)
        return found


@dataclass(frozen=True)
class Listed:
    """Paths or contents of files. No in-memory `Dataset`: it pickles itself to tell whether it has
    changed, which datasets 5.2 cannot with pyarrow 26.
    """

    items: list[str] | list[bytes]

    def __call__(self, ids: list[int]) -> list[Raw | None]:
        """Undecoded images."""
        some = (self.items[i] for i in ids)
        return [
            {"path": item, "bytes": None}
            if isinstance(item, str)
            else {"path": None, "bytes": item}
            for item in some
        ]


@dataclass(frozen=True)
class Rows:
    """Images, undecoded, of one part of a source, or of some of it.

    Attributes:
        images: the whole part.
        ids: (N,) which of them.
        labels: (N,) their classes.
    """

    images: Images
    ids: NDArray[np.int64]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, which: NDArray[np.int64] | NDArray[np.bool_]) -> Rows:
        """Some of these rows."""
        return Rows(self.images, self.ids[which], self.labels[which])

    def raw(self, positions: list[int] | NDArray[np.int64]) -> list[Raw | None]:
        """Undecoded images."""
        return self.images(self.ids[positions].tolist())

    def file(self, position: int) -> str | None:
        """The file of an image, if it has one of its own."""
        raw = self.raw([position])[0] or {}
        return str(raw["path"]) if raw.get("path") and raw.get("bytes") is None else None

    def name(self, position: int) -> str:
        """What a user finds an image by: its file, or its row."""
        if file := self.file(position):
            return file
        path = (self.raw([position])[0] or {}).get("path")
        return f"row {self.ids[position]} (counted from 0)" + (f", {path}" if path else "")


@dataclass(frozen=True)
class Opened:
    """The parts `train` and, where the source has them, `validation` and `test`."""

    classes: tuple[str, ...]
    parts: dict[str, Rows]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Source:
    """A source that has been looked at but not read.

    Attributes:
        kind: what its files' names do not tell.
        files: of each part, by names that are the same wherever the source lies; what they hold
            decides what the images are.
        open: reads it; may put temporary files into the folder it is given.
        mirror: whether a mirrored image is still an image of its class.
        scratch_bytes: about how large those temporary files are.
    """

    kind: str
    files: Files
    open: Callable[[Path], Opened]
    mirror: bool = True
    scratch_bytes: int = 0


def all_rows(images: Images, labels: NDArray[np.int64]) -> Rows:
    """A whole part."""
    return Rows(images, np.arange(len(labels)), labels)
