"""The quick backward pass of large depthwise kernels against torch's."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import pnag
from pnag.families.depthwise import (
    DepthwiseConv2d,
    depthwise,
    weight_gradient,
    with_fast_depthwise,
)


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("batch", [1, 3, 8])
@pytest.mark.parametrize(
    ("channels", "height", "width", "kernel", "stride", "padding"),
    [
        (8, 12, 12, 7, 1, 3),
        (5, 7, 9, 7, 2, 3),
        (16, 3, 3, 5, 1, 2),
        (1, 6, 6, 5, 2, 2),
        (24, 1, 1, 5, 1, 2),
        (6, 8, 5, 5, 1, 1),  # what is left of a 7x7 whose outer taps meet only padding
    ],
)
def test_gradients_are_torchs(
    batch: int, channels: int, height: int, width: int, kernel: int, stride: int, padding: int
) -> None:
    torch.manual_seed(0)
    x = torch.randn(batch, channels, height, width).to(memory_format=torch.channels_last)
    weight = torch.randn(channels, 1, kernel, kernel)
    results = []
    for double in (False, True):
        a, w = ((v.double() if double else v.clone()).requires_grad_() for v in (x, weight))
        if double:
            y = F.conv2d(a, w, None, stride, padding, 1, channels)
        else:
            a = a.detach().requires_grad_()
            y = depthwise(a, w, stride, padding)
        (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)).sum().backward()
        assert a.grad is not None and w.grad is not None
        results.append((y.detach().double(), a.grad.double(), w.grad.double()))
    for ours, exact in zip(*results, strict=True):
        assert ours.shape == exact.shape
        assert (ours - exact).abs().max() <= 1e-5 * exact.abs().max().clamp(min=1)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [(3, 1, 1), (3, 2, 1), (5, 1, 2), (7, 2, 3), (3, 2, 0), (5, 1, 0), (3, 3, 1)],
)
@pytest.mark.parametrize("size", [(9, 9), (8, 11)])
@pytest.mark.parametrize("autocast", [False, True])
def test_gradients_in_bfloat16_are_nearly_those_of_float32(
    kernel: int, stride: int, padding: int, size: tuple[int, int], autocast: bool
) -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 16, *size).to(memory_format=torch.channels_last)
    weight, found = torch.randn(16, 1, kernel, kernel), []
    for exact in (True, False):
        a, w = x.clone().requires_grad_(), weight.clone().requires_grad_()
        if exact:
            y = F.conv2d(a, w, None, stride, padding, 1, 16)
        else:
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                y = depthwise(a if autocast else a.bfloat16(), w, stride, padding)
            assert y.dtype == torch.bfloat16
        (y.float() * torch.linspace(-1, 1, y.numel()).view_as(y)).sum().backward()
        assert a.grad is not None and w.grad is not None and w.grad.dtype == torch.float32
        found.append((y.detach().float(), a.grad, w.grad))
    for ours, float32 in zip(*reversed(found), strict=True):
        assert (ours - float32).norm() <= 0.02 * float32.norm()


def test_the_number_of_threads_changes_no_bit(threads: None) -> None:
    x, grad = torch.randn(10, 12, 9, 9), torch.randn(10, 12, 9, 9)
    found = []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        in_half = weight_gradient(x.bfloat16(), grad.bfloat16(), 5, 1, 2)
        found.append(torch.cat([weight_gradient(x, grad, 5, 1, 2), in_half]))
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


def test_a_network_gets_the_quick_convolutions_and_stays_the_same() -> None:
    space = pnag.SearchSpace()
    arch = space.decode(space.sample(1, np.random.default_rng(0)))[0]
    network = pnag.build(arch, 0.25, 10).eval()
    images = torch.randn(2, 3, 32, 32)
    before, names = network(images), list(network.state_dict())
    with_fast_depthwise(network)
    assert list(network.state_dict()) == names
    assert torch.equal(network(images), before)
    quick = [m for m in network.modules() if isinstance(m, DepthwiseConv2d)]
    assert len(quick) == sum(arch.depths) + 1  # and the first block's
    plain = [m for m in network.modules() if type(m) is nn.Conv2d]
    assert all(m.groups == 1 for m in plain)
