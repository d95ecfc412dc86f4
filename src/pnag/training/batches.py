"""Batches from decoded images: shuffled, augmented and normalised as whole tensors.

Everything random follows from (seed, epoch, step) alone, so a run that was killed goes on with the
very batches it would have seen. N processes together see the images of one, cropped and flipped
alike; but each mixes only its own share (mixup, CutMix), and erases other rectangles.

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

import numpy as np
import torch
from numpy.typing import NDArray
from timm.data.mixup import Mixup
from timm.data.random_erasing import RandomErasing
from torch import Tensor
from torch.nn import functional as F

from pnag.errors import PnagError
from pnag.training.images import ImageData, Preprocessing
from pnag.training.parts import PartName
from pnag.training.settings import Augmentation
from pnag.training.splits import subset

# The first of the numbers that a random generator is seeded with: apart for each use.
_SHUFFLE, _AUGMENT, _MIX, _SUBSET = range(4)
_GREY = (0.299, 0.587, 0.114)
# Of a random window that fits into the image, as torchvision makes.
_ATTEMPTS = 10
# Values that are worked on at a time, by one thread.
_CHUNK = 1 << 19


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
        augment: flips and crops if None.

    Raises:
        PnagError: if the batch size does not suit the images, the processes or mixing.
    """
    augment = augment or Augmentation()
    steps = steps_per_epoch(data, batch_size)
    if batch_size % world_size:
        raise PnagError(
            f"the batch size is {batch_size}, needs to be a multiple of the {world_size} "
            "processes; change fit.batch_size"
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
    device = torch.device(device)
    part = data.part(name)
    for first in range(0, len(rows), batch_size):
        some = rows[first : first + batch_size]
        images = _to(part.images[some], device)
        windows = None
        size = data.preprocessing.resolution
        if images.shape[-1] != size:
            windows = _on(device, _centre(part.aspect[some], data.preprocessing))
        out = _empty(images, data)
        for chunk in _chunks(images):
            pixels = (
                images[chunk] if windows is None else _cut(images[chunk], windows[:, chunk], size)
            )
            _normalise(pixels, data, out[chunk])
        yield out, _to(part.labels[some], device)


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
        images = _augment(images, data.train.aspect[rows], uniform, augment, data)
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


def _on(device: torch.device, numbers: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(numbers, np.float32)).to(device)


def _empty(images: Tensor, data: ImageData) -> Tensor:
    size = data.preprocessing.resolution
    return torch.empty(
        (len(images), 3, size, size), device=images.device, memory_format=torch.channels_last
    )


def _chunks(images: Tensor) -> list[slice]:
    """Rows to work on at a time: on a CPU as many as stay in its cache, which is twice as fast."""
    count = len(images)
    size = count
    if images.device.type == "cpu":
        size = max(1, _CHUNK * torch.get_num_threads() // images[0].numel())
    return [slice(first, first + size) for first in range(0, count, size)]


def _augment(
    images: Tensor,
    aspect: NDArray[np.float32],
    uniform: NDArray[np.float32],
    augment: Augmentation,
    data: ImageData,
) -> Tensor:
    """(B, 3, S, S) uint8 cropped, flipped, coloured and normalised: (B, 3, R, R) float32.

    Args:
        uniform: (6 + 2 * attempts, B) between 0 and 1.
    """
    device = images.device
    flip = (uniform[0] < 0.5) & (augment.flip and data.mirror)
    factors = _on(device, 1 + augment.colour * (2 * uniform[1:4] - 1))
    windows = None
    if not data.small:
        x, y, width, height = _random_windows(aspect, uniform[4:], augment)
        windows = _on(device, np.stack([x, y, np.where(flip, -width, width), height]))
    flips = torch.from_numpy(flip).to(device)[:, None, None, None]
    offsets = _on(device, uniform[4:6])
    size = data.preprocessing.resolution
    out = _empty(images, data)
    for chunk in _chunks(images):
        pixels = images[chunk]
        if windows is None:
            pixels = _shift(pixels, offsets[:, chunk], augment)
            pixels = torch.where(flips[chunk], pixels.flip(-1), pixels)
        else:
            pixels = _cut(pixels, windows[:, chunk], size)
        if augment.colour:
            pixels = _colour(pixels, factors[:, chunk])
        _normalise(pixels, data, out[chunk])
    return out


def _shift(images: Tensor, offsets: Tensor, augment: Augmentation) -> Tensor:
    """(B, 3, R, R) uint8, each moved by up to the padding in both directions; black moves in.

    Args:
        offsets: (2, B), down and right, from 0 to 1.
    """
    size = images.shape[-1]
    pad = round(size * augment.padding)
    windows = F.pad(images, (pad, pad, pad, pad)).unfold(2, size, 1).unfold(3, size, 1)
    # float32 rounds what is next to 1 up
    top, left = (offsets * (2 * pad + 1)).long().clamp(max=2 * pad)
    return windows[torch.arange(len(images), device=images.device), :, top, left]


def _random_windows(
    aspect: NDArray[np.float32], uniform: NDArray[np.float32], augment: Augmentation
) -> NDArray[np.float32]:
    """Random resized crops: (4, B) centres x and y, widths and heights, as shares of the image.

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
    x = width / 2 + (1 - width) * uniform[0]
    y = height / 2 + (1 - height) * uniform[1]
    return np.stack([x, y, width, height])


def _centre(aspect: NDArray[np.float32], how: Preprocessing) -> NDArray[np.float32]:
    """The windows that evaluation looks at, as `_random_windows` gives them."""
    side = how.resolution / how.shorter
    middle = np.full_like(aspect, 0.5)
    return np.stack(
        [middle, middle, side * np.minimum(1, 1 / aspect), side * np.minimum(1, aspect)]
    )


def _cut(images: Tensor, windows: Tensor, size: int) -> Tensor:
    """Windows of (B, 3, S, S) uint8 images, as (B, 3, R, R) float32 from 0 to 255.

    Args:
        windows: (4, B) centres x and y, widths (negative to mirror) and heights, as shares.
        size: R.
    """
    x, y, width, height = (2 * windows - windows.new_tensor([[1], [1], [0], [0]]))[..., None]
    steps = (torch.arange(size, device=images.device) + 0.5) / size - 0.5
    grid = images.new_empty((len(images), size, size, 2), dtype=torch.float32)
    # By hand: `affine_grid` multiplies matrices, which takes longer than the sampling itself.
    grid[..., 0] = (x + steps * width)[:, None, :]
    grid[..., 1] = (y + steps * height)[:, :, None]
    return F.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)


def _colour(images: Tensor, factors: Tensor) -> Tensor:
    """(B, 3, R, R) from 0 to 255: brightness, contrast and saturation scaled by (3, B) factors."""
    brightness, contrast, saturation = factors[:, :, None, None, None]
    weights = torch.tensor(_GREY, device=images.device)[:, None, None]
    images = (images.float() * brightness).clamp(0, 255)
    middle = (images * weights).sum(1, keepdim=True).mean((2, 3), keepdim=True)
    images = torch.lerp(middle, images, contrast).clamp(0, 255)
    grey = (images * weights).sum(1, keepdim=True)
    return torch.lerp(grey, images, saturation).clamp(0, 255)


def _normalise(images: Tensor, data: ImageData, out: Tensor) -> None:
    """Pixels (B, 3, R, R) from 0 to 255 with the train part's mean made 0 and its deviation 1."""
    how = data.preprocessing
    mean, std = (
        255 * torch.tensor(value, device=images.device)[:, None, None]
        for value in (how.mean, how.std)
    )
    out.copy_(images).sub_(mean).div_(std)


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
