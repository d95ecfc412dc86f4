"""What a published network of timm needs to be trained as our own are."""

from __future__ import annotations

from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional as F

from pnag.images.images import ImageData
from pnag.judging.recalibrate import recalibrate
from pnag.supernet.first_classifier import solved_layer
from pnag.supernet.loop import to_device
from pnag.supernet.settings import FinetuneSettings


def for_classes(network: Any, classes: int) -> nn.Module:
    """A network of timm, in place, with a fresh classifier, ready to be trained channels last."""
    network.reset_classifier(classes)
    with_plain_strides(network)
    found: nn.Module = network
    return found


def solve_classifiers(
    network: Any, data: ImageData, settings: FinetuneSettings, accelerator: Accelerator
) -> None:
    """Give a network of timm, in place, classifiers that suit its features of the images.

    As the supernet gets its own (`first_classifier`). Those that are no linear layers stay.
    """
    to_device(network, accelerator.device)
    recalibrate(network, data, device=accelerator.device)
    for layer in _classifiers(network):
        weight, bias = solved_layer(network, layer, data, 0, settings.label_smoothing, accelerator)
        with torch.no_grad():
            layer.weight.copy_(weight)
            if layer.bias is not None:
                layer.bias.copy_(bias)


def _classifiers(network: Any) -> list[nn.Linear]:
    """Its last linear layers: two of a network that was distilled."""
    found = network.get_classifier()
    parts = found if isinstance(found, tuple | list) else [found]
    return [each for part in parts for each in part.modules() if isinstance(each, nn.Linear)]


class PlainStride(nn.Conv2d):
    """A strided 1x1 convolution of images that first drops the pixels that it skips.

    torch 2.15 (oneDNN) writes past its memory in the backward pass of such a convolution, channels
    last: the stems of MobileOne, FastViT and RepVGG as they are trained have one.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C', H', W')."""
        down, right = self.stride
        x = x[:, :, ::down, ::right].contiguous(memory_format=torch.channels_last)
        return F.conv2d(x, self.weight, self.bias)


def with_plain_strides(network: nn.Module) -> None:
    """Make a network's strided 1x1 convolutions of images `PlainStride`, in place."""
    for module in network.modules():
        of_images = type(module) is nn.Conv2d and module.in_channels == 3
        if of_images and module.kernel_size == (1, 1) and module.stride != (1, 1):
            module.__class__ = PlainStride
