"""LiteRT's own file (.tflite), for phones."""

from __future__ import annotations

from torch import nn

from pnag.cost.runtimes.litert import channels_last, export_tflite, load_litert
from pnag.deploy.formats import Converted, Images, Logits


def convert(network: nn.Module, input_shape: tuple[int, ...]) -> Converted:
    """One file; its input is called `images`, channels last, its output `logits`."""
    model = export_tflite(network, input_shape)

    def run(images: Images) -> Logits:
        given = channels_last(images)
        return load_litert(model, 1, given.shape)(given)

    return Converted({".tflite": model}, run)
