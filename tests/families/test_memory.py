"""Peak memory: the formula against a walk through the real network that sees what is alive."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from timm.layers.adaptive_avgmax_pool import SelectAdaptivePool2d
from timm.models._efficientnet_blocks import (
    DepthwiseSeparableConv,
    InvertedResidual,
    SqueezeExcite,
)
from torch import nn

import pnag
from pnag.families.ofa_mobilenetv3 import ofa

SPACE = pnag.SearchSpace()


def peak_by_hooks(network: nn.Module, resolution: int) -> int:
    """Bytes alive at the dearest operator, by the objects that go in and out of modules.

    A tensor that is held and also goes in is one object and counts once.
    """
    held: list[torch.Tensor] = []
    peak = 0

    def enters(module: nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
        held.append(arguments[0])

    def leaves(module: nn.Module, arguments: object, output: object) -> None:
        held.pop()

    def operator(
        module: nn.Module, arguments: tuple[torch.Tensor, ...], output: torch.Tensor
    ) -> None:
        nonlocal peak
        alive = {id(tensor): tensor for tensor in (*held, arguments[0], output)}
        peak = max(peak, sum(tensor.numel() * 4 for tensor in alive.values()))

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear | SelectAdaptivePool2d):
            module.register_forward_hook(operator)
        shortcut = isinstance(module, InvertedResidual | DepthwiseSeparableConv) and module.has_skip
        if shortcut or isinstance(module, SqueezeExcite):
            module.register_forward_pre_hook(enters)
            module.register_forward_hook(leaves)
    with torch.no_grad():
        network.eval()(torch.zeros(1, 3, resolution, resolution))
    assert not held
    return peak


@pytest.mark.parametrize(
    ("width_mult", "resolution", "classes"),
    [(1.0, 224, 1000), (1.2, 160, 10), (0.35, 65, 7), (0.5, 32, 3), (0.35, 32, 100_000)],
)
def test_peak_memory_is_that_of_the_built_network(
    width_mult: float, resolution: int, classes: int
) -> None:
    tokens = SPACE.sample_stretched(5, np.random.default_rng(0))
    counted = []
    for text in SPACE.text(tokens):
        counts = pnag.count(text, width_mult, resolution, classes)
        network = pnag.build(text, width_mult, classes)
        assert counts.memory == peak_by_hooks(network, resolution)
        counted.append(counts.memory)
    batch = pnag.families.count_batch(ofa(width_mult), tokens, resolution, classes)
    assert batch.memory.tolist() == counted


def test_peak_memory_tells_architectures_apart() -> None:
    tokens = SPACE.sample(500, np.random.default_rng(0))
    assert len(set(pnag.families.count_batch(ofa(), tokens).memory.tolist())) > 3
    smallest, largest = SPACE.sample_stretched(500, np.random.default_rng(0))[[0, -1]]
    memory = pnag.families.count_batch(ofa(), np.stack([smallest, largest])).memory
    # The expanded map (6 * 16 channels at 112x112) before and after the first unit's stride.
    assert memory[1] == 4 * (96 * 112**2 + 96 * 56**2) > memory[0]
