"""Run networks in PyTorch on an NVIDIA GPU as people deploy them, timed by its own clock.

Weights and maps are float16 with channels last, batch norms are folded into convolutions, and a
call is a captured CUDA graph. Without a graph a lone block takes as long as Python needs to launch
its kernels, and times of blocks do not add up to those of networks.
"""

from __future__ import annotations

import copy
import itertools
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from pnag.cost.fuse import fuse_batch_norms
from pnag.cost.runtimes.torch_cpu import images_like
from pnag.cost.timing import Call, Open
from pnag.errors import PnagError

# A graph holds as many calls as take about this long: the clock and a launch take microseconds.
GRAPH_MS = 0.3
MOST_CALLS = 32
WARM_UP = 3  # calls before capture, in which cuDNN chooses its kernels
# The GPU first waits so many cycles (about 0.2 ms), so that all graphs are queued before one runs.
QUEUE_CYCLES = 400_000


def check_gpu(runtime: str) -> None:
    """Refuse a runtime, by name, where there is no GPU for it.

    Raises:
        PnagError: if torch finds no CUDA device.
    """
    if not torch.cuda.is_available():
        built = torch.version.cuda
        raise PnagError(
            f"the runtime {runtime} needs an NVIDIA GPU, and torch finds none: "
            + (
                f"check `nvidia-smi` and that its driver serves CUDA {built}"
                if built
                else f"torch {torch.__version__} is built without CUDA"
            )
        )


@dataclass(frozen=True)
class Cuda:
    """PyTorch on the current CUDA device.

    Args:
        threads: ignored; there for the interface.
        batch: 64 as in the paper: one image is over before a GPU is busy.

    Raises:
        PnagError: if torch finds no CUDA device.
    """

    threads: int = 1
    batch: int = 64
    name = "cuda"

    def __post_init__(self) -> None:
        check_gpu(self.name)

    def identity(self) -> dict[str, str | int]:
        """What a measured time depends on, besides the network."""
        return {
            "device": torch.cuda.get_device_name(),
            "runtime": self.name,
            "version": f"{torch.__version__}, cuDNN {torch.backends.cudnn.version()}",
            "form": "float16, fused batch norms, CUDA graph",
            "threads": 1,
            "batch": self.batch,
        }

    def clock_mhz(self) -> float | None:
        """Of the multiprocessors over the last second, None where the driver does not say."""
        try:
            return float(torch.cuda.clock_rate())
        except Exception:  # no nvidia-ml-py, no permission, a MIG slice: a time is worth having
            return None

    def prepare(self, network: nn.Module, input_shape: tuple[int, ...]) -> Open:
        """Fold batch norms; what is returned captures calls on the GPU, of random images."""
        images = images_like(input_shape)
        fused = copy.deepcopy(network).eval()
        fuse_batch_norms(fused, images[:1])
        fused = fused.half()

        def open_network() -> Call:
            own = copy.deepcopy(fused)
            own = own.to("cuda", memory_format=torch.channels_last)  # type: ignore[call-overload]
            return timed_graph(own, images.to("cuda", torch.float16))

        return open_network


@dataclass(frozen=True)
class CudaBatch1(Cuda):
    """The same for one image a call."""

    batch: int = 1
    name = "cuda-batch1"


def timed_graph(network: nn.Module, images: Tensor) -> Call:
    """Capture calls of a network on a GPU; what is returned replays them and gives their times."""
    once = _Captured(network, images, 1).milliseconds(5)[-1]
    calls = max(1, min(MOST_CALLS, round(GRAPH_MS / max(once, 1e-3))))
    return _Captured(network, images, calls).milliseconds


class _Captured:
    """So many calls of a network in one graph.

    A graph holds the addresses of weights and images and not the tensors: they are kept here.
    """

    def __init__(self, network: nn.Module, images: Tensor, calls: int) -> None:
        self._network, self._images, self._calls = network, images, calls
        # Not in inference mode, whose tensors a graph's memory pool cannot take back.
        with torch.no_grad():
            beside = torch.cuda.Stream()
            beside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(beside):
                for _ in range(WARM_UP):
                    network(images)
            torch.cuda.current_stream().wait_stream(beside)
            self._graph = torch.cuda.CUDAGraph()
            # Maps of all graphs share their memory: none is replayed while another runs.
            with torch.cuda.graph(self._graph, pool=_first_graph().pool()):
                for _ in range(calls):
                    network(images)

    def milliseconds(self, replays: int) -> list[float]:
        """A call's time in each of several replays, which follow each other without a gap."""
        events = [torch.cuda.Event(enable_timing=True) for _ in range(replays + 1)]
        torch.cuda.synchronize()
        torch.cuda._sleep(QUEUE_CYCLES)
        events[0].record()
        for event in events[1:]:
            self._graph.replay()
            event.record()
        torch.cuda.synchronize()
        return [
            first.elapsed_time(last) / self._calls for first, last in itertools.pairwise(events)
        ]


@cache
def _first_graph() -> torch.cuda.CUDAGraph:
    # Kept for good: a pool ends with the last of its graphs, and cannot be taken again.
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        torch.zeros(1, device="cuda")
    return graph
