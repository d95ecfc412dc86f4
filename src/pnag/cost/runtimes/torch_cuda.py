"""Run networks in PyTorch on an NVIDIA GPU, timed by its own clock."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import nn

from pnag.cost.runtimes.torch_cpu import images_like
from pnag.cost.timing import Call, Open
from pnag.errors import PnagError


@dataclass(frozen=True)
class Cuda:
    """PyTorch on the current CUDA device, float32 at torch's default precision of products.

    Args:
        threads: ignored; there for the interface.
        batch: 64 as in the paper: one image is over before a GPU is busy.

    Raises:
        PnagError: if torch finds no CUDA device.
    """

    threads: int = 1
    batch: int = 64

    def __post_init__(self) -> None:
        if not torch.cuda.is_available():
            built = torch.version.cuda
            raise PnagError(
                "the runtime cuda needs an NVIDIA GPU, and torch finds none: "
                + (
                    f"check `nvidia-smi` and that its driver serves CUDA {built}"
                    if built
                    else f"torch {torch.__version__} is built without CUDA"
                )
            )

    def identity(self) -> dict[str, str | int]:
        """What a measured time depends on, besides the network."""
        return {
            "device": torch.cuda.get_device_name(),
            "runtime": "cuda",
            "version": f"{torch.__version__}, cuDNN {torch.backends.cudnn.version()}",
            "threads": 1,
            "batch": self.batch,
        }

    def clock_mhz(self) -> float | None:
        """Of the multiprocessors over the last second, None where the driver does not tell."""
        try:
            return float(torch.cuda.clock_rate())
        except Exception:  # no nvidia-ml-py, no permission, a MIG slice: a time is worth having
            return None

    def prepare(self, network: nn.Module, input_shape: tuple[int, ...]) -> Open:
        """Keep the network; what is returned copies it to the GPU, images of random values too."""
        network = network.eval()

        def open_network() -> Call:
            own = copy.deepcopy(network)
            own = own.to("cuda", memory_format=torch.channels_last)  # type: ignore[call-overload]
            images = images_like(input_shape).to("cuda")

            def call(runs: int) -> list[float]:
                return [time_on_gpu(own, images) for _ in range(runs)]

            return call

        return open_network


@torch.inference_mode()
def time_on_gpu(network: nn.Module, images: torch.Tensor) -> float:
    """Milliseconds of one call on an idle GPU, from its start to its end there."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    network(images)
    end.record()
    torch.cuda.synchronize()
    return float(start.elapsed_time(end))
