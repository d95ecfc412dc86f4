"""From an image file's bytes to uint8 pixels, the same way for training and for deployment."""

from __future__ import annotations

import contextlib
import io
import math
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from pnag.images.levels import SIXTEEN_BITS, Levels, is_wide, wide_values

Pixels = NDArray[np.uint8]

INTERPOLATION = "bicubic"
# Of the resolution; 256 for 224, as networks of the MobileNet family are usually judged.
RESIZE = 8 / 7
_RESAMPLE = Image.Resampling.BICUBIC
# What shows through transparent pixels: logos and product shots are drawn for white pages.
BACKGROUND = (255, 255, 255)
# Million pixels beyond which an image is more likely a mistake or an attack; Pillow's own limit.
MEGAPIXELS = 179.0


def to_rgb(image: Image.Image, levels: Levels = SIXTEEN_BITS) -> Image.Image:
    """Any image as 8-bit RGB, turned upright as its EXIF orientation says.

    Transparent pixels are laid over white, CMYK, palette and grey images are converted by Pillow.

    Args:
        image: open and not yet loaded, if it has more than 8 bits.
        levels: which values of more than 8 bits become black and white.

    Raises:
        ValueError: for floating-point pixels, and for more than 8 bits where Pillow drops them.
    """
    if image.mode == "F":
        raise ValueError("has floating-point pixels; convert it to 8 bits")
    if is_wide(image):
        image = _eight_bits(image, levels)
    image = ImageOps.exif_transpose(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        under = Image.new("RGBA", image.size, (*BACKGROUND, 255))
        return Image.alpha_composite(under, image).convert("RGB")
    return image.convert("RGB")


def _eight_bits(image: Image.Image, levels: Levels) -> Image.Image:
    values, exif = wide_values(image), image.getexif()
    pixels = levels.eight_bits(values)
    if image.mode in ("RGBA", "LA"):  # its transparency is no brightness
        pixels[..., -1] = SIXTEEN_BITS.eight_bits(values[..., -1])
    converted = Image.fromarray(pixels)
    converted.getexif().update(exif)
    return converted


def open_image(
    raw: dict[str, Any] | None,
    least: int,
    levels: Levels | None = SIXTEEN_BITS,
    megapixels: float = MEGAPIXELS,
) -> Image.Image:
    """The image of a row of a `datasets` image column that was not decoded (`bytes` or `path`).

    Args:
        least: pixels that each side is needed for; a larger JPEG may be decoded at half its size
            or less, down to twice that, which is several times faster.
        levels: which values of more than 8 bits become black and white; None if it is not known.
        megapixels: that it may have at most.

    Raises:
        WideError: for more than 8 bits, if levels are not known.
        ValueError, OSError and others of Pillow's: if it cannot be decoded, or is too large.
    """
    with opened(raw, megapixels) as image:
        if levels is None and is_wide(image):
            raise WideError("has more than 8 bits")
        image.draft(None, (2 * least, 2 * least))
        return to_rgb(image, levels or SIXTEEN_BITS)


class WideError(ValueError):
    """An image of more than 8 bits, of which it is not known what is white."""


@contextlib.contextmanager
def opened(raw: dict[str, Any] | None, megapixels: float = MEGAPIXELS) -> Iterator[Image.Image]:
    """An image that is open and not yet loaded.

    Raises:
        ValueError, OSError and others of Pillow's: if it cannot be read, or is too large.
    """
    if raw is None or (raw["bytes"] is None and raw["path"] is None):
        raise ValueError("there is no image in this row")
    file = raw["path"] if raw["bytes"] is None else io.BytesIO(raw["bytes"])
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # ours names the option
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd tags and the like, without a file's name
            with Image.open(file) as image:
                width, height = image.size
                if width * height > megapixels * 1e6:
                    raise ValueError(
                        f"has {width} x {height} pixels, more than {megapixels:g} million; allow "
                        f"it with --max-megapixels {math.ceil(width * height / 1e6)}"
                    )
                yield image
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def centre_pixels(image: Image.Image, resolution: int, shorter: int) -> Pixels:
    """(3, R, R): the shorter side resized to `shorter` pixels, the middle R x R cut out."""
    width, height = image.size
    side = min(width, height) * resolution / shorter
    left, top = (width - side) / 2, (height - side) / 2
    # Cut before resizing: a picture of 10,000 x 1 pixels must not become one of 2,240,000 x 224.
    box = (left, top, left + side, top + side)
    return _pixels(image.resize((resolution, resolution), _RESAMPLE, box, reducing_gap=2.0))


def squeezed_pixels(image: Image.Image, size: int) -> Pixels:
    """(3, S, S): the whole image, its longer side squeezed to a square."""
    return _pixels(image.resize((size, size), _RESAMPLE, reducing_gap=2.0))


def _pixels(image: Image.Image) -> Pixels:
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))
