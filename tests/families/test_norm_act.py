"""Batch norm and activation in one, against torch's one after the other."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn

import pnag
from pnag.families.norm_act import norm_act, with_quick_norms
from pnag.families.quick_layers import with_quick_layers


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def batch_norm(channels: int) -> nn.BatchNorm2d:
    torch.manual_seed(channels)
    norm = nn.BatchNorm2d(channels)
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2)
        norm.bias.uniform_(-1, 3)
        assert norm.running_mean is not None
        norm.running_mean.normal_()
    return norm.train()


def maps(*shape: int) -> Tensor:
    return (torch.randn(*shape) * 3 + 5).to(memory_format=torch.channels_last)


def run(norm: nn.BatchNorm2d, act: nn.Module | None, x: Tensor, quick: bool) -> list[Tensor]:
    """Output, gradients and running statistics."""
    norm, x = copy.deepcopy(norm), x.clone().requires_grad_()
    if quick:
        y = norm_act(x, norm, act)
    else:
        y = (norm.double() if x.dtype == torch.float64 else norm)(x)
        y = y if act is None else act(y)
    weights = torch.linspace(-1, 1, y.numel(), dtype=torch.float64).view_as(y).to(y.dtype)
    y.backward(weights.to(memory_format=torch.channels_last))
    assert x.grad is not None and norm.weight.grad is not None and norm.bias.grad is not None
    assert norm.running_mean is not None and norm.running_var is not None
    assert norm.num_batches_tracked == 1
    found = [y, x.grad, norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var]
    return [value.detach().double() for value in found]


@pytest.mark.parametrize("act", [None, nn.Identity(), nn.ReLU(), nn.ReLU6(), nn.Hardswish()])
@pytest.mark.parametrize("shape", [(4, 16, 8, 8), (3, 5, 7, 9), (1, 700, 2, 1), (8, 3, 1, 1)])
def test_it_is_torchs(act: nn.Module | None, shape: tuple[int, ...]) -> None:
    x, norm = maps(*shape).bfloat16(), batch_norm(shape[1])
    exact = run(norm, act, x.double(), quick=False)
    found = run(norm, act, x, quick=True), run(copy.deepcopy(norm), act, x, quick=False)
    for mine, theirs, truth in zip(*found, exact, strict=True):
        assert mine.shape == truth.shape
        error, usual = ((each - truth).norm() for each in (mine, theirs))
        assert error <= 1.1 * usual + 1e-6 * truth.norm()


def test_the_first_channels_of_a_wider_one_are_used_and_moved() -> None:
    x, norm = maps(4, 6, 5, 5).bfloat16(), batch_norm(9)
    before = copy.deepcopy(norm)
    y = norm_act(x, norm, nn.ReLU6())
    y.sum().backward()
    assert norm.weight.grad is not None
    assert norm.weight.grad[:6].any() and not norm.weight.grad[6:].any()
    assert norm.running_mean is not None and before.running_mean is not None
    moved = norm.running_mean != before.running_mean
    assert moved.tolist() == [True] * 6 + [False] * 3


def test_what_is_no_number_stays_none() -> None:
    x = maps(2, 4, 3, 3).bfloat16()
    x[0, 1, 0, 0] = float("nan")
    y = norm_act(x, batch_norm(4), nn.ReLU6())
    assert y[:, 1].isnan().all() and not y[:, 0].isnan().any()


def test_where_it_cannot_be_quick_it_is_torchs() -> None:
    x, norm = maps(2, 4, 3, 3).bfloat16(), batch_norm(4)
    in_half = copy.deepcopy(norm).bfloat16()
    assert torch.equal(norm_act(x, in_half, None), copy.deepcopy(norm).bfloat16()(x))
    # Statistics that are no number are of no use, and training needs none.
    wrong = copy.deepcopy(norm)
    assert wrong.running_mean is not None
    wrong.running_mean.fill_(float("nan"))
    assert torch.allclose(norm_act(x, wrong, None), norm_act(x, norm, None), atol=0.05)


def test_statistics_are_measured_over_all_batches_without_momentum() -> None:
    network = nn.Sequential(BatchNormAct2d(3)).train()
    plain = copy.deepcopy(network)
    with_quick_norms(network)
    for each in (network, plain):
        each[0].momentum = None  # type: ignore[assignment]
        torch.manual_seed(0)
        for _ in range(3):
            each(maps(4, 3, 5, 5))
    for key, value in network.state_dict().items():
        assert torch.equal(value, plain.state_dict()[key])


def test_the_number_of_threads_changes_no_bit(threads: None) -> None:
    x, norm, found = maps(10, 12, 9, 9).bfloat16(), batch_norm(12), []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        found.append(run(norm, nn.ReLU6(), x, quick=True))
    for others in found[1:]:
        assert all(map(torch.equal, found[0], others))


def test_a_network_is_the_same_and_trains_as_before() -> None:
    of = pnag.family("timm/efficientnet_lite0")
    network = of.build(of.largest, 4).to(memory_format=torch.channels_last)
    plain, names = copy.deepcopy(network), list(network.state_dict())
    with_quick_layers(network)
    assert list(network.state_dict()) == names
    images = maps(4, 3, 32, 32)
    assert torch.equal(network.eval()(images), plain.eval()(images))

    def gradients(whole: Any) -> Tensor:
        """Of the first layers: after all of them, rounding has changed all of it."""
        trained = nn.Sequential(whole.conv_stem, whole.bn1, whole.blocks[:2]).train()
        with torch.autocast("cpu", torch.bfloat16):
            loss = trained(images).float().square().mean()
        loss.backward()
        return torch.cat([p.grad.flatten() for p in trained.parameters() if p.grad is not None])

    ours, theirs = gradients(network), gradients(plain)
    assert (ours - theirs).norm() <= 0.05 * theirs.norm()


def test_only_norms_that_always_normalise_alike_become_quick() -> None:
    kept = [
        BatchNormAct2d(3, affine=False),
        BatchNormAct2d(3, track_running_stats=False),
        BatchNormAct2d(3, drop_layer=nn.Dropout2d),
    ]
    network = nn.Sequential(*kept, BatchNormAct2d(3))
    with_quick_norms(network)
    assert [type(module) is BatchNormAct2d for module in network] == [True] * 3 + [False]
