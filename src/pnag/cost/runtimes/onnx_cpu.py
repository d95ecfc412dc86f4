"""Run networks in ONNX Runtime on the CPU, batch 1, with a fixed number of threads."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import onnxruntime as ort
import torch
from torch import nn

from pnag.cost.runtimes.machine import OnThisCpu, random_images
from pnag.cost.timing import Call, Open, stopwatch
from pnag.noise import into_log

OPSET = 18


def export_onnx(network: nn.Module, input_shape: tuple[int, ...]) -> bytes:
    """The ONNX file of a network in eval mode, as bytes; batch norm is folded into convolutions.

    Args:
        input_shape: of the single input, batch first; fixed in the file because a fixed shape is
            what runtimes optimise best. A negative batch stands for any.
    """
    batch, *image = input_shape
    any_batch = {"images": {0: "batch"}, "logits": {0: "batch"}} if batch < 0 else None
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # The tracing exporter gives the same graph as torch.export's for these plain networks, and
        # ten times sooner: it matters for a hundred of them. Its deprecation notice is not news.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.eval(),
            (torch.zeros(1 if any_batch else batch, *image),),
            buffer,  # type: ignore[arg-type]  # the tracing exporter takes a file object too
            input_names=["images"],
            output_names=["logits"],
            dynamic_axes=any_batch,
            opset_version=OPSET,
            dynamo=False,
        )
    return buffer.getvalue()


@into_log()
def onnx_session(model: bytes | Path, threads: int) -> ort.InferenceSession:
    """An ONNX Runtime session on the CPU with exactly `threads` threads."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    source = str(model) if isinstance(model, Path) else model
    return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])


@dataclass(frozen=True)
class OnnxCpu(OnThisCpu):
    """ONNX Runtime on this machine's CPU.

    Args:
        threads: of every measured session. One by default: it is the least disturbed by other
            processes, and what a server uses that runs one inference a core.
    """

    name = "onnxruntime"
    version = ort.__version__

    def prepare(self, network: nn.Module, input_shape: tuple[int, ...]) -> Open:
        """Convert the network; what is returned opens it for calls that run on random images."""
        model = export_onnx(network, input_shape)
        images = random_images(input_shape).numpy()

        def open_network() -> Call:
            session = onnx_session(model, self.threads)
            return stopwatch(lambda: session.run(None, {"images": images}))

        return open_network
