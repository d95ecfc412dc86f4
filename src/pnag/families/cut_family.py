"""Families whose architectures are cut out of one network, the largest.

An architecture leaves out a stage's last layers, the last of a layer's expanded channels and the
rims of its kernels. The network's modules are named as timm names those of its EfficientNet:
`conv_stem`, `bn1` (with its activation), `blocks.STAGE.PLACE`, `conv_head`, `bn2`, `classifier`;
its blocks are timm's ConvBnAct, DepthwiseSeparableConv and InvertedResidual.
"""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any

from timm.layers.conv2d_same import Conv2dSame
from torch import nn

from pnag.families.base import Family, check_size
from pnag.families.cut_supernet import CutSupernet, load_weights
from pnag.families.layers import Layer
from pnag.space import AnyArchitecture


class CutFamily(Family):
    """What such a family adds: its `table`, `space`, `chosen` and `largest_network`."""

    @abstractmethod
    def largest_network(self, num_classes: int) -> nn.Module:
        """The network that all others are cut out of, with fresh weights."""

    def config(self, arch: AnyArchitecture, num_classes: int) -> dict[str, Any]:
        """What `from_config` builds a network from, as JSON."""
        return {"family": self.name, "arch": str(arch), "num_classes": num_classes}

    def build(self, arch: AnyArchitecture, num_classes: int = 1000) -> nn.Module:
        """See `Family.build`."""
        check_size(1, num_classes)
        arch = self.parse(arch)
        network = self.largest_network(num_classes)
        cut(network, {layer.name: layer for layer in self.active(arch)})
        network.pnag_config = self.config(arch, num_classes)  # type: ignore[assignment]
        return network

    def from_config(self, config: dict[str, Any]) -> nn.Module:
        """See `Family.from_config`."""
        return self.build(config["arch"], config["num_classes"])

    def supernet(self, num_classes: int = 1000, weights: Path | str | None = None) -> CutSupernet:
        """See `Family.supernet`; a file has the network's names, ours, or shapes in its order."""
        check_size(1, num_classes)
        supernet = CutSupernet(self, num_classes)
        if weights is not None:
            load_weights(supernet, Path(weights))
        return supernet


def cut(network: Any, layers: dict[str, Layer]) -> None:
    """Leave of a timm network what an architecture has of it, in place.

    Args:
        layers: the architecture's, by name.
    """
    for number, stage in enumerate(network.blocks):
        kept = []
        for place, block in enumerate(stage):
            layer = layers.get(f"blocks.{number}.{place}")
            if layer is not None:
                _narrow(block, layer)
                kept.append(block)
        network.blocks[number] = nn.Sequential(*kept)


def _narrow(block: Any, layer: Layer) -> None:
    if layer.kind == "conv":
        return
    inside, depthwise = layer.expanded, block.conv_dw
    begin = (depthwise.kernel_size[0] - layer.kernel) // 2
    end = begin + layer.kernel
    weight = depthwise.weight[:inside, :, begin:end, begin:end]
    depthwise.weight = nn.Parameter(weight.detach().clone())
    depthwise.in_channels = depthwise.out_channels = depthwise.groups = inside
    depthwise.kernel_size = (layer.kernel,) * 2
    if not isinstance(depthwise, Conv2dSame):
        depthwise.padding = (layer.kernel // 2,) * 2
    if layer.kind == "separable":
        return
    _cut_conv(block.conv_pw, out=inside)
    _cut_conv(block.conv_pwl, into=inside)
    for norm in (block.bn1, block.bn2):
        norm.num_features = inside
        for name in ("weight", "bias"):
            setattr(norm, name, nn.Parameter(getattr(norm, name)[:inside].detach().clone()))
        for name in ("running_mean", "running_var"):
            setattr(norm, name, getattr(norm, name)[:inside].clone())
    if layer.squeezed:
        _cut_conv(block.se.conv_reduce, into=inside)
        _cut_conv(block.se.conv_expand, out=inside)


def _cut_conv(conv: nn.Conv2d, into: int | None = None, out: int | None = None) -> None:
    conv.weight = nn.Parameter(conv.weight[:out, :into].detach().clone())
    if conv.bias is not None:
        conv.bias = nn.Parameter(conv.bias[:out].detach().clone())
    conv.out_channels, conv.in_channels = conv.weight.shape[:2]
