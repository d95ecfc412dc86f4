"""What is done to a batch of decoded images: crop, mirror, colour, normalise.

The random choices of a batch are drawn on the CPU (`draw`), so that every device sees the same
ones; the pixels are worked on where they are (`augmented`). Nothing here waits for a GPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from pnag.images.images import ImageData, Preprocessing
from pnag.supernet.settings import Augmentation

_GREY = (0.299, 0.587, 0.114)
# Of a random window that fits into the image, as torchvision makes.
ATTEMPTS = 10
UNIFORM = 6 + 2 * ATTEMPTS  # random numbers that an image takes
# Values that are worked on at a time, by one thread.
_CHUNK = 1 << 19


def draw(
    uniform: NDArray[np.float32],
    aspect: NDArray[np.float32],
    augment: Augmentation,
    data: ImageData,
) -> dict[str, NDArray[np.float32]]:
    """The random choices of a batch.

    Args:
        uniform: (UNIFORM, B) between 0 and 1. aspect: (B,) width / height of the originals.

    Returns:
        `factors` (3, B) of brightness, contrast and saturation; for small images `flip` (B,), 0 or
        1, and `offsets` (2, B) down and right from 0 to 1; for others `windows` (4, B), the centres
        x and y, widths (negative to mirror) and heights, as shares of the image.
    """
    flip = (uniform[0] < 0.5) & (augment.flip and data.mirror)
    drawn = {"factors": 1 + augment.colour * (2 * uniform[1:4] - 1)}
    if data.small:
        drawn |= {"flip": flip, "offsets": uniform[4:6]}
    else:
        x, y, width, height = random_windows(aspect, uniform[4:], augment)
        drawn["windows"] = np.stack([x, y, np.where(flip, -width, width), height])
    return {name: np.ascontiguousarray(value, np.float32) for name, value in drawn.items()}


def augmented(
    images: Tensor, drawn: Mapping[str, Tensor], augment: Augmentation, data: ImageData
) -> Tensor:
    """(B, 3, S, S) uint8 cropped, mirrored, coloured and normalised: (B, 3, R, R) float32.

    Args:
        drawn: what `draw` returned, on the images' device.
    """
    size = data.preprocessing.resolution
    out = empty(images, size)
    for chunk in chunks(images):
        pixels = images[chunk]
        if data.small:
            pixels = _shift(pixels, drawn["offsets"][:, chunk], augment)
            flip = drawn["flip"][chunk, None, None, None] > 0
            pixels = torch.where(flip, pixels.flip(-1), pixels)
        else:
            pixels = cut(pixels, drawn["windows"][:, chunk], size)
        if augment.colour:
            pixels = _colour(pixels, drawn["factors"][:, chunk])
        normalise(pixels, data.preprocessing, out[chunk])
    return out


def empty(images: Tensor, size: int) -> Tensor:
    """Room for normalised images, channels last, where the decoded ones are."""
    return torch.empty(
        (len(images), 3, size, size), device=images.device, memory_format=torch.channels_last
    )


def chunks(images: Tensor) -> list[slice]:
    """Rows to work on at a time: on a CPU as many as stay in its cache, which is twice as fast."""
    count = len(images)
    size = count
    if images.device.type == "cpu":
        size = max(1, _CHUNK * torch.get_num_threads() // images[0].numel())
    return [slice(first, first + size) for first in range(0, count, size)]


def random_windows(
    aspect: NDArray[np.float32], uniform: NDArray[np.float32], augment: Augmentation
) -> NDArray[np.float32]:
    """Random resized crops: (4, B) centres x and y, widths and heights, as shares of the image.

    As torchvision's `RandomResizedCrop`, drawn again while wider or higher than the image; what
    never fits is cut down to it.

    Args:
        uniform: (2 + 2 * ATTEMPTS, B) between 0 and 1.
    """
    least, greatest = augment.scale
    area = least + (greatest - least) * uniform[2 : 2 + ATTEMPTS]
    low, high = np.log(augment.ratio)
    ratio = np.exp(low + (high - low) * uniform[2 + ATTEMPTS :])
    widths = np.sqrt(area * ratio / aspect)
    heights = np.sqrt(area / ratio * aspect)
    first = np.argmax((widths <= 1) & (heights <= 1), axis=0)
    each = np.arange(len(aspect))
    width = np.minimum(widths[first, each], 1)
    height = np.minimum(heights[first, each], 1)
    x = width / 2 + (1 - width) * uniform[0]
    y = height / 2 + (1 - height) * uniform[1]
    return np.stack([x, y, width, height])


def centre_windows(aspect: NDArray[np.float32], how: Preprocessing) -> NDArray[np.float32]:
    """The windows that evaluation looks at, as `random_windows` gives them."""
    side = how.resolution / how.shorter
    middle = np.full_like(aspect, 0.5)
    return np.stack(
        [middle, middle, side * np.minimum(1, 1 / aspect), side * np.minimum(1, aspect)]
    )


def cut(images: Tensor, windows: Tensor, size: int) -> Tensor:
    """Windows of (B, 3, S, S) uint8 images, as (B, 3, R, R) float32 from 0 to 255.

    Args:
        windows: (4, B) centres x and y, widths (negative to mirror) and heights, as shares.
        size: R.
    """
    x, y, width, height = (2 * windows)[..., None]
    steps = (torch.arange(size, device=images.device) + 0.5) / size - 0.5
    grid = images.new_empty((len(images), size, size, 2), dtype=torch.float32)
    # By hand: `affine_grid` multiplies matrices, which takes longer than the sampling itself.
    grid[..., 0] = (x - 1 + steps * width)[:, None, :]
    grid[..., 1] = (y - 1 + steps * height)[:, :, None]
    return F.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)


def normalise(images: Tensor, how: Preprocessing, out: Tensor) -> None:
    """Pixels (B, 3, R, R) from 0 to 255 with the train part's mean made 0 and its deviation 1."""
    mean, std = (_per_channel(value, images.device) * 255 for value in (how.mean, how.std))
    out.copy_(images).sub_(mean).div_(std)


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


def _colour(images: Tensor, factors: Tensor) -> Tensor:
    """(B, 3, R, R) from 0 to 255: brightness, contrast and saturation scaled by (3, B) factors."""
    brightness, contrast, saturation = factors[:, :, None, None, None]
    weights = _per_channel(_GREY, images.device)
    images = (images.float() * brightness).clamp(0, 255)
    middle = (images * weights).sum(1, keepdim=True).mean((2, 3), keepdim=True)
    images = torch.lerp(middle, images, contrast).clamp(0, 255)
    grey = (images * weights).sum(1, keepdim=True)
    return torch.lerp(grey, images, saturation).clamp(0, 255)


@lru_cache(maxsize=32)
def _per_channel(values: tuple[float, ...], device: torch.device) -> Tensor:
    """(3, 1, 1) numbers on a device, kept there: making them again would wait for a GPU."""
    # An ordinary tensor also where the first caller is in inference mode.
    with torch.inference_mode(False):
        return torch.tensor(values, device=device)[:, None, None]
