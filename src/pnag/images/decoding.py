"""All images of a source decoded into the files of a cache."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from pnag.errors import PnagError
from pnag.files import write_json, writing
from pnag.images.alike import Alike
from pnag.images.decode import INTERPOLATION, MEGAPIXELS, RESIZE, opened
from pnag.images.decode_task import DecodeTask, ExtentTask
from pnag.images.image_files import by_suffix
from pnag.images.levels import Extent, Levels, is_wide, levels_of
from pnag.images.parts import PARTS, PartName, choose_classes, split_parts
from pnag.images.rows import Opened, Rows, Source

TRAIN_MARGIN = 1.25
_PROBED = 200
OTHER_FOLDER = "choose another folder for the decoded images: --cache, or TMPDIR for pnag export"
Show = Callable[[int, int], None]


@dataclass(frozen=True)
class Choices:
    """What decides, besides the resolution, what becomes of a source's images.

    Attributes:
        classes: this many, drawn by `seed`; all of them if None.
        on_corrupt: refuse or skip.
        megapixels: that an image may have at most.
        levels: which values of more than 8 bits become black and white; if None, the images say it.
    """

    classes: int | None = None
    seed: int = 0
    on_corrupt: str = "refuse"
    megapixels: float = MEGAPIXELS
    levels: Levels | None = None


@dataclass(frozen=True)
class _Sizes:
    """How images become squares; see `pnag.images.images`.

    Attributes:
        margin: pixels of a square to train on.
    """

    resolution: int
    small: bool
    shorter: int
    margin: int

    @classmethod
    def of(cls, typical: int, resolution: int | None) -> _Sizes:
        resolution = resolution or suited_resolution(typical)
        if typical <= resolution * RESIZE:
            return cls(resolution, True, resolution, resolution)
        return cls(resolution, False, round(resolution * RESIZE), round(resolution * TRAIN_MARGIN))

    def side(self, part: str) -> int:
        """Of the squares that are kept."""
        return self.margin if part == "train" else self.resolution


def decode_parts(
    found: Source,
    source: str,
    resolution: int | None,
    choices: Choices,
    partial: Path,
    progress: Show,
) -> None:
    """Decode a source into the folder `partial`.

    Raises:
        PnagError: names what is wrong with the source or an image.
    """
    scratch = partial / "scratch"
    _check_space(partial, found.scratch_bytes, "a temporary copy of the Parquet files needs")
    chosen = choose_classes(found.open(scratch), choices.classes, choices.seed, source)
    parts, notes = split_parts(chosen, choices.seed, source)
    notes = [*chosen.notes, *notes]
    probed = _probe(parts["train"], choices.megapixels)
    sizes = _Sizes.of(probed.typical, resolution)
    if probed.typical < sizes.resolution:
        notes.append(
            f"images are typically {probed.typical} pixels, smaller than the resolution "
            f"{sizes.resolution}: they are enlarged, which takes time and adds no detail, and pays "
            "only where the supernet starts from weights of larger images (--start)"
        )
    needed = sum(3 * sizes.side(name) ** 2 * len(rows) for name, rows in parts.items())
    _check_space(partial, needed, "the decoded images need")
    work = _Decoding(source, chosen, parts, sizes, choices, partial, progress)
    decoded = work.decode_by_levels(probed.wide)
    shutil.rmtree(scratch, ignore_errors=True)
    description = {
        "classes": chosen.classes,
        "parts": {
            name: {"count": decoded.counts[name], "size": sizes.side(name)} for name in PARTS
        },
        "preprocessing": work.preprocessing(decoded),
        "small": sizes.small,
        "mirror": found.mirror,
        "notes": [*notes, *decoded.notes],
        "skipped": decoded.skipped,
    }
    write_json(partial / "images.json", description)


@dataclass
class _Decoded:
    """What came of all parts.

    Attributes:
        levels: by which images of more than 8 bits were decoded.
        counts: images by part.
        histogram: (3, 256) counts of the train part's values.
        skipped: images that could not be decoded, each with the reason; their files.
    """

    levels: Levels | None
    counts: dict[str, int] = field(default_factory=dict)
    histogram: NDArray[np.int64] = field(default_factory=lambda: np.zeros((3, 256), np.int64))
    skipped: list[str] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class _UnknownLevelsError(Exception):
    """An image has more than 8 bits, and it is not known which values are black and white."""


@dataclass(frozen=True)
class _Decoding:
    """All parts of a source, and how and where they are decoded."""

    source: str
    chosen: Opened
    parts: dict[str, Rows]
    sizes: _Sizes
    choices: Choices
    partial: Path
    progress: Show

    def decode_by_levels(self, wide: bool) -> _Decoded:
        """Write the files of all parts, after finding levels if they are needed.

        Args:
            wide: whether it is known that there is an image of more than 8 bits.

        Raises:
            PnagError: as `find_levels` and `decode`.
        """
        if self.choices.levels is not None or not wide:
            with contextlib.suppress(_UnknownLevelsError):  # none of those probed was wide
                return self.decode(self.choices.levels)
        levels, note = self.find_levels()
        decoded = self.decode(levels)
        decoded.notes.insert(0, note)
        return decoded

    def preprocessing(self, decoded: _Decoded) -> dict[str, Any]:
        """How images become a network's input, for `Preprocessing`."""
        mean, std = _moments(decoded.histogram)
        levels = decoded.levels
        return {
            "resolution": self.sizes.resolution,
            "shorter": self.sizes.shorter,
            "mean": mean,
            "std": std,
            "interpolation": INTERPOLATION,
            "levels": [levels.low, levels.high] if levels else None,
        }

    def find_levels(self) -> tuple[Levels, str]:
        """One range for the wide images of all parts, and what to say about it.

        Raises:
            PnagError: if there is none that suits all.
        """
        tasks = [ExtentTask(self.parts[name], self.choices.megapixels) for name in PARTS]
        narrow, wide = zip(*(task.found() for task in tasks), strict=True)
        found = {"narrow": Extent.together(narrow), "wide": Extent.together(wide)}
        return levels_of(found, self.source)

    def decode(self, levels: Levels | None) -> _Decoded:
        """Write the files of all parts.

        Raises:
            _UnknownLevelsError: for an image of more than 8 bits without levels.
            PnagError: for an image that cannot be decoded, if these are refused, a class that
                none is left of, or images that are all the same.
        """
        decoded = _Decoded(levels)
        for name in PARTS:
            self._decode_part(name, levels, decoded)
        if decoded.skipped:
            decoded.notes.append(
                f"{len(decoded.skipped)} image(s) could not be decoded and are left out"
            )
        if decoded.files:
            decoded.notes.append(f"left out, by suffix: {by_suffix(decoded.files)}")
        return decoded

    def _decode_part(self, name: PartName, levels: Levels | None, decoded: _Decoded) -> None:
        rows, classes = self.parts[name], self.chosen.classes
        task = DecodeTask(
            rows=rows,
            size=self.sizes.side(name),
            shorter=self.sizes.shorter,
            whole=name == "train" and not self.sizes.small,
            levels=levels,
            megapixels=self.choices.megapixels,
        )
        alike = Alike(rows) if name == "train" else None
        labels: list[NDArray[np.int64]] = []
        aspects: list[NDArray[np.float32]] = []
        before = sum(decoded.counts.values()) + len(decoded.skipped)
        with writing(self.partial, OTHER_FOLDER), self._file(f"{name}.u8") as file:
            for batch in task.batches():
                if batch.wide:
                    raise _UnknownLevelsError
                self._skip(rows, batch.failed, decoded)
                _write(file, batch.pixels)
                labels.append(rows.labels[batch.positions])
                aspects.append(batch.aspect)
                if alike is not None:
                    alike.add(batch.pixels, batch.positions)
                    _count(batch.pixels, decoded.histogram)
                before += len(batch.positions) + len(batch.failed)
                self.progress(before, sum(map(len, self.parts.values())))
            _to_disk(file)
        decoded.counts[name] = sum(map(len, labels))
        _check_classes(name, labels, classes, self.source)
        if alike is not None:
            decoded.notes += alike.notes(classes, self.source)
        with writing(self.partial, OTHER_FOLDER):
            for what, arrays in (("labels", labels), ("aspect", aspects)):
                with self._file(f"{name}-{what}.npy") as file:
                    np.save(file, np.concatenate(arrays))
                    _to_disk(file)

    def _file(self, name: str) -> BinaryIO:
        return (self.partial / name).open("wb")

    def _skip(self, rows: Rows, failed: list[tuple[int, str]], decoded: _Decoded) -> None:
        for position, reason in failed:
            text = f"{rows.name(position)}: {reason}"
            if self.choices.on_corrupt == "refuse":
                raise PnagError(
                    f"cannot decode an image of {self.source}: {text}; replace it, or leave "
                    "such images out with --on-corrupt skip"
                )
            decoded.skipped.append(text)
            if file := rows.file(position):
                decoded.files.append(Path(file))


@dataclass(frozen=True)
class _Probed:
    """Of images spread over a part.

    Attributes:
        typical: their median shorter side, in pixels; 0 if none can be read.
        wide: whether one of them has more than 8 bits.
    """

    typical: int
    wide: bool


def _probe(rows: Rows, megapixels: float) -> _Probed:
    spread = np.unique(np.linspace(0, len(rows) - 1, _PROBED).astype(int))
    sides, wide = [], False
    for raw in rows.raw(spread):
        # Damaged images are reported when they are decoded.
        with contextlib.suppress(Exception), opened(raw, megapixels) as image:
            sides.append(min(image.size))
            wide = wide or is_wide(image)
    return _Probed(int(np.median(sides)) if sides else 0, wide)


def suited_resolution(shorter: int) -> int:
    """For images of a typical shorter side: the next multiple of 32, at most 224.

    The networks halve their maps five times.
    """
    return min(224, max(32, -(-shorter // 32) * 32))


def own_resolution(found: Source, source: str, choices: Choices, scratch: Path) -> tuple[int, int]:
    """The resolution that `decode_parts` takes where none is given, and how many classes there are.

    Args:
        scratch: a folder for temporary files.
    """
    _check_space(scratch, found.scratch_bytes, "a temporary copy of the Parquet files needs")
    chosen = choose_classes(found.open(scratch), choices.classes, choices.seed, source)
    parts, _ = split_parts(chosen, choices.seed, source)
    probed = _probe(parts["train"], choices.megapixels)
    return suited_resolution(probed.typical), len(chosen.classes)


def _check_classes(
    part: str, labels: list[NDArray[np.int64]], classes: tuple[str, ...], source: str
) -> None:
    counts = np.bincount(np.concatenate([*labels, np.zeros(0, np.int64)]), minlength=len(classes))
    if counts.sum() == 0 or (part == "train" and counts.min() == 0):
        which = f"of class {classes[int(counts.argmin())]!r}" if counts.sum() else "at all"
        raise PnagError(
            f"{source}: no image {which} in part {part} can be decoded; replace the damaged files"
        )


def _count(pixels: NDArray[np.uint8], histogram: NDArray[np.int64]) -> None:
    for channel, counts in enumerate(histogram):
        counts += np.bincount(pixels[:, channel].ravel(), minlength=256)


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
