"""Work on many images in several processes, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from pnag.cpus import allowed_cpus
from pnag.errors import PnagError
from pnag.images.decode import (
    WideError,
    centre_pixels,
    open_image,
    opened,
    squeezed_pixels,
)
from pnag.images.levels import Extent, Levels, is_wide, wide_values
from pnag.images.rows import Rows

_BATCH_BYTES = 4 << 20
_FEW = 1000
_SCANNED = 64  # images of a batch
T = TypeVar("T")


@dataclass(frozen=True)
class Batch:
    """Decoded images (B, 3, S, S), their positions and aspect ratios (B,); what failed and why.

    Attributes:
        wide: whether there was an image of more than 8 bits, and no levels for it.
    """

    pixels: NDArray[np.uint8]
    positions: NDArray[np.int64]
    aspect: NDArray[np.float32]
    failed: list[tuple[int, str]]
    wide: bool


@dataclass(eq=False, kw_only=True)
class DecodeTask(Dataset[Any]):
    """What a decoding process works on: all images of one part, one size."""

    rows: Rows
    size: int
    shorter: int
    whole: bool
    levels: Levels | None
    megapixels: float

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, positions: list[int]) -> Batch:
        """One batch."""
        pixels, good, aspect, failed, wide = [], [], [], [], False
        least = self.size if self.whole else self.shorter
        for position, raw in zip(positions, self.rows.raw(positions), strict=True):
            try:
                image = open_image(raw, least, self.levels, self.megapixels)
                if self.whole:
                    pixels.append(squeezed_pixels(image, self.size))
                else:
                    pixels.append(centre_pixels(image, self.size, self.shorter))
            except WideError:
                wide = True
                continue
            # Pillow raises OSError, ValueError, SyntaxError, struct.error and more on damaged
            # files; whichever it is, the user learns the file and the reason.
            except Exception as error:
                failed.append((position, str(error) or type(error).__name__))
                continue
            good.append(position)
            aspect.append(image.width / image.height)
        stacked = np.stack(pixels) if pixels else np.zeros((0, 3, self.size, self.size), np.uint8)
        return Batch(stacked, np.array(good, np.int64), np.array(aspect, np.float32), failed, wide)

    def batches(self) -> Iterator[Batch]:
        """All of them, in order."""
        size = max(1, min(256, _BATCH_BYTES // (3 * self.size**2)))
        return _in_processes(self, size)


@dataclass(eq=False)
class ExtentTask(Dataset[Any]):
    """Looks for the least and the greatest value of images of more than 8 bits."""

    rows: Rows
    megapixels: float

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, positions: list[int]) -> tuple[Extent, Extent]:
        """Of the images of 8 bits, and of the wide ones; damaged ones are reported when decoded."""
        narrow, wide = [], []
        for position, raw in zip(positions, self.rows.raw(positions), strict=True):
            try:
                with opened(raw, self.megapixels) as image:
                    if not is_wide(image):
                        narrow.append(Extent(1, example=self.rows.name(position)))
                        continue
                    colours = {"RGBA": 3, "LA": 1}.get(image.mode)
                    values = wide_values(image)
                    values = values if colours is None else values[..., :colours]
                    low, high = float(values.min()), float(values.max())
                    wide.append(Extent(1, low, high, self.rows.name(position)))
            except Exception:
                continue
        return Extent.together(narrow), Extent.together(wide)

    def found(self) -> tuple[Extent, Extent]:
        """Of all images."""
        pairs = list(_in_processes(self, _SCANNED))
        return Extent.together(n for n, _ in pairs), Extent.together(w for _, w in pairs)


def _same(batch: Any) -> Any:
    """Not made tensors: these would need shared memory, of which containers have little."""
    return batch


def _in_processes(task: Dataset[Any], size: int) -> Iterator[Any]:
    workers = allowed_cpus()
    if workers == 1 or len(task) < _FEW:  # type: ignore[arg-type]
        workers = 0  # in this process: others take longer to start than they save
    loader: DataLoader[Any] = DataLoader(
        task, batch_size=size, num_workers=workers, collate_fn=_same
    )
    try:
        yield from loader
    except (OSError, RuntimeError) as error:  # the latter when a process was killed
        raise PnagError(
            f"cannot decode the images: {error}; there may be too little memory: close other "
            "programs or take smaller images"
        ) from error
