"""From an image file's bytes to uint8 pixels, the same way for training and for deployment."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

Pixels = NDArray[np.uint8]

INTERPOLATION = "bicubic"
# Of the resolution; 256 for 224, as networks of the MobileNet family are usually judged.
RESIZE = 8 / 7
_RESAMPLE = Image.Resampling.BICUBIC
# What shows through transparent pixels: logos and product shots are drawn for white pages.
BACKGROUND = (255, 255, 255)
_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N", "I")


def to_rgb(image: Image.Image) -> Image.Image:
    """Any image as 8-bit RGB, turned upright as its EXIF orientation says.

    Transparent pixels are laid over white, 16-bit grey keeps its upper 8 bits, CMYK, palette and
    grey images are converted by Pillow.

    Raises:
        ValueError: for floating-point pixels, whose range no file states.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise ValueError("has floating-point pixels; convert it to 8 bits")
    if image.mode in _SIXTEEN_BITS:
        # Pillow's own conversion to RGB clips at 255, which leaves such images white.
        grey = np.clip(np.asarray(image).astype(np.int64) >> 8, 0, 255).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        under = Image.new("RGBA", image.size, (*BACKGROUND, 255))
        return Image.alpha_composite(under, image).convert("RGB")
    return image.convert("RGB")


def open_image(raw: dict[str, Any] | None, least: int) -> Image.Image:
    """The image of a row of a `datasets` image column that was not decoded (`bytes` or `path`).

    Args:
        least: pixels that each side is needed for; a larger JPEG may be decoded at half its size
            or less, down to twice that, which is several times faster.

    Raises:
        ValueError, OSError and others of Pillow's: if it cannot be decoded.
    """
    with _open(raw) as image:
        image.draft(None, (2 * least, 2 * least))
        return to_rgb(image)


def shorter_side(raw: dict[str, Any] | None) -> int:
    """In pixels, from the file's header alone.

    Raises:
        ValueError, OSError and others of Pillow's: if it cannot be read.
    """
    with _open(raw) as image:
        return min(image.size)


def _open(raw: dict[str, Any] | None) -> Image.Image:
    if raw is None or (raw["bytes"] is None and raw["path"] is None):
        raise ValueError("there is no image in this row")
    return Image.open(raw["path"] if raw["bytes"] is None else io.BytesIO(raw["bytes"]))


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
