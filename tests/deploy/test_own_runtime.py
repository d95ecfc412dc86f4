"""Exports are loaded by their own runtime alone, in a fresh process, without pnag and torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import pnag
from pnag.deploy.export import (
    EXAMPLES,
    TOLERANCE,
    export_checked,
    write_example,
    write_preprocessing,
)
from pnag.deploy.formats import FORMATS
from pnag.run.preprocessing import imagenet_preprocessing

ARCH = "2,2,2,2,2:" + ",".join(["5,3,0,0"] * 5) + ":" + ",".join(["3,4,0,0"] * 5)
PACKAGES = {
    "onnx": "onnxruntime",
    "openvino": "openvino",
    "litert": "ai_edge_litert",
    "mnn": "MNN",
    "ncnn": "ncnn",
}
ALONE = """
import runpy, sys
import numpy
for package in ("pnag", "torch"):
    sys.modules[package] = None  # importing it fails from now on
example, logits, *sys.argv[1:] = sys.argv[1:]
told = runpy.run_path(example)
numpy.savez(logits, images=told["images"], logits=told["logits"])
"""


@pytest.mark.parametrize("to", PACKAGES)
def test_a_fresh_process_needs_the_runtime_alone(to: str, tmp_path: Path) -> None:
    pytest.importorskip(PACKAGES[to], reason=f"needs the extra {FORMATS[to].extra}")
    torch.manual_seed(0)
    network = pnag.build(ARCH, 0.25, 10).eval()
    path = tmp_path / f"net{FORMATS[to].suffix}"
    assert export_checked(network, path, 64, to) <= TOLERANCE
    how = imagenet_preprocessing(64, 10) | {"classes": list("abcdefghij")}
    beside = write_preprocessing(path, how)
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (70, 90, 3), np.uint8)).save(tmp_path / "image.png")
    done = subprocess.run(
        [sys.executable, "-c", ALONE, write_example(to, tmp_path), tmp_path / "told.npz",
         path, beside, tmp_path / "image.png"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = np.load(tmp_path / "told.npz")
    with torch.no_grad():
        expected = network(torch.from_numpy(told["images"])).numpy()
    assert np.abs(told["logits"] - expected).max() <= TOLERANCE * np.abs(expected).max()
    # A runtime may say something of its own, before or after.
    last_words = [line.split()[-1] for line in done.stdout.splitlines() if line.split()]
    assert how["classes"][int(expected.argmax())] in last_words


def test_all_examples_read_an_image_alike() -> None:
    """Each is a program of its own that a user takes along, so they share no code."""
    readings = set()
    for to in FORMATS:
        program = (EXAMPLES / f"load_{to}.py").read_text("utf-8")
        first, last = program.index("model, how ="), program.index("images = ((pixels")
        readings.add(program[first : program.index("\n", last)])
    assert len(readings) == 1
