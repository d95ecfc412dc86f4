"""What is trained in bfloat16 is what is judged and exported: kernels are made in float32."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from pnag.families.elastic import ElasticDepthwise


@pytest.fixture
def layer() -> ElasticDepthwise:
    torch.manual_seed(0)
    made = ElasticDepthwise(32, 1)
    with torch.no_grad():
        for name, value in made.named_parameters():
            if name.endswith("_matrix"):
                value.add_(0.1 * torch.randn_like(value))
    return made


@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_autocast_makes_no_other_kernels(layer: ElasticDepthwise, kernel: int) -> None:
    judged = layer.weight(32, kernel)
    with torch.autocast("cpu", torch.bfloat16):
        trained = layer.weight(32, kernel)
        # Whoever multiplies in bfloat16 rounds once, at the end: 8 bits.
        image = torch.zeros(1, 32, 7, 7)
        image[:, :, 3, 3] = 1
        shown = layer(image, kernel)
    assert trained.dtype == torch.float32 and torch.equal(trained, judged)
    assert shown.dtype == torch.bfloat16
    edge = (7 - kernel) // 2
    seen = F.pad(judged.flip(2, 3), (edge,) * 4)[:, 0].to(torch.bfloat16)
    assert torch.equal(shown[0], seen)


def test_gradients_reach_weights_and_matrices(layer: ElasticDepthwise) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        layer(torch.randn(2, 32, 7, 7), 3).float().square().sum().backward()
    for name, value in layer.named_parameters():
        assert value.grad is not None and value.grad.dtype == torch.float32
        assert value.grad.abs().sum() > 0, name


def test_devices_without_autocast_make_kernels_too() -> None:
    assert ElasticDepthwise(4, 1).to("meta").weight(4, 5).shape == (4, 1, 5, 5)
