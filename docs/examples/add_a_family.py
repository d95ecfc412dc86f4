"""A family of one's own: separable layers whose number and kernels are chosen.

import add_a_family, pnag
pnag.family("separable").supernet(num_classes=10)
"""

from __future__ import annotations

from dataclasses import replace

from timm.layers.norm_act import BatchNormAct2d
from timm.models._efficientnet_blocks import DepthwiseSeparableConv
from torch import Tensor, nn

from pnag.families.cut_family import CutFamily
from pnag.families.layers import Layer
from pnag.families.registry import register
from pnag.space import BaseArchitecture, SearchSpace, Unit, tokens_of

CHANNELS, DEPTH, KERNEL = (32, 64, 128), 3, 5  # of each stage; of the largest network


class Network(nn.Module):
    """The largest network; names and blocks are timm's."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv_stem = nn.Conv2d(3, CHANNELS[0], 3, 2, 1, bias=False)
        self.bn1 = BatchNormAct2d(CHANNELS[0])
        stages, before = [], CHANNELS[0]
        for channels in CHANNELS:
            layers = []
            for place in range(DEPTH):
                stride = 2 if place == 0 else 1
                layers.append(
                    DepthwiseSeparableConv(before, channels, KERNEL, stride, noskip=stride > 1)
                )
                before = channels
            stages.append(nn.Sequential(*layers))
        self.blocks = nn.Sequential(*stages)
        self.classifier = nn.Linear(before, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """(N, num_classes) of (N, 3, H, W)."""
        return self.classifier(self.blocks(self.bn1(self.conv_stem(images))).mean((2, 3)))


def table() -> tuple[Layer, ...]:
    """Its layers, one a row: what is counted, measured, trained and judged follows from this."""
    rows = [Layer("conv_stem", "conv", 3, CHANNELS[0], 0, 3, stride=2, activation="re", norm="bn1")]
    before = CHANNELS[0]
    for unit, channels in enumerate(CHANNELS):
        for place in range(DEPTH):
            rows.append(
                Layer(
                    f"blocks.{unit}.{place}", "separable", before, channels, before, KERNEL,
                    stride=2 if place == 0 else 1, activation="re", shortcut=place > 0,
                    unit=unit, place=place,
                )
            )  # fmt: skip
            before = channels
    last = CHANNELS[-1]
    return (*rows, Layer("pool", "pool", last, last), Layer("classifier", "linear", last, 0))


class Separable(CutFamily):
    """Each stage has one to three layers, each layer a kernel of 3 or 5; widths are fixed."""

    name = "separable"
    resolutions = (32, 64)
    table = table()
    space = SearchSpace(
        tokens_of([Unit((1, 2, 3), ((100,),) * DEPTH, ((3, 5),) * DEPTH)] * len(CHANNELS)),
        BaseArchitecture,
    )

    def chosen(self, layer: Layer, width: int, kernel: int) -> Layer:
        """The row with the kernel that an architecture chooses."""
        return replace(layer, width=width, kernel=kernel)

    def largest_network(self, num_classes: int) -> nn.Module:
        """The network that all others are cut out of."""
        return Network(num_classes)


@register("separable", "separable layers, as an example")
def separable(name: str) -> Separable:
    """The family of this name."""
    return Separable()
