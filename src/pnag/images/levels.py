"""Images of more than 8 bits a channel: which values become black and white.

No file says which of its values mean white: a camera of 12 bits fills a sixteenth of a 16-bit
file's range, and some files hold 0 to 255. So the range is taken from the images, one for all of
them: with one for each image or class, brightness would separate the classes, or be lost.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pnag.errors import PnagError

_GREY = ("I;16", "I;16L", "I;16B", "I;16N", "I")
_COLOUR = re.compile(r"(RGBA?|LA);16[BLN]")
# Of each 16-bit value Pillow keeps the upper byte; asked for the other byte order, the lower one.
_SWAPPED = {"B": "L", "L": "B", "N": "B"}
_EIGHT = 255.0
_HALF = 1 << 15


@dataclass(frozen=True)
class Levels:
    """Values that become black and white; what lies between is linear."""

    low: float
    high: float

    def eight_bits(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """Values as 0 to 255, rounded and clipped."""
        span = max(self.high - self.low, 1e-9)
        scaled = (values.astype(np.float32) - self.low) * np.float32(_EIGHT / span)
        pixels: NDArray[np.uint8] = np.rint(np.clip(scaled, 0, _EIGHT)).astype(np.uint8)
        return pixels


SIXTEEN_BITS = Levels(0, 65535)


def is_wide(image: Image.Image) -> bool:
    """Whether an image that is open and not yet loaded has more than 8 bits a channel.

    Raises:
        ValueError: if it has, and Pillow would drop them.
    """
    if image.mode in _GREY:
        return True
    if _rawmode(image):
        return True
    bits = _bits(image)
    if bits > 8 and image.mode != "F":
        raise ValueError(
            f"has {bits} bits a channel in a form of {image.format} that is read as 8 bits only; "
            "convert it to 8 bits, or to a 16-bit PNG"
        )
    return False


def wide_values(image: Image.Image) -> NDArray[Any]:
    """The values of a wide image: (H, W) or, of colour, (H, W, C) with alpha as the last of 2 or 4.

    Args:
        image: open and not yet loaded.

    Raises:
        ValueError, OSError and others of Pillow's: if it cannot be decoded.
    """
    if image.mode in _GREY:
        return np.asarray(image)
    if _rawmode(image).startswith("LA"):
        return _decoded_by_torchvision(image)
    lower = Image.open(_again(image))  # before the image is loaded, which closes its file
    lower.tile = [tile._replace(args=_swapped(tile.args)) for tile in lower.tile]
    values: NDArray[Any] = (np.asarray(image).astype(np.uint16) << 8) | np.asarray(lower)
    return values


def levels_of(found: Mapping[str, Extent], source: str) -> tuple[Levels, str]:
    """The one range for all images of a source, and what a user should know about it.

    Args:
        found: the extents of 8-bit images and of wide ones, by "narrow" and "wide".

    Raises:
        PnagError: if there are both, and the values of the wide ones fill too little of 16 bits
            to be comparable.
    """
    wide, narrow = found["wide"], found["narrow"]
    count, every = wide.images, wide.images + narrow.images
    said = f"{count} of {every} images have more than 8 bits a channel, values {wide.low:g} to "
    said += f"{wide.high:g}"
    if wide.low >= 0 and wide.high <= _EIGHT:
        return Levels(0, _EIGHT), f"{said}: taken as they are, 255 as white"
    if not narrow.images:
        levels = Levels(wide.low, wide.high)
        return levels, f"{said}: in all images the first becomes black, the last white"
    if wide.low >= 0 and wide.high >= _HALF:
        return SIXTEEN_BITS, f"{said}: in all of these 0 becomes black, 65535 white"
    raise PnagError(
        f"{source}: {said}, such as {wide.example}, and others have 8 bits, such as "
        f"{narrow.example}: their brightness cannot be compared; convert all to 8 bits"
    )


@dataclass(frozen=True)
class Extent:
    """Images, their least and greatest value, and the name of one of them."""

    images: int = 0
    low: float = np.inf
    high: float = -np.inf
    example: str = ""

    @classmethod
    def together(cls, extents: Iterable[Extent]) -> Extent:
        """Of all images of all extents."""
        every = [extent for extent in extents if extent.images]
        if not every:
            return cls()
        return cls(
            sum(extent.images for extent in every),
            min(extent.low for extent in every),
            max(extent.high for extent in every),
            every[0].example,
        )


def _rawmode(image: Image.Image) -> str:
    """Of 16-bit colour what Pillow's decoders call it, else nothing."""
    for tile in getattr(image, "tile", ()):
        for text in (tile.args,) if isinstance(tile.args, str) else tile.args or ():
            if isinstance(text, str) and _COLOUR.fullmatch(text):
                return text
    return ""


def _swapped(args: Any) -> Any:
    def swap(part: Any) -> Any:
        if isinstance(part, str) and _COLOUR.fullmatch(part):
            return part[:-1] + _SWAPPED[part[-1]]
        return part

    return swap(args) if isinstance(args, str) else tuple(map(swap, args))


def _bits(image: Image.Image) -> int:
    """Bits a channel as the headers of TIFF, JPEG 2000 and SGI say it; 8 of all else."""
    if image.format == "TIFF":
        bits = image.tag_v2.get(258, (8,))  # type: ignore[attr-defined]
        return int(max(bits) if isinstance(bits, tuple) else bits)
    if image.format == "JPEG2000":
        head = _again(image).read(4096)
        size = head.find(b"\xff\x51")  # the marker SIZ; bits stand 40 bytes into it
        return (head[size + 40] & 0x7F) + 1 if 0 <= size < len(head) - 40 else 8
    return 16 if any(tile.codec_name == "SGI16" for tile in getattr(image, "tile", ())) else 8


def _again(image: Image.Image) -> Any:
    """The file of an open image, from its beginning, for reading it once more."""
    file: Any = image.fp  # type: ignore[attr-defined]
    place = file.tell()
    file.seek(0)
    content = io.BytesIO(file.read())
    file.seek(place)
    return content


def _decoded_by_torchvision(image: Image.Image) -> NDArray[Any]:
    import torch
    from torchvision.io import decode_image

    content = bytearray(_again(image).read())
    values: NDArray[Any] = decode_image(torch.frombuffer(content, dtype=torch.uint8)).numpy()
    return values.transpose(1, 2, 0)
