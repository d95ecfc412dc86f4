"""Write a network as an ONNX file and check that it computes the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from pnag.cost.onnx_cpu import export_onnx, onnx_session
from pnag.errors import PnagError
from pnag.files import write_bytes

TOLERANCE = 1e-4


def export_checked(network: nn.Module, path: Path, resolution: int) -> float:
    """Write the ONNX file; return the largest difference of its outputs from torch's.

    Returns:
        The difference as a fraction of the largest output: with fresh weights outputs reach from
        0.01 to 300, so that an absolute difference would say nothing at one end and cry wolf at the
        other.

    Raises:
        PnagError: if the outputs differ by more than 1e-4 of the largest, or the file cannot be
            written.
    """
    shape = (1, 3, resolution, resolution)
    model = export_onnx(network, shape)
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = network.eval()(images).numpy()
    actual = onnx_session(model, threads=1).run(None, {"images": images.numpy()})[0]
    difference = float(np.abs(expected - np.asarray(actual)).max() / np.abs(expected).max())
    if not difference <= TOLERANCE:
        raise PnagError(
            f"the ONNX file's outputs differ from torch's by {difference:.2g} of the largest, more "
            f"than {TOLERANCE:g}; {path} was not written"
        )
    write_bytes(path, model)
    return difference
