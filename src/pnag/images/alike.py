"""Images that show nothing, or all the same: named before hours are spent on them."""

from __future__ import annotations

import zlib
from collections import Counter, defaultdict

import numpy as np
from numpy.typing import NDArray

from pnag.errors import PnagError
from pnag.images.class_folders import some
from pnag.images.rows import Rows

_NAMED = 3


class Alike:
    """Watches the images of a part as they are decoded."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._seen: dict[int, set[int]] = defaultdict(set)  # checksums by class
        self._counts: Counter[int] = Counter()
        self._blank: list[int] = []
        self._first: NDArray[np.uint8] | None = None

    def add(self, pixels: NDArray[np.uint8], positions: NDArray[np.int64]) -> None:
        """Take note of (B, 3, S, S) images and their positions (B,) in the part."""
        flat = pixels.reshape(*pixels.shape[:2], -1)
        blank = (flat.min(-1) == flat.max(-1)).all(-1)
        self._blank += positions[blank].tolist()
        for image, position in zip(pixels, positions, strict=True):
            label = int(self._rows.labels[position])
            self._counts[label] += 1
            self._seen[label].add(zlib.crc32(np.ascontiguousarray(image).data))
            self._first = image if self._first is None else self._first

    def notes(self, classes: tuple[str, ...], source: str) -> list[str]:
        """What a user should know about them.

        Raises:
            PnagError: if all images are the same.
        """
        if len(set().union(*self._seen.values())) == 1 and self._first is not None:
            colour = self._first.reshape(3, -1).mean(1).round().astype(int).tolist()
            what = f"all of the colour {colour}" if self._blank else "one and the same"
            raise PnagError(
                f"{source}: the {self._counts.total()} images to train on are {what} as 8-bit "
                f"RGB, such as {self._rows.name(0)}: nothing can be learnt from them; look at how "
                "they were written"
            )
        notes = []
        same = [
            classes[label]
            for label, sums in sorted(self._seen.items())
            if len(sums) == 1 and self._counts[label] > 1
        ]
        if same:
            notes.append(f"all images of a class are alike: {some(same)}")
        if self._blank:
            names = ", ".join(map(self._rows.name, self._blank[:_NAMED]))
            notes.append(f"{len(self._blank)} image(s) are of one colour, such as {names}")
        return notes
