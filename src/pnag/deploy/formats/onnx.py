"""ONNX, for ONNX Runtime and nearly everything else."""

from __future__ import annotations

import numpy as np
from torch import nn

from pnag.cost.runtimes.onnx_cpu import export_onnx, onnx_session
from pnag.deploy.formats import Converted, Images, Logits


def convert(network: nn.Module, input_shape: tuple[int, ...]) -> Converted:
    """One file; its input is called `images`, its output `logits`."""
    model = export_onnx(network, input_shape)

    def run(images: Images) -> Logits:
        return np.asarray(onnx_session(model, threads=1).run(None, {"images": images})[0])

    return Converted({".onnx": model}, run)
