"""OpenVINO's own files: a graph (.xml) and its weights (.bin), in 32 or 8 bits."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import openvino as ov
from torch import nn

from pnag.cost.runtimes.openvino import (
    compile_openvino,
    convert_openvino,
    core,
    quantize_openvino,
)
from pnag.deploy.formats import Converted, Images, Logits


def convert(network: nn.Module, input_shape: tuple[int, ...]) -> Converted:
    """Two files, in float32."""
    return _saved(convert_openvino(network, input_shape))


def convert_int8(
    network: nn.Module, input_shape: tuple[int, ...], calibration: Images
) -> Converted:
    """Two files, with weights and activations of 8 bits.

    Args:
        calibration: (N, 3, R, R) preprocessed real images that show the ranges of activations; some
            are taken twice where they fill no whole number of batches.

    Raises:
        ModuleNotFoundError: if NNCF is not installed.
    """
    batch = abs(input_shape[0])
    whole = np.arange(-(-len(calibration) // batch) * batch) % len(calibration)
    batches = [calibration[rows] for rows in whole.reshape(-1, batch)]
    return _saved(quantize_openvino(convert_openvino(network, input_shape), batches))


def _saved(model: ov.Model) -> Converted:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.xml"
        ov.save_model(model, path, compress_to_fp16=False)
        files = {".xml": path.read_bytes(), ".bin": path.with_suffix(".bin").read_bytes()}
    compiled = compile_openvino(core().read_model(files[".xml"], files[".bin"]), "CPU", threads=1)

    def run(images: Images) -> Logits:
        return np.array(compiled(images)[0])

    return Converted(files, run)
