"""Write a network in any format after checking that it computes the same there."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pnag.cost.runtimes.machine import random_images
from pnag.deploy.formats import ANY_BATCH, Converted, Images, find_format, load_converter
from pnag.errors import PnagError
from pnag.extras import needing
from pnag.files import exists, write_bytes, write_json, write_text, writing

TOLERANCE = 1e-4
EXAMPLES = Path(__file__).parent / "examples"


def export_checked(
    network: nn.Module,
    path: Path,
    resolution: int,
    to: str = "onnx",
    batch: int = 1,
    keep: Collection[Path] = (),
) -> float:
    """Write the files of a format; return the largest difference of its outputs from torch's.

    Args:
        path: of the file that is named; a second one has the same name and another suffix.
        to: a name in `pnag.deploy.formats.FORMATS`.
        batch: images that the file takes at a time; ANY_BATCH is checked with one and with three.
        keep: what the network is made of, which is not to be replaced.

    Returns:
        The difference as a fraction of the largest output: with fresh weights outputs reach from
        0.01 to 300, so an absolute difference would say nothing at one end and raise false alarms
        at the other.

    Raises:
        PnagError: if the outputs differ by more than 1e-4 of the largest, the files cannot be
            written or would replace one of `keep`, or the format's package is not installed.
    """
    image = (3, resolution, resolution)
    converted = load_converter(to)(network, (batch, *image))
    differences = []
    for size in (1, 3) if batch == ANY_BATCH else (batch,):
        images = random_images((size, *image))
        with torch.no_grad():
            expected = network.eval()(images).numpy()
        actual = converted.run(images.numpy())
        differences.append(float(np.abs(expected - actual).max() / np.abs(expected).max()))
    difference = float(np.max(differences))
    if not difference <= TOLERANCE:
        raise PnagError(
            f"the {to} file's outputs differ from torch's by {difference:.2g} of the largest, more "
            f"than {TOLERANCE:g}; {path} was not written"
        )
    _write(converted, path, keep)
    return difference


def export_int8(
    network: nn.Module,
    path: Path,
    resolution: int,
    calibration: Images,
    batches: Iterable[Images],
    batch: int,
    keep: Collection[Path],
) -> float:
    """Write OpenVINO's files in 8 bits; return how often they agree with the network in floats.

    Args:
        path: of the .xml file.
        calibration: (N, 3, R, R) preprocessed real images that show the ranges of activations.
        batches: (B, 3, R, R) others, on which the two are compared; one batch at a time goes
            through the network in floats, and image by image through the other.
        batch: images that the file takes at a time, or ANY_BATCH.
        keep: what the network is made of, which is not to be replaced.

    Returns:
        The share of images with the same top-1 class.

    Raises:
        PnagError: if the files cannot be written or would replace one of `keep`, or OpenVINO or
            NNCF is not installed.
    """
    with needing("--int8", "openvino"):
        from pnag.deploy.formats.openvino import convert_int8

        converted = convert_int8(network, (batch, 3, resolution, resolution), calibration)
    network.eval()
    agree: list[bool] = []
    for images in batches:
        with torch.no_grad():
            expected = network(torch.from_numpy(images)).argmax(1).numpy()
        fed = (np.repeat(image[None], abs(batch), axis=0) for image in images)
        actual = [converted.run(image)[0].argmax() for image in fed]
        agree.extend(expected == actual)
    _write(converted, path, keep)
    return float(np.mean(agree))


def _write(converted: Converted, path: Path, keep: Collection[Path]) -> None:
    """Write the named file last: where it is, all is there that belongs to it."""
    named, *others = converted.files
    places = [_place(path, suffix, named) for suffix in converted.files]
    _refuse_to_replace([*places, _preprocessing(path)], keep)
    # What a stop leaves must fit together: no former description beside this network, and no former
    # named file beside the others of this one.
    former = _place(path, named, named)
    with writing(path, "choose another place with --out"):
        if former.exists():
            _preprocessing(path).unlink(missing_ok=True)
        if others:
            former.unlink(missing_ok=True)
    for suffix in (*others, named):
        write_bytes(_place(path, suffix, named), converted.files[suffix])


def _place(path: Path, suffix: str, named: str) -> Path:
    """Where a file of a format goes: beside the named one, or in a folder of that name."""
    own, _, inside = suffix.partition("/")
    return (path if own == named.partition("/")[0] else path.with_suffix(own)) / inside


def _refuse_to_replace(places: Collection[Path], keep: Collection[Path]) -> None:
    """A file that is written beside the named one may be one that the user has not thought of."""
    for kept in filter(exists, keep):
        for place in filter(exists, places):
            if place.samefile(kept):
                raise PnagError(
                    f"{place} would be replaced, and the network is made from it; choose another "
                    "name with --out"
                )


def _preprocessing(path: Path) -> Path:
    # Each format's own: a file may take other images at a time, or in another layout.
    return path.with_name(f"{path.name}.preprocessing.json")


def write_preprocessing(path: Path, preprocessing: dict[str, Any]) -> Path:
    """Write what goes into an exported network and comes out of it, next to its file."""
    beside = _preprocessing(path)
    write_json(beside, preprocessing)
    return beside


def write_example(to: str, folder: Path) -> Path:
    """Write the few lines that load a format; they take model, preprocessing and image.

    A file that is there stays: someone may have made it theirs.
    """
    find_format(to)
    path = folder / f"load_{to}.py"
    if not exists(path):
        write_text(path, (EXAMPLES / path.name).read_text(encoding="utf-8"))
    return path
