"""One normalisation, the supernet's: a collected accuracy is that of the exported network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from pnag import Supernet
from pnag.commands.bodies.collect import normalised_for
from pnag.commands.main import app
from pnag.images.images import ImageData, load_images
from pnag.supernet.weights import save_described, save_weights

CLASSES = 4
TOLD = {"mean": [0.9, 0.1, 0.5], "std": [0.02, 0.5, 1.0]}


def supernet(classes: int) -> Supernet:
    """Such that its subnets' answers depend on what goes in."""
    torch.manual_seed(0)
    made = Supernet(0.1, classes)
    with torch.no_grad():
        for name, value in made.named_parameters():
            if name.endswith(("_matrix", "bn.bias", "bn.weight", "linear.weight")):
                value.add_(0.1 * torch.randn_like(value))
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for number in range(CLASSES):
        (root / str(number)).mkdir()
        for i in range(60):
            colours = rng.integers(0, 256, (9, 9, 3)) * (0.4, 0.7, 1)
            image = Image.fromarray(colours.astype(np.uint8)).resize((32, 32))
            image.save(root / str(number) / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def data(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> ImageData:
    return load_images(str(folder), resolution=32, cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `pnag run` leaves it, of images of quite other colours."""
    path = tmp_path_factory.mktemp("run") / "supernet.safetensors"
    about: dict[str, Any] = {"resolution": 32, "shorter": 32, "interpolation": "bicubic", **TOLD}
    about |= {"channels": "RGB", "layout": "NCHW", "classes": list("0123")}
    save_described(supernet(CLASSES), path, {"preprocessing": about})
    return path


def test_a_collected_accuracy_is_that_of_the_exported_network(
    folder: Path, data: ImageData, trained: Path, tmp_path: Path
) -> None:
    def call(*words: object) -> None:
        done = CliRunner().invoke(app, list(map(str, words)))
        assert done.exit_code == 0, done.output

    common = ("--images", folder)
    call("collect", "--supernet", trained, *common, "--out", tmp_path / "t.csv",
         "--architectures", 2, "--precision", "float32")  # fmt: skip
    network = tmp_path / "n.onnx"
    for row in pd.read_csv(tmp_path / "t.csv").itertuples():
        call("export", row.arch, "--weights", trained, *common, "--out", network)
        how = json.loads(network.with_name(f"{network.name}.preprocessing.json").read_text())
        assert {name: how[name] for name in TOLD} == TOLD
        pixels = data.test.images.astype(np.float32) / 255
        mean, std = (np.float32(TOLD[name])[:, None, None] for name in ("mean", "std"))
        session = onnxruntime.InferenceSession(network)
        right = sum(
            session.run(None, {"images": image[None]})[0].argmax() == label
            for image, label in zip((pixels - mean) / std, data.test.labels, strict=True)
        )
        assert row.images == len(data.test) == 48
        assert right == round(row.accuracy * row.images)


def test_who_says_how_images_are_normalised(data: ImageData, trained: Path, tmp_path: Path) -> None:
    own = data.preprocessing
    normalised, note = normalised_for(trained, CLASSES, data)
    how = normalised.preprocessing
    assert ([*how.mean], [*how.std]) == (TOLD["mean"], TOLD["std"]) and not note
    published = tmp_path / "weights.safetensors"
    save_weights(supernet(CLASSES), published, "of elsewhere")
    how = normalised_for(published, 1000, data)[0].preprocessing
    assert how.mean == (0.485, 0.456, 0.406) and how.std == (0.229, 0.224, 0.225)
    same, note = normalised_for(published, CLASSES, data)
    assert same.preprocessing == own and "do not say how images are normalised" in note
