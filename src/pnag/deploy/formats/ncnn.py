"""ncnn's own files, for phones: a graph (.param) and its weights (.ncnn.bin)."""

from __future__ import annotations

from torch import nn

from pnag.cost.runtimes.ncnn import export_ncnn, load_ncnn
from pnag.deploy.formats import Converted, Images, Logits


def convert(network: nn.Module, input_shape: tuple[int, ...]) -> Converted:
    """Two files; their input is called `in0`, their output `out0`, and both lack the batch."""
    model = export_ncnn(network, input_shape)

    def run(images: Images) -> Logits:
        return load_ncnn(model, threads=1)(images)

    # Not .bin, which OpenVINO's weights of the same network are called.
    return Converted({".param": model.param, ".ncnn.bin": model.bin}, run)
