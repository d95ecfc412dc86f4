"""Images judged through the command line by a tiny supernet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from made_images import call, said
from typer.testing import Result

from pnag import Supernet
from pnag.images.images import ImageData, load_images
from pnag.run import image_plans
from pnag.supernet.weights import save_weights


@pytest.fixture
def collect(tmp_path: Path) -> Callable[..., tuple[Result, str]]:
    """Calls `pnag collect` with a supernet of so many classes, which are not named."""
    runs = 0

    def run(images: object, classes: int, *more: object) -> tuple[Result, str]:
        nonlocal runs
        runs += 1
        weights = tmp_path / f"supernet-{runs}.safetensors"
        save_weights(Supernet(0.1, classes), weights, "")
        result = call(
            "collect", "--supernet", weights, "--images", images, "--out",
            tmp_path / f"{runs}" / "t.csv", "--cache", tmp_path / "cache", "--architectures", 1,
            "--validation", 50, "--resolution", 32, *more,
        )  # fmt: skip
        return result, said(result)

    return run


@pytest.fixture
def look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Result, str]]:
    """Calls `pnag train` on images, up to where the training would be planned."""
    runs = 0

    def stop(*_: object) -> None:
        raise typer.Exit(0)

    monkeypatch.setattr(image_plans, "plan_supernet_stage", stop)

    def run(images: object, *more: object) -> tuple[Result, str]:
        nonlocal runs
        runs += 1
        result = call(
            "train", "--images", images, "--out", tmp_path / f"run-{runs}", "--cache",
            tmp_path / "cache", "--resolution", 32, *more,
        )  # fmt: skip
        return result, said(result)

    return run


@pytest.fixture
def decoded(tmp_path: Path) -> Callable[..., ImageData]:
    """What `look` and `collect` decoded."""
    return lambda images, **options: load_images(
        str(images), resolution=32, cache=tmp_path / "cache", **options
    )
