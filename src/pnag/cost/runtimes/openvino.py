"""Run networks in OpenVINO: as they are, or with 8-bit integers (NNCF quantises)."""

from __future__ import annotations

import functools
import importlib
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import openvino as ov
import rich
from openvino.passes import ConstantFolding, Manager
from torch import nn

from pnag.cost.runtimes.machine import Images, random_images
from pnag.cost.runtimes.onnx_cpu import export_onnx
from pnag.cost.timing import Call, Open, stopwatch
from pnag.errors import PnagError
from pnag.noise import into_log

# For timing: they set the ranges, and a range does not change a time.
RANDOM_BATCHES = 2


@functools.cache
def core() -> ov.Core:
    """One for the process: it loads a device's plug-in once."""
    return ov.Core()


@into_log()
def convert_openvino(network: nn.Module, input_shape: tuple[int, ...]) -> ov.Model:
    """A network in eval mode as a model of OpenVINO, float32.

    By way of ONNX, because that folds batch norms, and OpenVINO's converter reports its use to its
    maker unless configured otherwise.

    Args:
        input_shape: of the single input, batch first.
    """
    model = core().read_model(export_onnx(network, input_shape))
    # A depthwise convolution's weights are read as a computation that shapes a constant. Left like
    # that, they are quantised, but then run in float32.
    folding = Manager()
    folding.register_pass(ConstantFolding())
    folding.run_passes(model)
    return model


def quantize_openvino(model: ov.Model, images: Iterable[Images]) -> ov.Model:
    """Post-training quantisation of weights and activations to 8 bits, by NNCF.

    Args:
        model: of `convert_openvino`; stays as it is.
        images: batches as the model takes them, preprocessed; some 300 images that are like those
            to come for a model that is to be used, any for one that is only timed.

    Raises:
        PnagError: if there is no image.
        ModuleNotFoundError: if NNCF is not installed.
    """
    batches = list(images)
    if not batches:
        raise PnagError("quantising needs images to calibrate on, and there are none")
    nncf = import_nncf()
    with _quiet(), into_log():
        quantized: ov.Model = nncf.quantize(
            model.clone(),
            nncf.Dataset(batches),
            subset_size=len(batches),
            # Symmetric weights, asymmetric activations: h-swish is below zero on one side a little.
            preset=nncf.QuantizationPreset.MIXED,
        )
    return quantized


@into_log()
def import_nncf() -> ModuleType:
    """NNCF, configured not to report its use to its maker."""
    os.environ.setdefault("NNCF_CI", "1")
    nncf = importlib.import_module("nncf")
    nncf.set_log_level(logging.ERROR)
    return nncf


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep NNCF's progress bars off the output, which may be JSON."""
    console = rich.get_console()
    before, console.quiet = console.quiet, True
    try:
        yield
    finally:
        console.quiet = before


@into_log()
def compile_openvino(model: ov.Model, device: str, threads: int) -> ov.CompiledModel:
    """Ready to run one call after the other, in float32 as elsewhere where it is not in 8 bits.

    Left alone, OpenVINO computes in bfloat16 on CPUs that can, which is no longer equal to torch.
    """
    options: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    if device == "CPU":
        options["INFERENCE_NUM_THREADS"] = threads
    return core().compile_model(model, device, options)


@dataclass(frozen=True)
class OpenVino:
    """OpenVINO on one of the devices that it has a plug-in and a driver for.

    Args:
        threads: of the CPU.
        device: as OpenVINO calls it, such as CPU, GPU, GPU.1 or NPU.

    Raises:
        PnagError: if it does not find the device.
    """

    threads: int = 1
    device: str = "CPU"
    batch: int = 1
    name = "openvino"

    def __post_init__(self) -> None:
        devices = core().available_devices
        if self.device not in devices:
            raise PnagError(
                f"OpenVINO finds no device {self.device!r} here; it finds {', '.join(devices)}"
            )

    def identity(self) -> dict[str, str | int]:
        """What a measured time depends on, besides the network."""
        return {
            "device": str(core().get_property(self.device, "FULL_DEVICE_NAME")),
            "runtime": self.name,
            "version": ov.__version__,
            "threads": self.threads,
            "batch": self.batch,
        }

    def convert(self, network: nn.Module, input_shape: tuple[int, ...]) -> ov.Model:
        """The model that is timed."""
        return convert_openvino(network, input_shape)

    def prepare(self, network: nn.Module, input_shape: tuple[int, ...]) -> Open:
        """Convert the network; what is returned opens it for calls that run on random images."""
        model = self.convert(network, input_shape)
        images = random_images(input_shape).numpy()

        def open_network() -> Call:
            request = compile_openvino(model, self.device, self.threads).create_infer_request()
            request.set_input_tensor(ov.Tensor(images))
            return stopwatch(request.infer)

        return open_network


@dataclass(frozen=True)
class OpenVinoInt8(OpenVino):
    """The same with weights and activations of 8 bits."""

    name = "openvino-int8"

    def __post_init__(self) -> None:
        super().__post_init__()
        import_nncf()

    def convert(self, network: nn.Module, input_shape: tuple[int, ...]) -> ov.Model:
        """The model that is timed."""
        model = super().convert(network, input_shape)
        batch, *image = input_shape
        images = random_images((RANDOM_BATCHES * batch, *image)).numpy()
        return quantize_openvino(model, np.split(images, RANDOM_BATCHES))
