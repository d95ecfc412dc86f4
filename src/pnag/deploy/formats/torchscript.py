"""TorchScript, for C++ programs and old phones; torch itself calls it deprecated."""

from __future__ import annotations

import io
import warnings

import numpy as np
import torch
from torch import nn

from pnag.deploy.formats import Converted, Images, Logits


def convert(network: nn.Module, input_shape: tuple[int, ...]) -> Converted:
    """One file, for any batch: it is traced with `input_shape`, or with one image for ANY_BATCH."""
    buffer = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(network.eval(), torch.zeros(abs(input_shape[0]), *input_shape[1:]))
        torch.jit.save(traced, buffer)
    model = buffer.getvalue()

    def run(images: Images) -> Logits:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            loaded = torch.jit.load(io.BytesIO(model))
            return np.asarray(loaded(torch.from_numpy(images)).numpy())

    return Converted({".pt": model}, run)
