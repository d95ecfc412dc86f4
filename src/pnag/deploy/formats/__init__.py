"""Files that networks are shipped in: one module a format, all of one interface, picked by name."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from pnag.errors import PnagError
from pnag.extras import needing

ANY_BATCH = -1
Images = NDArray[np.float32]
Logits = NDArray[np.float32]


@dataclass(frozen=True)
class Converted:
    """A network in a format.

    Attributes:
        files: content by suffix; the first is the one that is loaded and that is named. One in a
            folder has its path there after the folder's suffix: `.mlpackage/Manifest.json`.
        run: the logits of images of the shape it was converted for, from these very bytes in the
            format's own runtime.
    """

    files: dict[str, bytes]
    run: Callable[[Images], Logits]


Convert = Callable[[nn.Module, tuple[int, ...]], Converted]
"""Takes a network in eval mode and the shape of its one input, batch first; it can be ANY_BATCH."""


@dataclass(frozen=True)
class Entry:
    """Where a format's `convert` is.

    Attributes:
        suffix: of the file that is named. about: for the list of formats. extra: of pnag's, empty
            if nothing else is needed. any_batch: whether a file can take any number of images.
            layout: of the images that a file takes.
    """

    module: str
    suffix: str
    about: str
    extra: str = ""
    any_batch: bool = True
    layout: str = "NCHW"


FORMATS: dict[str, Entry] = {
    "onnx": Entry("pnag.deploy.formats.onnx", ".onnx", "ONNX"),
    "openvino": Entry("pnag.deploy.formats.openvino", ".xml", "OpenVINO IR", "openvino"),
    "executorch": Entry(
        "pnag.deploy.formats.executorch",
        ".pte",
        "ExecuTorch with XNNPACK",
        "executorch",
        any_batch=False,
    ),
    "coreml": Entry(
        "pnag.deploy.formats.coreml",
        ".mlpackage",
        "Core ML, for Apple's devices (a folder)",
        "coreml",
        any_batch=False,
    ),
    "litert": Entry(
        "pnag.deploy.formats.litert",
        ".tflite",
        "LiteRT (TensorFlow Lite)",
        "litert",
        layout="NHWC",
    ),
    "mnn": Entry("pnag.deploy.formats.mnn", ".mnn", "MNN", "mnn"),
    "ncnn": Entry("pnag.deploy.formats.ncnn", ".param", "ncnn", "ncnn", any_batch=False),
    "torchscript": Entry("pnag.deploy.formats.torchscript", ".pt", "TorchScript, traced"),
    "timm": Entry("pnag.deploy.formats.timm", ".safetensors", "weights and how timm builds it"),
}


def find_format(name: str) -> Entry:
    """A format by its name.

    Raises:
        PnagError: if there is none of that name.
    """
    if name not in FORMATS:
        raise PnagError(f"--to must be one of {', '.join(FORMATS)}, not {name!r}")
    return FORMATS[name]


def load_converter(name: str) -> Convert:
    """The `convert` of a format.

    Raises:
        PnagError: if there is none of that name, or its package is missing or cannot be loaded.
    """
    entry = find_format(name)
    with needing(f"the format {name}", entry.extra):
        convert: Convert = importlib.import_module(entry.module).convert
    return convert
