"""Batches from decoded images: shuffled, augmented and normalised as whole tensors.

Everything random follows from (seed, epoch, step) alone, so a run that was killed resumes with
exactly the batches it would have seen. N processes together see the images of one, cropped and
flipped alike; but each mixes only its own share (mixup, CutMix), and erases other rectangles.

Cropping and flipping are done here, on batches, and not with the per-image transforms of
torchvision or timm: on one thread those make 7,000 images of 32 x 32 a second and these 48,000
(`benchmarks/augment.py`), and their random numbers come from global state, which a resumed run
would have to restore for each of its worker processes.
Mixup, CutMix and random erasing are timm's, which work on batches; they are given the
random state of their step.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from timm.data.mixup import Mixup
from timm.data.random_erasing import RandomErasing
from torch import Tensor

from pnag.errors import PnagError
from pnag.images.augment import (
    UNIFORM,
    augmented,
    centre_windows,
    chunks,
    cut,
    draw,
    empty,
    normalise,
)
from pnag.images.feed import Asked, Pixels
from pnag.images.images import ImageData
from pnag.images.parts import PartName
from pnag.images.splits import subset
from pnag.supernet.settings import Augmentation

# The first of the numbers that a random generator is seeded with: apart for each use.
_SHUFFLE, _AUGMENT, _MIX, _SUBSET = range(4)


def steps_per_epoch(data: ImageData, batch_size: int) -> int:
    """Whole batches in the train part; a last one that is not full is left out.

    Raises:
        PnagError: if there is none.
    """
    steps = len(data.train) // batch_size if batch_size > 0 else 0
    if not steps:
        raise PnagError(
            f"the batch size must be between 1 and the {len(data.train)} images to train on, "
            f"not {batch_size}"
        )
    return steps


def train_batches(
    data: ImageData,
    batch_size: int,
    *,
    epoch: int,
    seed: int,
    start: int = 0,
    rank: int = 0,
    world_size: int = 1,
    device: torch.device | str = "cpu",
    pixels: Pixels | None = None,
    augment: Augmentation | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """The steps `start`, `start` + 1, ... of an epoch: images and labels.

    Images are (B, 3, R, R) float32, channels last, normalised; labels (B,) int64, or (B, classes)
    float32 with mixup or CutMix. B is `batch_size` / `world_size`.

    Args:
        batch_size: of all processes together.
        rank, world_size: this process gets rows rank * B to (rank + 1) * B of each batch.
        device: where images are augmented and handed over.
        pixels: the train part's on that device, where they are used for more than one epoch.
        augment: flips and crops if None.

    Raises:
        PnagError: if the batch size does not suit the images, the processes or mixing.
    """
    augment = augment or Augmentation()
    steps = steps_per_epoch(data, batch_size)
    if batch_size % world_size:
        raise PnagError(
            f"the batch size must be a multiple of the {world_size} processes, not {batch_size}; "
            "change fit.batch_size"
        )
    share = batch_size // world_size
    mixing = bool(augment.mixup or augment.cutmix)
    if mixing and share % 2:
        raise PnagError(f"mixup and CutMix pair images: a process' batch of {share} must be even")
    pixels = pixels or Pixels(data.train, torch.device(device), share=0)
    return _train_batches(
        data, pixels, batch_size, epoch, seed, range(start, steps),
        slice(rank * share, (rank + 1) * share), augment,
    )  # fmt: skip


def eval_batches(
    data: ImageData,
    part: PartName,
    batch_size: int,
    *,
    limit: int | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> Iterator[tuple[Tensor, Tensor]]:
    """A part's images and labels, in the same order each time, without augmentation.

    Images are (B, 3, R, R) float32, channels last, normalised; labels (B,) int64; the last batch
    may be smaller. The train part comes as the others do, centre-cropped: for BN recalibration.

    Args:
        limit: this many images, each class with its share, the same ones for the same `seed`.

    Raises:
        PnagError: for a batch size or a limit below 1.
    """
    for name, value in (("batch size", batch_size), ("limit", limit)):
        if value is not None and value < 1:
            raise PnagError(f"the {name} must be at least 1 image, not {value}")
    labels = data.part(part).labels
    rows = np.arange(len(labels))
    if limit is not None and limit < len(labels):
        rows = subset(labels, limit, np.random.default_rng([_SUBSET, seed]))
    return eval_rows(data, part, rows, batch_size, device=device)


def eval_rows(
    data: ImageData,
    name: PartName,
    rows: NDArray[np.int64],
    batch_size: int,
    *,
    device: torch.device | str = "cpu",
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches as `eval_batches` gives them, of the rows (N,) of a part and in their order."""
    part, size = data.part(name), data.preprocessing.resolution
    cropped = part.images.shape[-1] != size

    def asked() -> Iterator[Asked]:
        for first in range(0, len(rows), batch_size):
            some = rows[first : first + batch_size]
            arrays: dict[str, NDArray[Any]] = {"labels": part.labels[some]}
            if cropped:
                windows = centre_windows(part.aspect[some], data.preprocessing)
                arrays["windows"] = np.ascontiguousarray(windows, np.float32)
            yield Asked(some, arrays)

    pixels = Pixels(part, torch.device(device), share=0)
    for images, arrays in pixels.batches(asked()):
        out = empty(images, size)
        for chunk in chunks(images):
            cut_out = images[chunk]
            if cropped:
                cut_out = cut(cut_out, arrays["windows"][:, chunk], size)
            normalise(cut_out, data.preprocessing, out[chunk])
        yield out, arrays["labels"]


def _train_batches(
    data: ImageData,
    pixels: Pixels,
    batch_size: int,
    epoch: int,
    seed: int,
    steps: range,
    own: slice,
    augment: Augmentation,
) -> Iterator[tuple[Tensor, Tensor]]:
    mixup = None
    if augment.mixup or augment.cutmix:
        mixup = Mixup(
            augment.mixup, augment.cutmix, label_smoothing=0.0, num_classes=len(data.classes)
        )
    eraser = RandomErasing(augment.erase, device=pixels.device)
    asked = _asked(data, batch_size, epoch, seed, steps, own, augment)
    for step, (images, drawn) in zip(steps, pixels.batches(asked), strict=True):
        labels = drawn["labels"]
        images = augmented(images, drawn, augment, data)
        if mixup or augment.erase:
            # Of all processes alike for mixing, so that its weight is one for the whole batch.
            with _global_state([_MIX, seed, epoch, step]):
                if mixup:
                    images, labels = mixup(images, labels)
            with _global_state([_MIX, seed, epoch, step, own.start + 1]):
                if augment.erase:
                    images = eraser(images)
        yield images, labels


def _asked(
    data: ImageData,
    batch_size: int,
    epoch: int,
    seed: int,
    steps: range,
    own: slice,
    augment: Augmentation,
) -> Iterator[Asked]:
    """Rows, labels and random choices of each step: all that a batch is made of but the pixels."""
    order = np.random.default_rng([_SHUFFLE, seed, epoch]).permutation(len(data.train))
    for step in steps:
        rows = order[step * batch_size : (step + 1) * batch_size][own]
        # Drawn for the batch of all processes, of which each takes its rows.
        rng = np.random.default_rng([_AUGMENT, seed, epoch, step])
        uniform = rng.random((UNIFORM, batch_size), np.float32)[:, own]
        drawn = draw(uniform, data.train.aspect[rows], augment, data)
        yield Asked(rows, {"labels": data.train.labels[rows], **drawn})


@contextlib.contextmanager
def _global_state(numbers: list[int]) -> Iterator[None]:
    """Seeds the global generators that timm draws from, and puts them back."""
    seed = np.random.SeedSequence(numbers).generate_state(1)[0]
    before, numpy_before = random.getstate(), np.random.get_state()
    random.seed(int(seed))
    np.random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)
        np.random.set_state(numpy_before)
