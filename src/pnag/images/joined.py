"""Train and validation part in one, for what is trained after all choices are made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from pnag.files import write_atomic
from pnag.images.decoding import OTHER_FOLDER
from pnag.images.images import ImageData, ImagePart

_CHUNK = 1024  # images that are copied at a time


def can_be_joined(data: ImageData) -> bool:
    """Whether both parts hold images of one size: of large ones, to cut from, they do not."""
    return data.train.images.shape[1:] == data.validation.images.shape[1:]


def with_validation(data: ImageData, cache: Path) -> ImageData:
    """Images whose train part has the validation part's images, too.

    Once architectures are chosen nothing is chosen by the validation part any more, and a network
    learns from a quarter more images. What cannot be joined stays as it is.

    Args:
        cache: folder of decoded images, which gets the joined ones.
    """
    train, validation = data.train, data.validation
    shape = (len(train) + len(validation), *train.images.shape[1:])
    if not can_be_joined(data):
        return data
    path = cache / f"train-and-validation-{data.identity}.bin"
    if not path.exists() or path.stat().st_size != int(np.prod(shape)):

        def write(temporary: Path) -> None:
            with temporary.open("wb") as file:
                for images in (train.images, validation.images):
                    for first in range(0, len(images), _CHUNK):
                        file.write(np.ascontiguousarray(images[first : first + _CHUNK]).data)

        write_atomic(path, write, OTHER_FOLDER)
    joined = ImagePart(
        np.memmap(path, np.uint8, "r", shape=shape),
        np.concatenate([train.labels, validation.labels]),
        np.concatenate([train.aspect, validation.aspect]),
    )
    return replace(data, train=joined, identity=f"{data.identity}+validation")
