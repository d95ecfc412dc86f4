"""What tests of several rooms need: no network, small images, a tiny supernet."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from pnag import Supernet
from pnag.images.images import ImageData, load_images
from pnag.run import image_run

# Also in the processes that tests start; what wants weights says so at once.
os.environ["PNAG_OFFLINE"] = "1"


@pytest.fixture(scope="session", autouse=True)
def _one_precision() -> Iterator[None]:
    """A process may train in one only, whatever its CPU multiplies; `pnag` in its own does that."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image_run, "training_precision", lambda device: "float32")
        yield


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
