"""Images judged through the command line by a tiny supernet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from made_images import call, said
from typer.testing import Result

from pnag import Supernet
from pnag.training.images import ImageData, load_images
from pnag.training.weights import save_described, save_weights


@pytest.fixture
def collect(tmp_path: Path) -> Callable[..., tuple[Result, str]]:
    """Calls `pnag collect` on images with a supernet of so many, or of these, classes."""
    runs = 0

    def run(images: object, classes: int | Sequence[str], *more: object) -> tuple[Result, str]:
        nonlocal runs
        runs += 1
        weights = tmp_path / f"supernet-{runs}.safetensors"
        torch.manual_seed(0)
        if isinstance(classes, int):
            save_weights(Supernet(0.1, classes), weights, "")
        else:
            how: dict[str, Any] = {
                "resolution": 32, "shorter": 32, "mean": [0.5] * 3, "std": [0.25] * 3,
                "interpolation": "bicubic", "channels": "RGB", "layout": "NCHW", "levels": None,
                "classes": list(classes),
            }  # fmt: skip
            save_described(Supernet(0.1, len(classes)), weights, {"preprocessing": how})
        result = call(
            "collect", "--supernet", weights, "--images", images, "--out",
            tmp_path / f"{runs}" / "t.csv", "--cache", tmp_path / "cache", "--architectures", 1,
            "--validation", 50, "--resolution", 32, *more,
        )  # fmt: skip
        return result, said(result)

    return run


@pytest.fixture
def decoded(tmp_path: Path) -> Callable[..., ImageData]:
    """What `collect` decoded."""
    return lambda images, **options: load_images(
        str(images), resolution=32, cache=tmp_path / "cache", **options
    )
