"""ExecuTorch with XNNPACK, for phones."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from pnag.cost.runtimes.executorch import export_pte, load_pte
from pnag.deploy.formats import Converted, Images, Logits


def convert(network: nn.Module, input_shape: tuple[int, ...]) -> Converted:
    """One file; its one method is called `forward`."""
    model = export_pte(network, input_shape)

    def run(images: Images) -> Logits:
        return np.array(load_pte(model, threads=1)(torch.from_numpy(images)))

    return Converted({".pte": model}, run)
