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
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from pnag.errors import PnagError
from pnag.files import fingerprint, read_json, write_json, writing
from pnag.training.contents import contents
from pnag.training.decode import (
    INTERPOLATION,
    RESIZE,
    centre_pixels,
    open_image,
    shorter_side,
    squeezed_pixels,
)
from pnag.training.sources import Opened, Rows, Source, find_source
from pnag.training.splits import hold_out

PartName = Literal["train", "validation", "test"]
PARTS: tuple[PartName, ...] = ("train", "validation", "test")

HELD_OUT = 0.2
TRAIN_MARGIN = 1.25
# The layout of the cache; raise it when the same source and settings give other pixels, or what
# tells sources apart changes.
_LAYOUT = 2
_PROBED = 200
_BATCH_BYTES = 4 << 20
_FEW = 1000
OTHER_FOLDER = "choose another folder for the decoded images with --cache"


@dataclass(frozen=True)
class Preprocessing:
    """How a network's input is made from an image, in training, evaluation and deployment.

    Attributes:
        resolution: R; the middle R x R pixels are cut out ...
        shorter: ... after the shorter side was resized to this many pixels, which is at least R.
        interpolation: of the resizing.
        mean, std: per channel (R, G, B) of the train part, on a scale where white is 1.
    """

    resolution: int
    shorter: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = INTERPOLATION


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
    workers: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    reading: Callable[[int, int], None] = lambda done, total: None,
) -> ImageData:
    """Decode a source's images into `cache`, or take them from there.

    The train part is split 80/20 into train and validation, class by class; a part `val` of the
    source is the validation part if there is a `test` too, else it is the test part (the paper
    tests on ImageNet's validation set). A source without either has 20 % held out for test first.

    A stop midway leaves nothing that counts as a cache: the next call starts anew. Several
    processes may call this at once; one decodes and the others wait for it.

    Args:
        source: a folder of class folders, or of train/, test/ and val/ with class folders in them;
            a folder of Parquet files whose names start with train, test or val; one Parquet file;
            a name on the Hugging Face hub; or `digits`.
        resolution: of the networks' input, in pixels; `suited_resolution` if None.
        cache: folder that gets a folder of its own for these images and settings.
        classes: this many classes, drawn by `seed`; all of them if None.
        on_corrupt: what to do with an image that cannot be decoded: stop and name it, or leave it
            out and count it.
        workers: processes that decode; one for each CPU if None.
        progress: told how many images of how many are decoded.
        reading: told how many files of how many are read, where it must be seen what they hold.

    Raises:
        PnagError: names what is wrong with the source, an image, a setting or the cache.
    """
    if resolution is not None and resolution < 8:
        raise PnagError(f"the resolution is {resolution}, needs at least 8 pixels")
    if classes is not None and classes < 2:
        raise PnagError(f"classes is {classes}, needs at least 2 to tell apart")
    found = find_source(source)
    with writing(cache, OTHER_FOLDER):
        cache.mkdir(parents=True, exist_ok=True)
        holds = [_LAYOUT, found.kind, contents(found.files, cache, reading)]
    wanted = _Wanted(source, holds, classes, seed, on_corrupt)
    # What is asked for by name may have been decoded when it was left open.
    data = wanted.read(cache, None) if resolution else None
    if data is not None and data.preprocessing.resolution == resolution:
        return data
    key = wanted.key(resolution)
    folder = cache / key
    with writing(cache, OTHER_FOLDER):
        lock = FileLock(cache / f".{key}.lock")
        lock.acquire()
    try:
        data = wanted.read(cache, resolution)
        if data is None:
            partial = cache / f".{key}.partial"
            for stale in (partial, folder):  # of a run that was stopped, or damaged later
                shutil.rmtree(stale, ignore_errors=True)
            try:
                with writing(partial, OTHER_FOLDER):
                    partial.mkdir()
                _decode(
                    found, source, resolution, classes, seed, on_corrupt, workers, partial, progress
                )
                with writing(folder, OTHER_FOLDER):
                    partial.replace(folder)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
            data = wanted.read(cache, resolution)
            if data is None:
                raise PnagError(
                    f"the decoded images {folder} are damaged as soon as they are written; check "
                    f"the disk or {OTHER_FOLDER}"
                )
    finally:
        lock.release()
    return data


# Choosing rows


def _choose_classes(opened: Opened, classes: int | None, seed: int, source: str) -> Opened:
    available = len(opened.classes)
    if available < 2:
        raise PnagError(
            f"{source} has one class ({', '.join(opened.classes)}); needs at least 2 to tell apart"
        )
    if classes is None or classes == available:
        return opened
    if classes > available:
        raise PnagError(f"classes is {classes}, and {source} has {available}; choose fewer")
    chosen = np.sort(np.random.default_rng(seed).choice(available, classes, replace=False))
    parts = {}
    for name, rows in opened.parts.items():
        kept = rows.take(np.isin(rows.labels, chosen))
        parts[name] = Rows(kept.images, kept.ids, np.searchsorted(chosen, kept.labels))
    return Opened(tuple(opened.classes[c] for c in chosen), parts, opened.notes)


def _split(opened: Opened, seed: int, source: str) -> tuple[dict[str, Rows], list[str]]:
    rng = np.random.default_rng(seed)
    notes = []
    parts = {name: rows for name, rows in opened.parts.items() if len(rows)}
    train = opened.parts["train"]
    if "test" not in parts and "validation" in parts:
        parts["test"] = parts.pop("validation")
        notes.append("the source's validation images are the test part; it has no test images")
    elif "validation" in parts:
        notes.append("the source's own validation images are used; train is not split")
    # One image of each class for each part that is cut from train, and one that stays.
    needed = 1 + ("test" not in parts) + ("validation" not in parts)
    counts = np.bincount(train.labels, minlength=len(opened.classes))
    if counts.min() < needed:
        worst = int(counts.argmin())
        raise PnagError(
            f"{source}: class {opened.classes[worst]!r} has {counts[worst]} image(s) to train on, "
            f"needs at least {needed} to be split; add images or remove the class"
        )
    for name in ("test", "validation"):
        if name in parts:
            continue
        out = hold_out(train.labels, HELD_OUT, rng)
        parts[name], train = train.take(out), train.take(~out)
        if name == "test":
            notes.append(f"the source has no test images: {HELD_OUT:.0%} of each class held out")
    return parts | {"train": train}, notes


# Decoding


def _decode(
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
    scratch = partial / "scratch"
    _check_space(partial, found.scratch_bytes, "a temporary copy of the Parquet files needs")
    opened = _choose_classes(found.open(scratch), classes, seed, source)
    parts, notes = _split(opened, seed, source)
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


# The cache on disk


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


@dataclass(frozen=True)
class _Wanted:
    """Images to decode, or that have been, at any resolution.

    Attributes:
        holds: what tells the source's images from others.
    """

    source: str
    holds: list[Any]
    classes: int | None
    seed: int
    on_corrupt: str

    def key(self, resolution: int | None) -> str:
        """The name of their folder; None is for a resolution that the images decide."""
        return fingerprint([*self.holds, resolution, self.classes, self.seed, self.on_corrupt])

    def read(self, cache: Path, resolution: int | None) -> ImageData | None:
        """What was decoded into their folder; None if it is not there, or damaged."""
        folder = cache / self.key(resolution)
        if not (folder / "images.json").exists():
            return None
        try:
            text = read_json(folder / "images.json")
            parts = {name: _read_part(folder, name, part) for name, part in text["parts"].items()}
            how = text["preprocessing"]
            return ImageData(
                self.key(how["resolution"]),
                fingerprint([*self.holds, self.classes, self.seed]),
                self.source,
                tuple(text["classes"]),
                parts["train"],
                parts["validation"],
                parts["test"],
                Preprocessing(
                    how["resolution"],
                    how["shorter"],
                    tuple(how["mean"]),
                    tuple(how["std"]),
                    how["interpolation"],
                ),
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
