"""Images decoded once, into memory-mapped uint8 arrays that every epoch and every subnet reads.

What is kept depends on how large the images typically are (the median shorter side of 200 of them,
so that deployment has one rule for all images):

- **small** (at most 8/7 of the resolution R, such as CIFAR-10 at 32): each image is resized to
  shorter side R and its middle R x R is kept, for training too, which then crops with padding.
- **large**: for validation and test the shorter side is resized to R * 8/7 (256 for 224) and the
  middle R x R is kept. For training the *whole* image is kept, squeezed to a square of 1.25 R;
  the original's aspect ratio is kept with it, so a random resized crop draws the same windows as on
  the original, and one of average size is still cut from about R pixels.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from pnag.errors import PnagError
from pnag.files import fingerprint, one_at_a_time, read_json, writing
from pnag.images.decode import INTERPOLATION, MEGAPIXELS
from pnag.images.decoding import OTHER_FOLDER, Choices, decode_parts
from pnag.images.levels import Levels
from pnag.images.look import looked_at, split_hash
from pnag.images.parts import PartName
from pnag.images.rows import Source


@dataclass(frozen=True)
class Preprocessing:
    """How a network's input is made from an image, in training, evaluation and deployment.

    Attributes:
        resolution: R; the middle R x R pixels are cut out ...
        shorter: ... after the shorter side was resized to this many pixels, which is at least R.
        interpolation: of the resizing.
        mean, std: per channel (R, G, B) of the train part, on a scale where white is 1.
        levels: values of images of more than 8 bits that become black and white; None if all have
            8 bits.
    """

    resolution: int
    shorter: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = INTERPOLATION
    levels: tuple[float, float] | None = None


@dataclass(frozen=True)
class ImagePart:
    """One part's images.

    Attributes:
        images: (N, 3, S, S) uint8, memory-mapped and read-only; S is the resolution, or 1.25 of it
            for the train part of large images.
        labels: (N,) in 0..classes-1.
        aspect: (N,) width / height of the originals.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    aspect: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.labels)

    def __reduce__(self) -> tuple[Any, ...]:
        # To another process goes the file's name, not the pixels.
        images = self.images
        if isinstance(images, np.memmap) and images.filename is not None:
            return _mapped, (str(images.filename), images.shape, self.labels, self.aspect)
        return ImagePart, (images, self.labels, self.aspect)


def _mapped(
    path: str, shape: tuple[int, ...], labels: NDArray[np.int64], aspect: NDArray[np.float32]
) -> ImagePart:
    try:
        return ImagePart(np.memmap(path, np.uint8, "r", shape=shape), labels, aspect)
    except (OSError, ValueError) as error:
        raise PnagError(
            f"a process cannot read the decoded images {path}: {error}; choose with --cache a "
            "folder that all machines see under the same path"
        ) from error


@dataclass(frozen=True)
class ImageData:
    """Decoded images in three parts.

    Attributes:
        identity: a hash of what the source's files hold and of all that decides what became of
            it; the same wherever the source lies.
        split: a hash of what decides which image is in which part: the files, the choice of
            classes and the seed.
        source: as it was named.
        classes: names, in the order of the labels.
        small: whether images are about as small as the resolution (see the module).
        mirror: whether a mirrored image is still an image of its class.
        notes: what a user should know about how the parts came about.
        skipped: images that could not be decoded, each with the reason.
    """

    identity: str
    split: str
    source: str
    classes: tuple[str, ...]
    train: ImagePart
    validation: ImagePart
    test: ImagePart
    preprocessing: Preprocessing
    small: bool
    mirror: bool
    notes: tuple[str, ...]
    skipped: tuple[str, ...]

    def part(self, name: PartName) -> ImagePart:
        """The part of that name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}[name]


def load_images(
    source: str,
    *,
    resolution: int | None,
    cache: Path,
    classes: int | None = None,
    seed: int = 0,
    on_corrupt: Literal["refuse", "skip"] = "refuse",
    max_megapixels: float = MEGAPIXELS,
    levels: Sequence[float] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    reading: Callable[[int, int], None] = lambda done, total: None,
) -> ImageData:
    """Decode a source's images into `cache`, or take them from there.

    The train part is split 80/20 into train and validation, class by class; a part `val` of the
    source is the validation part if there is a `test` too, else it is the test part (the paper
    tests on ImageNet's validation set). A source without either has 20 % held out for test first.

    A stop midway leaves nothing that counts as a cache: the next call starts over. Several
    processes may call this at once; one decodes and the others wait for it.

    Args:
        source: a folder of class folders, of parts with class folders in them, or of images with
            a list of their classes; Parquet or tar files or a folder of them; a name on the
            Hugging Face hub; or `digits`. `docs/images.md` has all layouts.
        resolution: of the networks' input, in pixels; `suited_resolution` if None.
        cache: folder that gets a folder of its own for these images and settings.
        classes: this many classes, drawn by `seed`; all of them if None.
        on_corrupt: what to do with an image that cannot be decoded: stop and name it, or leave it
            out and count it.
        max_megapixels: million pixels; an image of more cannot be decoded.
        levels: the values of images of more than 8 bits that become black and white, as other
            images of their kind have them; the least and the greatest there are, if None.
        progress: called with how many images of how many are decoded.
        reading: called with how many files of how many are read, where their contents matter.

    Raises:
        PnagError: names what is wrong with the source, an image, a setting or the cache.
    """
    if resolution is not None and resolution < 8:
        raise PnagError(f"the resolution must be at least 8 pixels, not {resolution}")
    if classes is not None and classes < 2:
        raise PnagError(f"classes must be at least 2, not {classes}")
    found, holds = looked_at(source, cache, reading)
    asked = Levels(*map(float, levels)) if levels else None
    choices = Choices(classes, seed, on_corrupt, max_megapixels, asked)
    wanted = _Wanted(source, holds, choices, resolution)
    # What is asked for by name may have been decoded when it was left open.
    for other in wanted.left_open():
        data = other.read(cache)
        if data is not None and wanted.suits(data.preprocessing):
            return data
    with one_at_a_time(cache / f".{wanted.key()}.lock", OTHER_FOLDER):
        return wanted.read(cache) or _decoded(found, wanted, cache, progress)


def _decoded(
    found: Source,
    wanted: _Wanted,
    cache: Path,
    progress: Callable[[int, int], None],
) -> ImageData:
    """What is decoded now, into a folder of another name until all is there."""
    folder, partial = cache / wanted.key(), cache / f".{wanted.key()}.partial"
    for stale in (partial, folder):  # of a run that was stopped, or damaged later
        shutil.rmtree(stale, ignore_errors=True)
    _remove_abandoned(cache)
    try:
        with writing(partial, OTHER_FOLDER):
            partial.mkdir()
        decode_parts(found, wanted.source, wanted.resolution, wanted.choices, partial, progress)
        with writing(folder, OTHER_FOLDER):
            partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    data = wanted.read(cache)
    if data is None:
        raise PnagError(
            f"the decoded images {folder} were damaged as soon as they were written; check the "
            f"disk or {OTHER_FOLDER}"
        )
    return data


def _remove_abandoned(cache: Path) -> None:
    """Remove what killed processes left half decoded: gigabytes that nothing else would find."""
    for left in cache.glob(".*.partial"):
        lock = FileLock(left.with_suffix(".lock"))
        with contextlib.suppress(Timeout), lock.acquire(timeout=0):
            shutil.rmtree(left, ignore_errors=True)


@dataclass(frozen=True)
class _Wanted:
    """Images to decode, or that have been.

    Attributes:
        holds: what identifies the source's images.
        resolution: None is for one that the images decide, as is None for levels.
    """

    source: str
    holds: list[Any]
    choices: Choices
    resolution: int | None

    def left_open(self) -> list[_Wanted]:
        """The same images, where they decide something that is asked for here."""
        open_levels = replace(self.choices, levels=None)
        others = (
            replace(self, resolution=None),
            replace(self, choices=open_levels),
            replace(self, resolution=None, choices=open_levels),
        )
        return [other for other in others if other != self]

    def suits(self, how: Preprocessing) -> bool:
        """Whether that is what is asked for."""
        levels = self.choices.levels
        return self.resolution in (None, how.resolution) and (
            levels is None or how.levels == (levels.low, levels.high)
        )

    def key(self, how: Preprocessing | None = None) -> str:
        """The name of their folder, or, by what was decided, their identity."""
        resolution, choices = self.resolution, self.choices
        if how is not None:
            levels = Levels(*how.levels) if how.levels else None
            resolution, choices = how.resolution, replace(choices, levels=levels)
        return fingerprint([*self.holds, resolution, asdict(choices)])

    def read(self, cache: Path) -> ImageData | None:
        """What was decoded into their folder; None if it is not there, or damaged."""
        folder = cache / self.key()
        if not (folder / "images.json").exists():
            return None
        try:
            text = read_json(folder / "images.json")
            parts = {name: _read_part(folder, name, part) for name, part in text["parts"].items()}
            how = text["preprocessing"]
            preprocessing = Preprocessing(
                how["resolution"],
                how["shorter"],
                tuple(how["mean"]),
                tuple(how["std"]),
                how["interpolation"],
                tuple(how["levels"]) if how["levels"] else None,
            )
            return ImageData(
                self.key(preprocessing),
                split_hash(self.holds, self.choices.classes, self.choices.seed),
                self.source,
                tuple(text["classes"]),
                parts["train"],
                parts["validation"],
                parts["test"],
                preprocessing,
                text["small"],
                text["mirror"],
                tuple(text["notes"]),
                tuple(text["skipped"]),
            )
        except (PnagError, OSError, EOFError, ValueError, KeyError, TypeError):
            return None


def _read_part(folder: Path, name: str, part: dict[str, int]) -> ImagePart:
    count, size = part["count"], part["size"]
    pixels = folder / f"{name}.u8"
    labels, aspect = (np.load(folder / f"{name}-{what}.npy") for what in ("labels", "aspect"))
    if pixels.stat().st_size != count * 3 * size**2 or not count == len(labels) == len(aspect):
        raise ValueError(f"{name} does not have the size that it was written with")
    images = np.memmap(pixels, np.uint8, "r", shape=(count, 3, size, size))
    return ImagePart(images, labels, aspect)
