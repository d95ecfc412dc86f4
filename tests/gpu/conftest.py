from __future__ import annotations

import pytest
import torch

from pnag import Supernet
from pnag.images.images import ImageData, load_images

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/gpu/" in item.path.as_posix():
            item.add_marker(CUDA)


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> ImageData:
    return load_images("digits", resolution=32, cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture
def supernet() -> Supernet:
    torch.manual_seed(0)
    return Supernet(0.1, 10)
