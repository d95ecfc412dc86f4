"""Files that take another number of images than one, by the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

import pnag
from pnag.commands.main import app

ARCH = "2,2,2,2,2:" + ",".join(["3,3,0,0"] * 5) + ":" + ",".join(["3,3,0,0"] * 5)
SIZED = ("--width-mult", 0.1, "--resolution", 32, "--num-classes", 5)
Run = Callable[[np.ndarray[Any, Any]], Any]


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def images(count: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).normal(size=(count, 3, 32, 32)).astype(np.float32)


def expected(batch: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    torch.manual_seed(0)
    network = pnag.build(ARCH, 0.1, 5).eval()
    with torch.no_grad():
        return np.asarray(network(torch.from_numpy(batch)).numpy())


def onnx(path: Path) -> Run:
    session = onnxruntime.InferenceSession(path)
    return lambda batch: session.run(None, {"images": batch})[0]


def openvino(path: Path) -> Run:
    compiled = (
        pytest.importorskip("openvino")
        .Core()
        .compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    )
    return lambda batch: compiled(batch)[0]


def torchscript(path: Path) -> Run:
    loaded = torch.jit.load(str(path))
    return lambda batch: loaded(torch.from_numpy(batch)).detach().numpy()


def mnn(path: Path) -> Run:
    engine = pytest.importorskip("MNN")
    network = engine.nn.load_module_from_file(str(path), ["images"], ["logits"])

    def run(batch: np.ndarray[Any, Any]) -> Any:
        given = engine.expr.const(batch, list(batch.shape), engine.expr.NCHW)
        return network.forward([given])[0].read()

    return run


def litert(path: Path) -> Run:
    interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter(str(path))

    def run(batch: np.ndarray[Any, Any]) -> Any:
        given = batch.transpose(0, 2, 3, 1)
        interpreter.resize_tensor_input(0, given.shape, strict=True)
        return interpreter.get_signature_runner()(images=given)["logits"]

    return run


RUNTIMES = {
    "onnx": (onnx, ".onnx"),
    "openvino": (openvino, ".xml"),
    "torchscript": (torchscript, ".pt"),
    "mnn": (mnn, ".mnn"),
    "litert": (litert, ".tflite"),
}


@pytest.mark.parametrize("to", RUNTIMES)
@pytest.mark.filterwarnings("ignore")
def test_any_number_of_images(to: str, tmp_path: Path) -> None:
    load, suffix = RUNTIMES[to]
    if to in ("openvino", "mnn", "litert"):
        pytest.importorskip({"mnn": "MNN", "litert": "ai_edge_litert"}.get(to, to))
    path = tmp_path / f"net{suffix}"
    done = call("export", ARCH, "--to", to, "--out", path, *SIZED, "--dynamic-batch")
    assert done.exit_code == 0, done.output
    run = load(path)
    for count in (1, 2, 7):
        assert run(images(count)) == pytest.approx(expected(images(count)), abs=1e-4)
    how = json.loads(path.with_name(f"{path.name}.preprocessing.json").read_text())
    assert how["batch"] == "any"
    assert how["layout"] == ("NHWC" if to == "litert" else "NCHW")


@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_a_number_of_images(to: str, tmp_path: Path) -> None:
    load, suffix = RUNTIMES[to]
    if to == "openvino":
        pytest.importorskip("openvino")
    path = tmp_path / f"net{suffix}"
    done = call("export", ARCH, "--to", to, "--out", path, *SIZED, "--batch", 4)
    assert done.exit_code == 0, done.output
    assert load(path)(images(4)) == pytest.approx(expected(images(4)), abs=1e-4)
    assert json.loads(path.with_name(f"{path.name}.preprocessing.json").read_text())["batch"] == 4


def test_the_example_loads_a_file_of_several_images(tmp_path: Path) -> None:
    done = call("export", ARCH, "--out", tmp_path / "net.onnx", *SIZED, "--batch", 3)
    assert done.exit_code == 0, done.output
    Image.new("RGB", (40, 40), "red").save(tmp_path / "image.png")
    shown = subprocess.run(
        [sys.executable, tmp_path / "load_onnx.py", tmp_path / "net.onnx",
         tmp_path / "net.onnx.preprocessing.json", tmp_path / "image.png"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    classes = json.loads((tmp_path / "net.onnx.preprocessing.json").read_text())["classes"]
    assert shown.stdout.strip() in map(str, classes)


def test_one_image_is_what_a_file_takes_otherwise(tmp_path: Path) -> None:
    done = call("export", ARCH, "--out", tmp_path / "net.onnx", *SIZED)
    assert done.exit_code == 0, done.output
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    assert session.get_inputs()[0].shape == [1, 3, 32, 32]
    assert "batch" not in json.loads((tmp_path / "net.onnx.preprocessing.json").read_text())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--batch", 2, "--dynamic-batch"], "exclude each other; give one of them"),
        (["--to", "executorch", "--dynamic-batch"], "give it with --batch, or take onnx, openvino"),
        (["--to", "ncnn", "--dynamic-batch"], "for one number of images: take onnx, openvino"),
    ],
)
def test_what_cannot_be(options: list[object], says: str) -> None:
    done = call("export", ARCH, *options)
    assert done.exit_code == 2 and says in " ".join(done.stderr.split())
