"""All images of a source decoded into the files of a cache."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from pnag.errors import PnagError
from pnag.files import write_json, writing
from pnag.training.decode import (
    INTERPOLATION,
    RESIZE,
    centre_pixels,
    open_image,
    shorter_side,
    squeezed_pixels,
)
from pnag.training.parts import PARTS, choose_classes, split_parts
from pnag.training.rows import Rows, Source

TRAIN_MARGIN = 1.25
_PROBED = 200
_BATCH_BYTES = 4 << 20
_FEW = 1000
OTHER_FOLDER = "choose another folder for the decoded images with --cache"


def decode_parts(
    found: Source,
    source: str,
    resolution: int | None,
    classes: int | None,
    seed: int,
    on_corrupt: str,
    workers: int | None,
    partial: Path,
    progress: Callable[[int, int], None],
) -> None:
    """Decode a source into the folder `partial`; arguments as of `load_images`."""
    scratch = partial / "scratch"
    _check_space(partial, found.scratch_bytes, "a temporary copy of the Parquet files needs")
    opened = choose_classes(found.open(scratch), classes, seed, source)
    parts, notes = split_parts(opened, seed, source)
    notes = [*opened.notes, *notes]
    typical = _typical_size(parts["train"])
    resolution = resolution or suited_resolution(typical)
    small = typical <= resolution * RESIZE
    shorter = resolution if small else round(resolution * RESIZE)
    margin = resolution if small else round(resolution * TRAIN_MARGIN)
    if typical < resolution:
        notes.append(
            f"images are typically {typical} pixels, smaller than the resolution {resolution}: "
            "they are enlarged, which costs time and adds no detail"
        )
    sizes = {"train": margin, "validation": resolution, "test": resolution}
    total = sum(map(len, parts.values()))
    needed = sum(3 * sizes[name] ** 2 * len(rows) for name, rows in parts.items())
    _check_space(partial, needed, "the decoded images need")
    skipped: list[str] = []
    histogram = np.zeros((3, 256), np.int64)
    counts = {}
    done = 0
    for name in PARTS:
        task = _Task(parts[name], sizes[name], shorter, whole=name == "train" and not small)
        labels: list[NDArray[np.int64]] = []
        aspects: list[NDArray[np.float32]] = []
        with writing(partial, OTHER_FOLDER), (partial / f"{name}.u8").open("wb") as file:
            for batch in _batches(task, workers):
                for position, reason in batch.failed:
                    text = f"{parts[name].name(position)}: {reason}"
                    if on_corrupt == "refuse":
                        raise PnagError(
                            f"cannot decode an image of {source}: {text}; replace or remove it, "
                            "or leave such images out with --on-corrupt skip"
                        )
                    skipped.append(text)
                _write(file, batch.pixels)
                labels.append(parts[name].labels[batch.positions])
                aspects.append(batch.aspect)
                if name == "train":
                    for channel in range(3):
                        histogram[channel] += np.bincount(
                            batch.pixels[:, channel].ravel(), minlength=256
                        )
                done += len(batch.positions) + len(batch.failed)
                progress(done, total)
            _to_disk(file)
        counts[name] = sum(map(len, labels))
        _check_classes(name, labels, opened.classes, source)
        with writing(partial, OTHER_FOLDER):
            for what, arrays in (("labels", labels), ("aspect", aspects)):
                with (partial / f"{name}-{what}.npy").open("wb") as file:
                    np.save(file, np.concatenate(arrays))
                    _to_disk(file)
    if skipped:
        notes.append(f"{len(skipped)} image(s) could not be decoded and are left out")
    mean, std = _moments(histogram)
    shutil.rmtree(scratch, ignore_errors=True)
    description = {
        "classes": opened.classes,
        "parts": {name: {"count": counts[name], "size": sizes[name]} for name in PARTS},
        "preprocessing": {
            "resolution": resolution,
            "shorter": shorter,
            "mean": mean,
            "std": std,
            "interpolation": INTERPOLATION,
        },
        "small": small,
        "mirror": found.mirror,
        "notes": notes,
        "skipped": skipped,
    }
    write_json(partial / "images.json", description)


@dataclass(frozen=True)
class _Batch:
    """Decoded images (B, 3, S, S), their positions and aspect ratios (B,); what failed and why."""

    pixels: NDArray[np.uint8]
    positions: NDArray[np.int64]
    aspect: NDArray[np.float32]
    failed: list[tuple[int, str]]


class _Task(Dataset[Any]):
    """What a decoding process works on: all images of one part, one size."""

    def __init__(self, rows: Rows, size: int, shorter: int, whole: bool) -> None:
        self.rows = rows
        self.size = size
        self.shorter = shorter
        self.whole = whole

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, positions: list[int]) -> _Batch:
        pixels, good, aspect, failed = [], [], [], []
        for position, raw in zip(positions, self.rows.raw(positions), strict=True):
            try:
                image = open_image(raw, self.size if self.whole else self.shorter)
                if self.whole:
                    pixels.append(squeezed_pixels(image, self.size))
                else:
                    pixels.append(centre_pixels(image, self.size, self.shorter))
            # Pillow raises OSError, ValueError, SyntaxError, struct.error and more on damaged
            # files; whichever it is, the user learns the file and the reason.
            except Exception as error:
                failed.append((position, str(error) or type(error).__name__))
                continue
            good.append(position)
            aspect.append(image.width / image.height)
        stacked = np.stack(pixels) if pixels else np.zeros((0, 3, self.size, self.size), np.uint8)
        return _Batch(stacked, np.array(good, np.int64), np.array(aspect, np.float32), failed)


def _same(batch: Any) -> Any:
    """Not made tensors: these would need shared memory, of which containers have little."""
    return batch


def _batches(task: _Task, workers: int | None) -> Iterator[_Batch]:
    if workers is None:
        workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    if workers == 1 or len(task) < _FEW:
        workers = 0  # in this process: others take longer to start than they save
    size = max(1, min(256, _BATCH_BYTES // (3 * task.size**2)))
    loader: DataLoader[Any] = DataLoader(
        task, batch_size=size, num_workers=workers, collate_fn=_same
    )
    try:
        yield from loader
    except (OSError, RuntimeError) as error:  # the latter when a process was killed
        raise PnagError(
            f"cannot decode the images: {error}; this may be for want of memory: close other "
            "programs or take smaller images"
        ) from error


def suited_resolution(shorter: int) -> int:
    """For images of a typical shorter side: the next multiple of 32, at most 224.

    The networks halve their maps five times.
    """
    return min(224, max(32, -(-shorter // 32) * 32))


def _typical_size(rows: Rows) -> int:
    """The median shorter side, in pixels, of images spread over the part; 0 if none can be read."""
    spread = np.unique(np.linspace(0, len(rows) - 1, _PROBED).astype(int))
    sides = []
    for raw in rows.raw(spread):
        with contextlib.suppress(Exception):  # damaged images are reported when they are decoded
            sides.append(shorter_side(raw))
    return int(np.median(sides)) if sides else 0


def _check_classes(
    part: str, labels: list[NDArray[np.int64]], classes: tuple[str, ...], source: str
) -> None:
    counts = np.bincount(np.concatenate([*labels, np.zeros(0, np.int64)]), minlength=len(classes))
    if counts.sum() == 0 or (part == "train" and counts.min() == 0):
        which = f"of class {classes[int(counts.argmin())]!r}" if counts.sum() else "at all"
        raise PnagError(
            f"{source}: no image {which} in part {part} can be decoded; replace the damaged files"
        )


def _moments(
    histogram: NDArray[np.int64],
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel from (3, 256) counts of pixel values."""
    values = np.arange(256) / 255
    weights = histogram / histogram.sum(1, keepdims=True)
    mean = weights @ values
    variance = weights @ values**2 - mean**2
    # Images of one colour must not be divided by zero; one grey level is as fine as they come.
    std = np.sqrt(np.maximum(variance, 1 / 255**2))
    return tuple(mean.tolist()), tuple(std.tolist())


def _write(file: BinaryIO, pixels: NDArray[np.uint8]) -> None:
    # Not through a memory map: on a full disk that ends the process with SIGBUS.
    file.write(np.ascontiguousarray(pixels).data)


def _to_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _check_space(folder: Path, needed: int, what: str) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise PnagError(
            f"{what} {needed / 1e9:.1f} GB in {folder.parent}, which has "
            f"{free / 1e9:.1f} GB free; free space, choose another folder with --cache, a smaller "
            "resolution or fewer classes"
        )
