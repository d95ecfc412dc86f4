"""Weights without pickle, and a description by which timm builds the network, without pnag."""

from __future__ import annotations

import json

import numpy as np
import torch
from safetensors.torch import load, save
from torch import nn

from pnag.deploy.formats import Converted, Images, Logits
from pnag.errors import PnagError
from pnag.families.registry import from_config


def convert(network: nn.Module, input_shape: tuple[int, ...]) -> Converted:
    """Two files: weights under timm's names (.safetensors), and `network_config` (.json).

    Raises:
        PnagError: for a network that `pnag.build` did not make.
    """
    config = getattr(network, "pnag_config", None)
    if config is None:
        raise PnagError(f"{type(network).__name__} is not of pnag.build; timm has it already")
    state = {
        name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()
    }
    files = {".safetensors": save(state), ".json": (json.dumps(config, indent=1) + "\n").encode()}

    def run(images: Images) -> Logits:
        built = from_config(json.loads(files[".json"])).eval()
        built.load_state_dict(load(files[".safetensors"]))
        with torch.no_grad():
            return np.asarray(built(torch.from_numpy(images)).numpy())

    return Converted(files, run)
