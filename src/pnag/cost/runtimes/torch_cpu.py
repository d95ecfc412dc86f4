"""Run networks in PyTorch on the CPU: as they are (eager), or compiled."""

from __future__ import annotations

import copy
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pnag.cost.runtimes.machine import OnThisCpu, random_images
from pnag.cost.timing import Call, Open, stopwatch
from pnag.errors import PnagError
from pnag.threads import torch_threads

Forward = Callable[[Tensor], Tensor]


def images_like(input_shape: tuple[int, ...]) -> Tensor:
    """Random images with the channels last, which convolutions are faster on."""
    return random_images(input_shape).to(memory_format=torch.channels_last)


@dataclass(frozen=True)
class TorchCpu(OnThisCpu):
    """PyTorch on this machine's CPU, without a compiler.

    Args:
        threads: of torch, set for each turn and then set back.
    """

    name = "torch"
    version = torch.__version__

    def identity(self) -> dict[str, str | int]:
        """What a measured time depends on, besides the network."""
        identity = super().identity()
        if self.threads > 1:  # which wait for each other
            identity["omp_wait_policy"] = os.environ.get("OMP_WAIT_POLICY", "not set")
        return identity

    def prepare(self, network: nn.Module, input_shape: tuple[int, ...]) -> Open:
        """Keep the network; what is returned copies it for calls that run on random images."""
        return self._timed(network.eval(), images_like(input_shape), lambda own: own)

    def _timed(
        self, network: nn.Module, images: Tensor, ready: Callable[[nn.Module], Forward]
    ) -> Open:
        def open_network() -> Call:
            own = copy.deepcopy(network).to(memory_format=torch.channels_last)
            forward = ready(own)
            run = stopwatch(lambda: forward(images))

            def call(runs: int) -> list[float]:
                with torch_threads(self.threads), torch.inference_mode():
                    return run(runs)

            return call

        return open_network


@dataclass(frozen=True)
class TorchCompiled(TorchCpu):
    """The same by torch.compile, which writes C++ and needs a compiler for it.

    Raises:
        PnagError: if there is none.
    """

    name = "torch-compiled"

    def __post_init__(self) -> None:
        find_compiler()

    def prepare(self, network: nn.Module, input_shape: tuple[int, ...]) -> Open:
        """Trace and compile the network; opening it again takes the kernels of the first time."""
        images = images_like(input_shape)
        # Each trace has code of its own. Networks of one class share theirs, and torch.compile
        # gives up on code that was compiled for eight different networks: it would run it eager,
        # and say so in a warning only.
        with torch.no_grad():
            traced = torch.export.export(network.eval(), (images,)).module()
        opened = self._timed(
            traced, images, lambda own: torch.compile(own, fullgraph=True, dynamic=False)
        )

        def open_compiled() -> Call:
            call = opened()
            call(1)  # compiles
            return call

        return open_compiled


def find_compiler() -> str:
    """Path of the C++ compiler that torch.compile will call.

    Raises:
        PnagError: if there is none.
    """
    name = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    path = shutil.which(name)
    if path is None:
        raise PnagError(
            f"the runtime torch-compiled needs a C++ compiler, and {name} was not found: install "
            "it, or name another in the environment variable CXX"
        )
    return path
