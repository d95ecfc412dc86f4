"""What tests of several rooms need: no network, small images, a tiny supernet."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState

from pnag import Supernet
from pnag.images.images import ImageData, load_images

# Also in the processes that tests start; what wants weights says so at once.
os.environ["PNAG_OFFLINE"] = "1"


@pytest.fixture(autouse=True)
def _accelerators_of_any_precision() -> Iterator[None]:
    """A process may have one precision only, which the first `Accelerator` decides."""
    yield
    AcceleratorState._reset_state()


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> ImageData:
    cache: Path = tmp_path_factory.mktemp("cache")
    return load_images("digits", resolution=32, cache=cache)


@pytest.fixture(scope="session")
def supernet() -> Supernet:
    """Tiny, and such that its subnets answer differently."""
    torch.manual_seed(0)
    net = Supernet(0.1, 10)
    with torch.no_grad():
        for name, value in net.named_parameters():
            if name.endswith(("_matrix", "bn.bias", "bn.weight", "linear.weight")):
                value.add_(0.3 * torch.randn_like(value))
    return net
