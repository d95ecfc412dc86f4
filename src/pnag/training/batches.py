"""Batches from decoded images: shuffled, augmented and normalised as whole tensors.

Everything random follows from (seed, epoch, step) alone, so a run that was killed goes on with the
very batches it would have seen, and N processes together see the batches of one.

Cropping and flipping are done here, on batches, and not with the per-image transforms of
torchvision or timm: on one thread those make 7,000 images of 32 x 32 a second and these 32,000
(`benchmarks/augment.py`), and their random numbers come from global state, which a resumed run
would have to restore for each of its worker processes.
Mixup, CutMix and random erasing are timm's, which work on batches; they are given the
random state of their step.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from timm.data.mixup import Mixup
from timm.data.random_erasing import RandomErasing
from torch import Tensor
from torch.nn import functional as F

from pnag.errors import PnagError
from pnag.training.images import ImageData, PartName, Preprocessing
from pnag.training.splits import subset

# The first of the numbers that a random generator is seeded with: apart for each use.
_SHUFFLE, _AUGMENT, _MIX, _SUBSET = range(4)
_GREY = (0.299, 0.587, 0.114)
# Of a random window that fits into the image, as torchvision makes.
_ATTEMPTS = 10


@dataclass(frozen=True)
class Augmentation:
    """What is done to training images.

    Attributes:
        flip: mirror every other image (`ImageData.mirror` is false where that changes the class).
        scale: least and greatest share of a large image's area that a crop covers.
        ratio: least and greatest width / height of such a crop.
        padding: of small images, as a share of the resolution, before a crop of R x R.
        colour: brightness, contrast and saturation are each scaled by up to 1 - or 1 + this.
        mixup, cutmix: alpha of timm's, 0 for none; labels become (B, classes) shares. Images are
            mixed within one process' share of the batch.
        erase: probability of timm's random erasing.
    """

    flip: bool = True
    scale: tuple[float, float] = (0.35, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    padding: float = 1 / 8
    colour: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    erase: float = 0.0


def steps_per_epoch(data: ImageData, batch_size: int) -> int:
    """Whole batches in the train part; a last one that is not full is left out.

    Raises:
        PnagError: if there is none.
    """
    steps = len(data.train) // batch_size if batch_size > 0 else 0
    if not steps:
        raise PnagError(
            f"the batch size is {batch_size}, needs to be between 1 and the {len(data.train)} "
            "images to train on"
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
    augment: Augmentation | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """The steps `start`, `start` + 1, ... of an epoch: images and labels.

    Images are (B, 3, R, R) float32, channels last, normalised; labels (B,) int64, or (B, classes)
    float32 with mixup or CutMix. B is `batch_size` / `world_size`.

    Args:
        batch_size: of all processes together.
        rank, world_size: this process gets rows rank * B to (rank + 1) * B of each batch.
        device: where images are augmented and handed over.
        augment: flips, where the data allow it, and crops if None.

    Raises:
        PnagError: if the batch size does not suit the images, the processes or mixing.
    """
    augment = augment or Augmentation(flip=data.mirror)
    steps = steps_per_epoch(data, batch_size)
    if batch_size % world_size:
        raise PnagError(
            f"the batch size is {batch_size}, needs to be a multiple of the {world_size} processes"
        )
    share = batch_size // world_size
    mixing = bool(augment.mixup or augment.cutmix)
    if mixing and share % 2:
        raise PnagError(f"mixup and CutMix pair images: a process' batch of {share} must be even")
    return _train_batches(
        data, batch_size, epoch, seed, range(start, steps), slice(rank * share, (rank + 1) * share),
        torch.device(device), augment,
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
            raise PnagError(f"the {name} is {value}, needs at least 1 image")
    return _eval_batches(data, part, batch_size, limit, seed, torch.device(device))


def _eval_batches(
    data: ImageData,
    name: PartName,
    batch_size: int,
    limit: int | None,
    seed: int,
    device: torch.device,
) -> Iterator[tuple[Tensor, Tensor]]:
    part = data.part(name)
    rows = np.arange(len(part))
    if limit is not None and limit < len(part):
        rows = subset(part.labels, limit, np.random.default_rng([_SUBSET, seed]))
    for first in range(0, len(rows), batch_size):
        some = rows[first : first + batch_size]
        images = _to(part.images[some], device)
        if images.shape[-1] != data.preprocessing.resolution:
            images = _windows(images, *_centre(part.aspect[some], data.preprocessing), data)
        yield _normalise(images, data), _to(part.labels[some], device)


def _train_batches(
    data: ImageData,
    batch_size: int,
    epoch: int,
    seed: int,
    steps: range,
    own: slice,
    device: torch.device,
    augment: Augmentation,
) -> Iterator[tuple[Tensor, Tensor]]:
    order = np.random.default_rng([_SHUFFLE, seed, epoch]).permutation(len(data.train))
    mixup = None
    if augment.mixup or augment.cutmix:
        mixup = Mixup(
            augment.mixup, augment.cutmix, label_smoothing=0.0, num_classes=len(data.classes)
        )
    eraser = RandomErasing(augment.erase, device=device)
    for step in steps:
        rows = order[step * batch_size : (step + 1) * batch_size]
        # Drawn for the batch of all processes, of which each takes its rows.
        rng = np.random.default_rng([_AUGMENT, seed, epoch, step])
        uniform = rng.random((6 + 2 * _ATTEMPTS, batch_size), np.float32)[:, own]
        rows = rows[own]
        images = _to(data.train.images[rows], device)
        labels = _to(data.train.labels[rows], device)
        flip = torch.from_numpy(uniform[0] < 0.5 if augment.flip else np.zeros(len(rows), bool))
        flip = flip.to(device, non_blocking=True)
        if data.small:
            images = _shift(images, uniform[4:6], augment)
        else:
            windows = _random_windows(data.train.aspect[rows], uniform[4:], augment)
            images = _windows(images, *windows, data)
        images = torch.where(flip[:, None, None, None], images.flip(-1), images)
        if augment.colour:
            images = _colour(images, uniform[1:4], augment.colour)
        images = _normalise(images, data)
        if mixup or augment.erase:
            # Of all processes alike for mixing, so that its weight is one for the whole batch.
            with _global_state([_MIX, seed, epoch, step]):
                if mixup:
                    images, labels = mixup(images, labels)
            with _global_state([_MIX, seed, epoch, step, own.start + 1]):
                if augment.erase:
                    images = eraser(images)
        yield images, labels


def _to(array: NDArray[np.generic], device: torch.device) -> Tensor:
    tensor = torch.from_numpy(array)
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def _shift(images: Tensor, uniform: NDArray[np.float32], augment: Augmentation) -> Tensor:
    """(B, 3, R, R) uint8, each moved by up to the padding in both directions; black moves in."""
    size = images.shape[-1]
    pad = round(size * augment.padding)
    windows = F.pad(images, (pad, pad, pad, pad)).unfold(2, size, 1).unfold(3, size, 1)
    top, left = torch.from_numpy((uniform * (2 * pad + 1)).astype(np.int64)).to(images.device)
    return windows[torch.arange(len(images), device=images.device), :, top, left]


Windows = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]


def _random_windows(
    aspect: NDArray[np.float32], uniform: NDArray[np.float32], augment: Augmentation
) -> Windows:
    """Random resized crops: centres (x, y), widths and heights, each (B,), as shares of the image.

    As torchvision's `RandomResizedCrop`, drawn again while wider or higher than the image; what
    never fits is cut down to it.

    Args:
        uniform: (2 + 2 * attempts, B) between 0 and 1.
    """
    least, greatest = augment.scale
    area = least + (greatest - least) * uniform[2 : 2 + _ATTEMPTS]
    low, high = np.log(augment.ratio)
    ratio = np.exp(low + (high - low) * uniform[2 + _ATTEMPTS :])
    widths = np.sqrt(area * ratio / aspect)
    heights = np.sqrt(area / ratio * aspect)
    first = np.argmax((widths <= 1) & (heights <= 1), axis=0)
    each = np.arange(len(aspect))
    width = np.minimum(widths[first, each], 1)
    height = np.minimum(heights[first, each], 1)
    return (
        width / 2 + (1 - width) * uniform[0],
        height / 2 + (1 - height) * uniform[1],
        width,
        height,
    )


def _centre(aspect: NDArray[np.float32], how: Preprocessing) -> Windows:
    """The windows that evaluation looks at."""
    side = np.float32(how.resolution / how.shorter)
    middle = np.full_like(aspect, 0.5)
    return middle, middle, side * np.minimum(1, 1 / aspect), side * np.minimum(1, aspect)


def _windows(
    images: Tensor,
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    width: NDArray[np.float32],
    height: NDArray[np.float32],
    data: ImageData,
) -> Tensor:
    """A window of each of (B, 3, S, S) uint8 images, as (B, 3, R, R) float32 from 0 to 255."""
    theta = np.zeros((len(x), 2, 3), np.float32)
    theta[:, 0, 0], theta[:, 0, 2] = width, 2 * x - 1
    theta[:, 1, 1], theta[:, 1, 2] = height, 2 * y - 1
    size = data.preprocessing.resolution
    grid = F.affine_grid(
        torch.from_numpy(theta).to(images.device), [len(images), 3, size, size], align_corners=False
    )
    return F.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)


def _colour(images: Tensor, uniform: NDArray[np.float32], strength: float) -> Tensor:
    """Brightness, contrast and saturation of (B, 3, R, R) from 0 to 255 each scaled at random."""
    factors = torch.from_numpy(1 + strength * (2 * uniform - 1)).to(images.device)
    brightness, contrast, saturation = factors[:, :, None, None, None]
    weights = torch.tensor(_GREY, device=images.device)[:, None, None]
    images = (images.float() * brightness).clamp(0, 255)
    middle = (images * weights).sum(1, keepdim=True).mean((2, 3), keepdim=True)
    images = torch.lerp(middle, images, contrast).clamp(0, 255)
    grey = (images * weights).sum(1, keepdim=True)
    return torch.lerp(grey, images, saturation).clamp(0, 255)


def _normalise(images: Tensor, data: ImageData) -> Tensor:
    """(B, 3, R, R) pixels from 0 to 255 as float32 of the train part's mean 0 and deviation 1."""
    how = data.preprocessing
    mean, std = (
        255 * torch.tensor(value, device=images.device)[:, None, None]
        for value in (how.mean, how.std)
    )
    images = images.to(torch.float32, memory_format=torch.channels_last)
    return images.sub_(mean).div_(std)


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
