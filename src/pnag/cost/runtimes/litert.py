"""Run networks in LiteRT, formerly TensorFlow Lite, a runtime of phones, on this machine's CPU."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnxruntime as ort
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray
from torch import nn

from pnag.cost.runtimes.machine import Images, OnThisCpu, random_images
from pnag.cost.runtimes.onnx_cpu import export_onnx
from pnag.cost.runtimes.tflite_layers import tflite_of_onnx
from pnag.cost.timing import Call, Open, stopwatch
from pnag.noise import into_log

VERSION = version("ai-edge-litert")


def export_tflite(network: nn.Module, input_shape: tuple[int, ...]) -> bytes:
    """The LiteRT file (.tflite) of a network in eval mode, float32, by way of ONNX.

    It takes images channels last, (N, H, W, 3), as LiteRT's users expect.

    Args:
        input_shape: of the single input in torch, (N, 3, H, W). A negative N stands for any.

    Raises:
        PnagError: if the network has a layer that pnag cannot convert.
    """
    batch, *image = input_shape
    # What an ONNX file computes of its shapes is constant if the number of images is known.
    model = _folded(export_onnx(network, (max(batch, 1), *image)))
    return tflite_of_onnx(model, any_batch=batch < 0)


@into_log()
def _folded(model: bytes) -> bytes:
    """An ONNX file without what is constant: timm's padding as in TensorFlow is computed there."""
    with tempfile.TemporaryDirectory(prefix="pnag-litert-") as folder:
        path = Path(folder, "folded.onnx")
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(path)
        ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        return path.read_bytes()


@into_log()
def load_litert(
    model: bytes, threads: int, shape: tuple[int, ...]
) -> Callable[[Images], NDArray[np.float32]]:
    """A function from images to their (N, classes) logits.

    Args:
        shape: of these images, channels last: (N, H, W, 3).
    """
    interpreter = Interpreter(model_content=model, num_threads=threads)
    given, told = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    if tuple(given["shape"]) != shape:  # of a file that takes any number
        interpreter.resize_tensor_input(given["index"], shape, strict=True)
    interpreter.allocate_tensors()

    def run(images: Images) -> NDArray[np.float32]:
        interpreter.set_tensor(given["index"], images)
        interpreter.invoke()
        logits: NDArray[np.float32] = interpreter.get_tensor(told["index"])
        return logits

    return run


def channels_last(images: Images) -> Images:
    """(N, 3, H, W) images as (N, H, W, 3)."""
    return np.ascontiguousarray(images.transpose(0, 2, 3, 1))


@dataclass(frozen=True)
class LiteRt(OnThisCpu):
    """LiteRT with XNNPACK on this machine's CPU, in float32."""

    name = "litert"
    version = VERSION

    def prepare(self, network: nn.Module, input_shape: tuple[int, ...]) -> Open:
        """Convert the network; what is returned opens it for calls that run on random images."""
        model = export_tflite(network, input_shape)
        images = channels_last(random_images(input_shape).numpy())

        def open_network() -> Call:
            run = load_litert(model, self.threads, images.shape)
            return stopwatch(lambda: run(images))

        return open_network
