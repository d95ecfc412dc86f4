"""A runtime of your own: TorchScript on the CPU.

A runtime says what a time depends on (`identity`) and turns a network into a call (`prepare`). Put
it into `RUNTIMES`, and `pnag measure --runtime torchscript` and `pnag run --runtime torchscript`
build its latency table, fit and check the latency model, and time the answers on it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from pnag.cost.runtimes import RUNTIMES, Entry
from pnag.cost.runtimes.machine import cpu_name
from pnag.cost.timing import Call, Open, stopwatch


@dataclass(frozen=True)
class TorchScript:
    """TorchScript, frozen, on this CPU; `threads` is accepted and told, as every runtime must."""

    threads: int = 1
    batch: int = 1

    def identity(self) -> dict[str, str | int]:
        """A latency table of another identity is refused instead of completed."""
        return {
            "device": cpu_name(),
            "runtime": "torchscript",
            "version": torch.__version__,
            "threads": self.threads,
            "batch": self.batch,
        }

    def prepare(self, network: nn.Module, input_shape: tuple[int, ...]) -> Open:
        """Convert once; opening is cheap and happens several times."""
        images = torch.randn(input_shape)
        with torch.no_grad():
            traced = torch.jit.freeze(torch.jit.trace(network.eval(), images))

        @torch.inference_mode()
        def run() -> object:
            torch.set_num_threads(self.threads)
            return traced(images)

        def open_network() -> Call:
            return stopwatch(run)

        return open_network


RUNTIMES["torchscript"] = Entry(__name__, "TorchScript", "TorchScript on the CPU")
