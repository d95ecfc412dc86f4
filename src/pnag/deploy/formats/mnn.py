"""MNN's own file, for phones."""

from __future__ import annotations

import numpy as np
from torch import nn

from pnag.cost.runtimes.mnn import export_mnn, load_mnn, mnn_images
from pnag.deploy.formats import Converted, Images, Logits


def convert(network: nn.Module, input_shape: tuple[int, ...]) -> Converted:
    """One file; its input is called `images`, its output `logits`."""
    model = export_mnn(network, input_shape)

    def run(images: Images) -> Logits:
        return np.array(load_mnn(model, threads=1).forward([mnn_images(images)])[0].read())

    return Converted({".mnn": model}, run)
