"""Run networks in ExecuTorch with XNNPACK, the runtime of phones, on this machine's CPU.

The same file that runs here runs on a phone: `pnag.cost.runtimes.android`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import to_edge_transform_and_lower
from executorch.version import __version__
from torch import Tensor, nn

from pnag.cost.runtimes.machine import OnThisCpu, random_images
from pnag.cost.timing import Call, Open, stopwatch
from pnag.errors import PnagError
from pnag.noise import into_log

METHOD = "forward"


def export_pte(network: nn.Module, input_shape: tuple[int, ...]) -> bytes:
    """The ExecuTorch file (.pte) of a network in eval mode, its layers given to XNNPACK.

    Lowering goes over the graph many times: seconds to a minute a network, far more than ONNX.

    Args:
        input_shape: of the single input, batch first; fixed in the file.
    """
    images = torch.zeros(input_shape)
    with into_log(), warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of torch about itself; none that a caller can act on
        exported = torch.export.export(network.eval(), (images,))
        edge = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
        return bytes(edge.to_executorch().buffer)


@into_log()
def start_executorch(threads: int) -> Any:
    """ExecuTorch's `Runtime` of this process.

    Args:
        threads: of this process' one thread pool, so that all methods must ask for as many.

    Raises:
        PnagError: if ExecuTorch does not work with this torch, has no XNNPACK, or already runs
            with another number of threads.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "this API is experimental", at every import
        try:
            from executorch.extension.pybindings import portable_lib
            from executorch.runtime import Runtime
        except ModuleNotFoundError:
            raise
        except ImportError as error:  # of a symbol that this torch lacks
            raise PnagError(
                f"executorch {__version__} cannot run with torch {torch.__version__}: {error}; "
                "install two releases that fit each other"
            ) from error
    if portable_lib._threadpool_get_thread_count() != threads:
        if _opened:
            raise PnagError(
                f"ExecuTorch runs with {portable_lib._threadpool_get_thread_count()} thread(s) in "
                f"this process, not {threads}: a process has one pool; start another process"
            )
        # Before any method is opened: those keep a pointer to the pool that this replaces.
        portable_lib._unsafe_reset_threadpool(threads)
        if portable_lib._threadpool_get_thread_count() != threads:
            raise PnagError(
                f"ExecuTorch runs with {portable_lib._threadpool_get_thread_count()} thread(s) on "
                f"this machine, not {threads}; set --threads to what it has"
            )
    runtime = Runtime.get()
    if not runtime.backend_registry.is_available("XnnpackBackend"):
        raise PnagError(f"executorch {__version__} was built without XNNPACK; install it from PyPI")
    return runtime


@into_log()
def load_pte(model: bytes, threads: int) -> Callable[[Tensor], Tensor]:
    """An ExecuTorch file, ready to compute logits of images of the shape it was made for.

    Args:
        threads: of this process' one thread pool, so that all methods must ask for as many.

    Raises:
        PnagError: as `start_executorch`.
    """
    runtime = start_executorch(threads)
    from executorch.runtime import Verification  # it cannot be imported where the above fails

    program = runtime.load_program(model, verification=Verification.InternalConsistency)
    _opened.append(True)
    program.load_method(METHOD)  # the program keeps it

    def run(images: Tensor) -> Tensor:
        # By way of the program, which must outlive its method: that one points into its bytes.
        logits: Tensor = program.load_method(METHOD).execute([images])[0]
        return logits

    return run


_opened: list[bool] = []  # methods of this process


@dataclass(frozen=True)
class ExecuTorch(OnThisCpu):
    """ExecuTorch with XNNPACK on this machine's CPU.

    Args:
        threads: of the process' thread pool.

    Raises:
        PnagError: as `start_executorch`: now, and not when ninety networks have been exported.
    """

    name = "executorch"
    version = __version__

    def __post_init__(self) -> None:
        start_executorch(self.threads)

    def prepare(self, network: nn.Module, input_shape: tuple[int, ...]) -> Open:
        """Convert the network; what is returned opens it for calls that run on random images."""
        model = export_pte(network, input_shape)
        images = random_images(input_shape)

        def open_network() -> Call:
            run = load_pte(model, self.threads)
            return stopwatch(lambda: run(images))

        return open_network
