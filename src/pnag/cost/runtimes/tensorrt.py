"""Run networks in NVIDIA's TensorRT on a GPU, one image a call, in float32.

An engine is built from the ONNX file and fits one GPU and one version of TensorRT. So networks are
shipped as ONNX, and the engine is built where they run.

Images and outputs stay on the GPU, and a call is a CUDA graph, as with the runtime `cuda`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tensorrt as trt
import torch
from torch import Tensor, nn

from pnag.cost.runtimes.machine import random_images
from pnag.cost.runtimes.onnx_cpu import export_onnx
from pnag.cost.runtimes.torch_cuda import check_gpu, timed_graph
from pnag.cost.timing import Call, Open
from pnag.errors import PnagError
from pnag.noise import into_log

DEVICE = "cuda"
_LOGGER = trt.Logger(trt.Logger.WARNING)  # one for all: TensorRT keeps the first that it gets


@dataclass(frozen=True)
class TensorRt:
    """TensorRT on the current CUDA device.

    Args:
        threads: ignored; there for the interface.

    Raises:
        PnagError: if torch finds no GPU.
    """

    threads: int = 1
    batch: int = 1
    name = "tensorrt"

    def __post_init__(self) -> None:
        check_gpu(self.name)

    def identity(self) -> dict[str, str | int]:
        """What a measured time depends on, besides the network."""
        return {
            "device": torch.cuda.get_device_name(),
            "runtime": self.name,
            "version": trt.__version__,
            "form": "float32, CUDA graph",
            "threads": 1,
            "batch": self.batch,
        }

    def prepare(self, network: nn.Module, input_shape: tuple[int, ...]) -> Open:
        """Build an engine, which takes seconds; what is returned opens it for calls.

        They run on random images.
        """
        plan = build_engine(export_onnx(network, input_shape))
        images = random_images(input_shape)

        def open_network() -> Call:
            own = images.to(DEVICE)
            return timed_graph(Engine(plan, own), own)

        return open_network


@into_log()
def build_engine(model: bytes) -> Any:
    """TensorRT's plan of an engine, in float32, from an ONNX file of fixed shapes.

    TF32, which TensorRT would use by default, is off: it rounds to 10 bits of the mantissa.

    Raises:
        PnagError: if TensorRT does not start on this GPU, or cannot build an engine.
    """
    try:
        builder = trt.Builder(_LOGGER)
    except TypeError as error:  # the builder is null
        raise PnagError(
            f"TensorRT {trt.__version__} does not start on this GPU (libraries.log says why); "
            f"install the one that is built for CUDA {torch.version.cuda} and serves this GPU"
        ) from error
    network = builder.create_network()
    parser = trt.OnnxParser(network, _LOGGER)
    if not parser.parse(model):
        errors = "; ".join(parser.get_error(i).desc() for i in range(parser.num_errors))
        raise PnagError(
            f"TensorRT {trt.__version__} cannot read this network ({errors}); take "
            "onnxruntime-cuda instead"
        )
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise PnagError(
            f"TensorRT {trt.__version__} cannot build an engine of this network (libraries.log "
            "says why); take onnxruntime-cuda instead"
        )
    return plan


class Engine(nn.Module):
    """An engine on the GPU, bound to the memory of its images and of its logits.

    A CUDA graph needs both to stay where they are.

    Args:
        plan: as of `build_engine`.
        images: float32 and contiguous, of the shape that the ONNX file has, on the GPU.

    Raises:
        PnagError: if TensorRT cannot load it, as for want of memory.
    """

    @into_log()
    def __init__(self, plan: Any, images: Tensor) -> None:
        super().__init__()
        self._runtime = trt.Runtime(_LOGGER)
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is not None:
            self._context = self._engine.create_execution_context()
        if self._engine is None or self._context is None:
            raise PnagError(
                f"TensorRT {trt.__version__} cannot load its engine (libraries.log says why); "
                "check with `nvidia-smi` that the GPU has memory left"
            )
        shape = tuple(self._engine.get_tensor_shape("logits"))
        self._images = images
        self._logits = torch.empty(shape, dtype=torch.float32, device=DEVICE)
        self._context.set_tensor_address("images", self._images.data_ptr())
        self._context.set_tensor_address("logits", self._logits.data_ptr())

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the images that it is bound to, computed on torch's current stream.

        Args:
            images: those very images; as an argument so that it is called like other networks.

        Raises:
            PnagError: if TensorRT cannot run the engine.
        """
        assert images is self._images
        if not self._context.execute_async_v3(torch.cuda.current_stream().cuda_stream):
            raise PnagError(f"TensorRT {trt.__version__} failed to run its engine")
        return self._logits
