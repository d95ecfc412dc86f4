"""The classes of a network and those of images: the same ones, in the network's order."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pnag.errors import PnagError
from pnag.images.images import ImageData, ImagePart

_SHOWN = 5


def some_names(names: Sequence[str]) -> str:
    """The first few, and the last one if there are more."""
    if len(names) <= _SHOWN + 1:
        return ", ".join(names)
    return f"{', '.join(names[:_SHOWN])}, ... {names[-1]}"


def in_order_of(data: ImageData, names: Sequence[str] | None, whose: str) -> tuple[ImageData, str]:
    """Images with their classes numbered as a network numbers them, and what to say about it.

    Args:
        names: of the network's classes, in its order; None if they are not known: then its order
            is taken to be that of the images' names.
        whose: the network, for messages.

    Raises:
        PnagError: if the classes differ.
    """
    found = data.classes
    if names is None:
        return data, (
            f"{whose} does not name its classes: number 0 is taken for {found[0]!r}, number "
            f"{len(found) - 1} for {found[-1]!r}, in the order {some_names(found)}"
        )
    if tuple(names) == found:
        return data, ""
    spell = str if set(names) == set(found) else _plain
    own = {spell(name): number for number, name in enumerate(names)}
    other = [spell(name) for name in found]
    if len(own) != len(names) or sorted(own) != sorted(other):
        raise PnagError(_differences(data, names, whose))
    numbers = np.array([own[name] for name in other])

    def renumbered(part: ImagePart) -> ImagePart:
        return ImagePart(part.images, numbers[part.labels], part.aspect)

    note = (
        f"the classes of {data.source} are matched by name with those of {whose}: "
        f"{some_names(names)}"
    )
    same = replace(
        data,
        classes=tuple(names),
        identity=f"{data.identity}-by-name",
        train=renumbered(data.train),
        validation=renumbered(data.validation),
        test=renumbered(data.test),
    )
    return same, note


def _plain(name: str) -> str:
    """A name without what systems and users write differently: case, and how accents are stored."""
    return unicodedata.normalize("NFC", name).casefold()


def _differences(data: ImageData, names: Sequence[str], whose: str) -> str:
    own, other = set(map(_plain, names)), set(map(_plain, data.classes))
    there = [name for name in data.classes if _plain(name) not in own]
    here = [name for name in names if _plain(name) not in other]
    reasons = [
        f"class {number} of {data.source} is {other_name!r}, and that of {whose} is {name!r}"
        for number, (name, other_name) in enumerate(zip(names, data.classes, strict=False))
        if _plain(name) not in other
    ][:1]
    if there:
        reasons.append(f"{data.source} has {some_names(there)}, which {whose} does not know")
    if here:
        reasons.append(f"{whose} has {some_names(here)}, of which there are no images")
    if not reasons:
        reasons.append(
            f"{whose} has {len(names)} classes and {data.source} has {len(data.classes)}"
        )
    return (
        f"the classes differ: {'; '.join(reasons)}; name the images that it was trained on, or "
        "give the classes its names"
    )
