"""Run networks in MNN, a runtime of phones, on this machine's CPU."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import MNN
from torch import nn

from pnag.cost.runtimes.machine import Images, OnThisCpu, random_images
from pnag.cost.runtimes.onnx_cpu import export_onnx
from pnag.cost.timing import Call, Open, stopwatch
from pnag.errors import PnagError
from pnag.noise import into_log

VERSION: str = MNN.version()


@into_log()
def export_mnn(network: nn.Module, input_shape: tuple[int, ...]) -> bytes:
    """The MNN file of a network in eval mode, float32, by way of ONNX.

    By the converter's native code. The command `mnnconvert` and `MNN.tools` are not used: as soon
    as they are imported, they run `pip install` in whatever environment `pip` belongs to, and they
    report each conversion to MNN's maker.

    Args:
        input_shape: of the single input, batch first. A negative batch stands for any.

    Raises:
        PnagError: if MNN's converter writes none.
    """
    import _tools  # of MNN; here, as it is MNN that an error must call missing

    with tempfile.TemporaryDirectory(prefix="pnag-mnn-") as folder:
        source, target = Path(folder, "model.onnx"), Path(folder, "model.mnn")
        source.write_bytes(export_onnx(network, input_shape))
        files = ["--modelFile", str(source), "--MNNModel", str(target)]
        _tools.mnnconvert(["mnnconvert", "-f", "ONNX", *files, "--bizCode", "pnag"])
        if not target.is_file():  # it returns True all the same
            raise PnagError(
                f"MNN {VERSION} cannot convert this network (its output is in libraries.log); "
                "take onnx instead"
            )
        return target.read_bytes()


@into_log()
def load_mnn(model: bytes, threads: int, *, fixed_shape: bool = False) -> Any:
    """MNN's module of an MNN file; its `forward` takes `[images]`, as of `mnn_images`.

    Args:
        fixed_shape: whether all images will have the shape of the first ones, which saves MNN from
            asking.
    """
    with tempfile.TemporaryDirectory(prefix="pnag-mnn-") as folder:
        path = Path(folder, "model.mnn")  # read whole: it is not needed afterwards
        path.write_bytes(model)
        return MNN.nn.load_module_from_file(
            str(path), ["images"], ["logits"], thread_num=threads, shape_mutable=not fixed_shape
        )


def mnn_images(images: Images) -> Any:
    """(N, 3, H, W) images as MNN takes them."""
    return MNN.expr.const(images, list(images.shape), MNN.expr.NCHW)


@dataclass(frozen=True)
class Mnn(OnThisCpu):
    """MNN on this machine's CPU."""

    name = "mnn"
    version = VERSION

    def prepare(self, network: nn.Module, input_shape: tuple[int, ...]) -> Open:
        """Convert the network; what is returned opens it for calls that run on random images."""
        model = export_mnn(network, input_shape)
        images = mnn_images(random_images(input_shape).numpy())

        def open_network() -> Call:
            module = load_mnn(model, self.threads, fixed_shape=True)
            return stopwatch(lambda: module.forward([images])[0].read())

        return open_network
