"""Decode images while a user waits, and report what was found."""

from __future__ import annotations

from typing import Any

from rich.markup import escape

from pnag.commands.bodies.class_names import some_names
from pnag.images.images import ImageData, load_images
from pnag.images.parts import PARTS
from pnag.run.display import Display


def decode_images(display: Display, source: str, **options: Any) -> ImageData:
    """`load_images` with a bar."""
    with display.bar("decoding the images") as bar:
        data = load_images(
            source,
            **options,
            progress=bar.update,
            reading=lambda done, total: bar.update(done, total, "reading the files"),
        )
        read = sum(len(data.part(part)) for part in PARTS)
        bar.update(read, read)  # reading the cache reports nothing
    return data


def tell_images(display: Display, data: ImageData) -> None:
    """Notes on the images, their classes by name, and how many there are."""
    for note in data.notes:
        display.warn(note)
    pixels = data.preprocessing.resolution
    display.note(
        f"{len(data.classes)} classes ({escape(some_names(data.classes))}) at {pixels}x{pixels}: "
        f"{len(data.train):,} images to train on, {len(data.validation):,} to choose by, "
        f"{len(data.test):,} to judge by"
    )
