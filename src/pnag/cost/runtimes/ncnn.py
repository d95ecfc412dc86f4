"""Run networks in ncnn, a runtime of phones, on this machine's CPU."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import ncnn
import numpy as np
import pnnx
from numpy.typing import NDArray
from torch import nn

from pnag.cost.runtimes.machine import Images, OnThisCpu, random_images
from pnag.cost.runtimes.onnx_cpu import export_onnx
from pnag.cost.timing import Call, Open, stopwatch
from pnag.errors import PnagError
from pnag.noise import into_log

HALF = ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic")  # as ncnn calls them


@dataclass(frozen=True)
class NcnnModel:
    """The two files of ncnn: a graph (.param) and its weights (.bin)."""

    param: bytes
    bin: bytes


@into_log()
def export_ncnn(network: nn.Module, input_shape: tuple[int, ...]) -> NcnnModel:
    """ncnn's files of a network in eval mode, float32, by way of ONNX; `pnnx` converts.

    Args:
        input_shape: of the single input, batch first; the batch is 1, as ncnn knows none.

    Raises:
        PnagError: if the batch is another, or pnnx writes no files.
    """
    if input_shape[0] != 1:
        raise PnagError("ncnn takes one image at a time; leave the batch out, or take onnx")
    with tempfile.TemporaryDirectory(prefix="pnag-ncnn-") as folder:
        source = Path(folder, "model.onnx")
        source.write_bytes(export_onnx(network, input_shape))
        # Not by pnnx's Python, which imports what it has written.
        subprocess.run([pnnx.EXEC_PATH, source.name, "fp16=0"], cwd=folder, check=False)
        files = (source.with_suffix(".ncnn.param"), source.with_suffix(".ncnn.bin"))
        if not all(file.is_file() for file in files):
            raise PnagError(
                f"pnnx {pnnx.__version__} cannot convert this network to ncnn (its output is in "
                "libraries.log); take onnx instead"
            )
        return NcnnModel(*(file.read_bytes() for file in files))


@into_log()
def load_ncnn(model: NcnnModel, threads: int) -> Callable[[Images], NDArray[np.float32]]:
    """A function from one image (1, 3, H, W) to its (1, classes) logits.

    In float32: left alone, ncnn rounds weights and activations to 16 bits where the CPU can, which
    is off by a thousandth.

    Raises:
        PnagError: if ncnn does not read the files.
    """
    net = ncnn.Net()
    net.opt.num_threads = threads
    for option in HALF:
        setattr(net.opt, option, False)
    with tempfile.TemporaryDirectory(prefix="pnag-ncnn-") as folder:
        param, weights = Path(folder, "model.param"), Path(folder, "model.bin")
        param.write_bytes(model.param)
        weights.write_bytes(model.bin)
        if net.load_param(str(param)) or net.load_model(str(weights)):  # 0 if all went well
            raise PnagError(
                f"ncnn {ncnn.__version__} cannot read what pnnx {pnnx.__version__} wrote: it has "
                "no such layer (take onnx instead), or the two are of different dates (pip install "
                '--upgrade "pnag[ncnn]")'
            )

    def run(images: Images) -> NDArray[np.float32]:
        extractor = net.create_extractor()
        extractor.input("in0", ncnn.Mat(images[0]))  # which it reads where it lies
        return np.array(extractor.extract("out0")[1])[None]

    return run


@dataclass(frozen=True)
class Ncnn(OnThisCpu):
    """ncnn on this machine's CPU, in float32."""

    name = "ncnn"
    version = ncnn.__version__

    def prepare(self, network: nn.Module, input_shape: tuple[int, ...]) -> Open:
        """Convert the network; what is returned opens it for calls that run on random images."""
        model = export_ncnn(network, input_shape)
        images = random_images(input_shape).numpy()

        def open_network() -> Call:
            run = load_ncnn(model, self.threads)
            return stopwatch(lambda: run(images))

        return open_network
