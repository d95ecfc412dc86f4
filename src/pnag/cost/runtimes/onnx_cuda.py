"""Run networks in ONNX Runtime on an NVIDIA GPU, one image a call, in float32.

The package `onnxruntime-gpu` has the provider for it; it takes the place of `onnxruntime`, which
cannot be installed beside it. It finds CUDA and cuDNN where torch has them.

Images and outputs stay on the GPU, and a call is a CUDA graph, as with the runtime `cuda`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from torch import nn

from pnag.cost.runtimes.machine import random_images
from pnag.cost.runtimes.onnx_cpu import export_onnx
from pnag.cost.runtimes.torch_cuda import check_gpu
from pnag.cost.timing import Call, Open, stopwatch
from pnag.errors import PnagError
from pnag.noise import into_log

PROVIDER = "CUDAExecutionProvider"
# https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html
OPTIONS = {
    "device_id": "0",
    "enable_cuda_graph": "1",  # input and output lie where they are for all calls
    "cudnn_conv_algo_search": "EXHAUSTIVE",  # its default: it times all for each convolution
    "use_tf32": "0",
}


@dataclass(frozen=True)
class OnnxCuda:
    """ONNX Runtime on the first CUDA device.

    Args:
        threads: ignored; there for the interface.

    Raises:
        PnagError: if this onnxruntime has no provider for CUDA, or there is no GPU.
    """

    threads: int = 1
    batch: int = 1
    name = "onnxruntime-cuda"

    def __post_init__(self) -> None:
        if PROVIDER not in ort.get_available_providers():
            raise PnagError(
                f"the runtime {self.name} needs onnxruntime-gpu, and the installed onnxruntime "
                f"{ort.__version__} runs on the CPU: pip uninstall onnxruntime, then pip install "
                "onnxruntime-gpu"
            )
        check_gpu(self.name)

    def identity(self) -> dict[str, str | int]:
        """What a measured time depends on, besides the network."""
        return {
            "device": torch.cuda.get_device_name(),
            "runtime": self.name,
            "version": ort.__version__,
            "form": "float32, CUDA graph",
            "threads": 1,
            "batch": self.batch,
        }

    def prepare(self, network: nn.Module, input_shape: tuple[int, ...]) -> Open:
        """Convert the network; what is returned opens it for calls that run on random images."""
        model = export_onnx(network, input_shape)
        images = random_images(input_shape).numpy()

        def open_network() -> Call:
            session = cuda_session(model)
            binding = session.io_binding()
            binding.bind_ortvalue_input("images", _on_gpu(images))
            (output,) = session.get_outputs()
            binding.bind_ortvalue_output(output.name, _on_gpu(np.zeros(output.shape, np.float32)))
            # It returns when the GPU is done.
            return stopwatch(lambda: session.run_with_iobinding(binding))

        return open_network


@into_log()
def cuda_session(model: bytes) -> Any:
    """An ONNX Runtime session on the GPU.

    Raises:
        PnagError: if ONNX Runtime falls back to the CPU, as where CUDA's libraries are missing.
    """
    ort.preload_dlls()  # those that came with torch
    session = ort.InferenceSession(model, providers=[(PROVIDER, OPTIONS)])
    if session.get_providers()[0] != PROVIDER:
        raise PnagError(
            f"onnxruntime {ort.__version__} cannot load its CUDA provider (libraries.log says "
            f"why); install the onnxruntime-gpu that is built for CUDA {torch.version.cuda}"
        )
    return session


def _on_gpu(values: np.ndarray[Any, Any]) -> Any:
    return ort.OrtValue.ortvalue_from_numpy(values, "cuda", 0)
