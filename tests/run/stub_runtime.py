"""A runtime whose times follow from a network's multiply-adds, at once and without noise.

For whole runs in tests: the fixture `stub` (`conftest.py`) registers it, and so do the processes of
`stopped_runs.py`.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import nn

from pnag.cost.runtimes import Entry
from pnag.cost.timing import Open

FIXED = 0.02  # ms of a call
LAYER = 0.002  # ms of a convolution or matrix, besides its multiply-adds
MACS = 5e7  # a ms
SLOWER: tuple[float, ...] = (1.0,)  # call after call
ENTRY = Entry("stub_runtime", "Stub", "made-up times")


def milliseconds(network: nn.Module, input_shape: tuple[int, ...]) -> float:
    """Exactly a fixed time and the sum over layers: what the latency model takes latencies for."""
    shadow = copy.deepcopy(network).to("meta").eval()
    macs: list[int] = []

    def count(module: nn.Module, _: object, out: torch.Tensor) -> None:
        weight = module.weight
        assert isinstance(weight, torch.Tensor)
        macs.append(out.shape[2:].numel() * weight.numel())

    for module in shadow.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_hook(count)
    with torch.no_grad():
        shadow(torch.zeros(input_shape, device="meta"))
    return FIXED + len(macs) * LAYER + sum(macs) / MACS


@dataclass(frozen=True)
class Stub:
    """Takes no time at all to tell how long it would take."""

    threads: int = 1
    batch: int = 1

    def identity(self) -> dict[str, str | int]:
        return {"device": "stub", "runtime": "stub", "version": "1",
                "threads": self.threads, "batch": self.batch}  # fmt: skip

    def prepare(self, network: nn.Module, input_shape: tuple[int, ...]) -> Open:
        took = milliseconds(network, input_shape)
        return lambda: lambda runs: [took * SLOWER[i % len(SLOWER)] for i in range(runs)]
