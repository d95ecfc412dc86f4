"""What is trained in bfloat16 is what is judged and exported: kernels are made in float32."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pnag.families import supernet
from pnag.families.elastic import LayerParts, Step, depthwise_weight, run_layer
from pnag.families.layers import Layer


class Depthwise(nn.Module):
    """A supernet's depthwise convolution alone: what projects its result leaves it as it is."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        filtering = nn.Conv2d(channels, channels, 7, padding=3, groups=channels, bias=False)
        self.matrices = supernet._with_matrices(filtering)
        self.register_buffer("same", torch.eye(channels)[:, :, None, None])
        self.channels = channels

    def parts(self) -> LayerParts:
        project = nn.Conv2d(self.channels, self.channels, 1, bias=False)
        project.weight = nn.Parameter(self.get_buffer("same"), requires_grad=False)
        conv = self.matrices.get_submodule("conv")
        assert isinstance(conv, nn.Conv2d)
        return LayerParts(Step(project), depthwise=Step(conv), matrices=self.matrices)

    def row(self, kernel: int) -> Layer:
        return Layer("made", "separable", self.channels, self.channels, self.channels, kernel)

    def weight(self, kernel: int) -> Tensor:
        return depthwise_weight(self.row(kernel), self.parts())

    def forward(self, x: Tensor, kernel: int) -> Tensor:
        return run_layer(x, self.row(kernel), self.parts())


@pytest.fixture
def layer() -> Depthwise:
    torch.manual_seed(0)
    made = Depthwise(32)
    with torch.no_grad():
        for name, value in made.named_parameters():
            if name.endswith("_matrix"):
                value.add_(0.1 * torch.randn_like(value))
    return made


@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_autocast_makes_no_other_kernels(layer: Depthwise, kernel: int) -> None:
    judged = layer.weight(kernel)
    with torch.autocast("cpu", torch.bfloat16):
        trained = layer.weight(kernel)
        # Whoever multiplies in bfloat16 rounds once, at the end: 8 bits.
        image = torch.zeros(1, 32, 7, 7)
        image[:, :, 3, 3] = 1
        shown = layer(image, kernel)
    assert trained.dtype == torch.float32 and torch.equal(trained, judged)
    assert shown.dtype == torch.bfloat16
    edge = (7 - kernel) // 2
    seen = F.pad(judged.flip(2, 3), (edge,) * 4)[:, 0].to(torch.bfloat16)
    assert torch.equal(shown[0], seen)


def test_gradients_reach_weights_and_matrices(layer: Depthwise) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        layer(torch.randn(2, 32, 7, 7), 3).float().square().sum().backward()
    for name, value in layer.named_parameters():
        assert value.grad is not None and value.grad.dtype == torch.float32
        assert value.grad.abs().sum() > 0, name


def test_devices_without_autocast_make_kernels_too() -> None:
    assert Depthwise(4).to("meta").weight(5).shape == (4, 1, 5, 5)
