"""Families made from a network of timm: `timm/efficientnet_lite0`.

The largest architecture is timm's network itself. A stage may lose its last layers, an inverted
residual half or a quarter of its expanded channels, and a kernel of 5 or 7 may shrink. Networks of
timm's `EfficientNet` and `MobileNetV3` classes will do whose blocks are ConvBnAct,
DepthwiseSeparableConv and InvertedResidual, with or without squeeze-excite.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import timm
import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.helpers import make_divisible
from timm.models._efficientnet_blocks import (
    ConvBnAct,
    DepthwiseSeparableConv,
    InvertedResidual,
    SqueezeExcite,
)
from timm.models.efficientnet import EfficientNet
from timm.models.mobilenetv3 import MobileNetV3
from torch import nn

from pnag.errors import PnagError
from pnag.families.base import PretrainedInput
from pnag.families.cut_family import CutFamily
from pnag.families.layers import Layer
from pnag.families.registry import no_family, register
from pnag.space import AnyArchitecture, BaseArchitecture, SearchSpace, Unit, tokens_of

PREFIX = "timm/"
PERCENT = (50, 75, 100)  # of the pretrained expanded channels: the widths
# Those that a test makes a supernet of; others of the same blocks work, too.
TRIED = (
    "efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2", "efficientnet_b0",
    "mobilenetv2_100", "mobilenetv2_140", "mobilenetv3_small_100", "mobilenetv3_large_100",
    "mnasnet_100", "fbnetc_100", "spnasnet_100", "tinynet_a",
)  # fmt: skip
SHORT = {"ReLU": "re", "Hardswish": "hs", "ReLU6": "r6", "SiLU": "sw", "Identity": ""}


class TimmFamily(CutFamily):
    """The family of one network of timm.

    Args:
        model: timm's name of it.

    Raises:
        PnagError: if timm has none of that name, or it has another kind of block.
    """

    def __init__(self, model: str) -> None:
        self.name, self.model = f"{PREFIX}{model}", model
        with torch.device("meta"):
            network = create(model, 1000)
        stages = _stages(network, self.name)
        self.table = tuple(_rows(network, stages, self.name))
        units = [_unit([row for row in self.table if row.unit == unit])
                 for unit in range(max(row.unit for row in self.table) + 1)]  # fmt: skip
        self.space = SearchSpace(tokens_of(units), BaseArchitecture)
        config = network.pretrained_cfg
        resolution = config["input_size"][-1]
        self.pretrained_input = PretrainedInput(config["mean"], config["std"], resolution)
        self.resolutions = tuple(range(64, resolution + 1, 16))
        self.repository: str | None = config.get("hf_hub_id") or None

    def chosen(self, layer: Layer, width: int, kernel: int) -> Layer:
        """See `Family.chosen`; squeeze-excite keeps its hidden channels."""
        expanded = _expanded(layer.expanded, width) if layer.kind == "inverted" else layer.expanded
        return replace(layer, width=width, kernel=kernel, expanded=expanded)

    def largest_network(self, num_classes: int) -> nn.Module:
        """timm's network with fresh weights."""
        network: nn.Module = create(self.model, num_classes)
        return network

    def config(self, arch: AnyArchitecture, num_classes: int) -> dict[str, Any]:
        """See `CutFamily.config`; timm's name, too, by which it is built without pnag."""
        return super().config(arch, num_classes) | {"timm": self.model}


def create(model: str, num_classes: int) -> Any:
    """A network of timm with fresh weights."""
    return timm.create_model(model, pretrained=False, num_classes=num_classes)


# --- reading a network --------------------------------------------------------------------------


def _stages(network: Any, name: str) -> list[list[Any]]:
    if not isinstance(network, EfficientNet | MobileNetV3):
        raise PnagError(
            f"{name} is timm's {type(network).__name__}, from which no supernet can be made; those "
            "of EfficientNet's and MobileNetV3's kind can, see `pnag families`"
        )
    stages: Any = network.blocks
    return [list(stage) for stage in stages]


def _rows(network: Any, stages: list[list[Any]], name: str) -> list[Layer]:
    """The layer table of a timm network."""
    stem = network.conv_stem
    _check_norms(network.bn1, name)
    rows = [
        Layer(
            "conv_stem",
            "conv",
            3,
            stem.out_channels,
            kernel=stem.kernel_size[0],
            stride=stem.stride[0],
            activation=_short(network.bn1.act),
            norm="bn1",
        )
    ]
    unit = 0
    for number, stage in enumerate(stages):
        layers = [_block(block, f"blocks.{number}.{place}", name)
                  for place, block in enumerate(stage)]  # fmt: skip
        chooses = [replace(layer, unit=unit, place=place) for place, layer in enumerate(layers)]
        own = _unit(chooses)
        if max(map(len, (own.depths, *own.widths, *own.kernels))) > 1:
            layers, unit = chooses, unit + 1
        rows += layers
    _check_norms(network, name)  # those of blocks and of the head
    return [*rows, *_head(network, rows[-1].out_channels, name)]


def _head(network: Any, channels: int, name: str) -> list[Layer]:
    """The rows after the last stage."""
    head, classifier = network.conv_head, network.classifier
    end = Layer("classifier", "linear", classifier.in_features, 0)
    if isinstance(head, nn.Identity):
        return [Layer("global_pool", "pool", channels, channels), end]
    if not isinstance(head, nn.Conv2d) or head.kernel_size != (1, 1) or head.groups != 1:
        raise PnagError(f"{name}: its `conv_head` is {head}, from which no supernet can be made")
    late = isinstance(network, MobileNetV3)  # after the pooling
    norm = "norm_head" if late else "bn2"
    normed = isinstance(getattr(network, norm), nn.BatchNorm2d)
    act = network.act2 if late and not normed else getattr(getattr(network, norm), "act", None)
    mix = Layer(
        "conv_head", "conv", channels, head.out_channels, activation=_short(act),
        norm=norm if normed else "", bias=head.bias is not None,
    )  # fmt: skip
    pooled = channels if late else head.out_channels
    pool = Layer("global_pool", "pool", pooled, pooled)
    return [pool, mix, end] if late else [mix, pool, end]


def _block(block: Any, place: str, name: str) -> Layer:
    """The row of one block.

    Raises:
        PnagError: names a block of another kind.
    """

    def refused(what: str) -> PnagError:
        return PnagError(
            f"{name} has {what} at {place}; a supernet can be made of ConvBnAct, "
            "DepthwiseSeparableConv and InvertedResidual with ordinary convolutions and "
            "SqueezeExcite"
        )

    kind = type(block)
    if kind not in (ConvBnAct, DepthwiseSeparableConv, InvertedResidual):
        raise refused(f"a block {kind.__name__}")
    for child_name, child in block.named_modules():
        if "Conv2d" in type(child).__name__ and type(child) not in (nn.Conv2d, Conv2dSame):
            raise refused(f"a {type(child).__name__} ({child_name})")
        if isinstance(child, nn.Conv2d) and child.dilation != (1, 1):
            raise refused(f"a dilated convolution ({child_name})")
        if isinstance(child, nn.Conv2d) and child.kernel_size[0] % 2 == 0:
            raise refused(f"an even kernel ({child_name})")
    if not isinstance(getattr(block, "aa", nn.Identity()), nn.Identity):
        raise refused(f"anti-aliasing ({type(block.aa).__name__})")
    if getattr(block, "conv_s2d", None) is not None:
        raise refused("space-to-depth")
    if kind is ConvBnAct:
        conv = block.conv
        if conv.groups != 1:
            raise refused("a grouped convolution")
        return Layer(
            place, "conv", conv.in_channels, conv.out_channels, kernel=conv.kernel_size[0],
            stride=conv.stride[0], activation=_short(block.bn1.act), norm=f"{place}.bn1",
            shortcut=block.has_skip,
        )  # fmt: skip
    inverted = kind is InvertedResidual
    depthwise, project = block.conv_dw, block.conv_pwl if inverted else block.conv_pw
    into = block.conv_pw.in_channels if inverted else depthwise.in_channels
    grouped = [depthwise.groups != depthwise.in_channels, project.groups != 1]
    if any(grouped) or (inverted and block.conv_pw.groups != 1):
        raise refused("a grouped convolution")
    excite = block.se
    if not isinstance(excite, SqueezeExcite | nn.Identity):
        raise refused(f"{type(excite).__name__} instead of squeeze-excite")
    return Layer(
        place, "inverted" if inverted else "separable", into, project.out_channels,
        depthwise.out_channels, depthwise.kernel_size[0], depthwise.stride[0],
        _short(block.bn2.act if inverted else block.bn1.act),
        excite.conv_reduce.out_channels if isinstance(excite, SqueezeExcite) else 0,
        block.has_skip,
    )  # fmt: skip


def _check_norms(module: nn.Module, name: str) -> None:
    for each_name, each in module.named_modules():
        kind = type(each).__name__
        if "Norm" in kind and not isinstance(each, nn.BatchNorm2d):
            raise PnagError(f"{name} has a {kind} ({each_name}), not a batch norm")


def _short(act: nn.Module | None) -> str:
    kind = type(act).__name__ if act is not None else "Identity"
    return SHORT.get(kind, kind.lower())


def _expanded(full: int, percent: int) -> int:
    return full if percent == 100 else min(full, int(make_divisible(full * percent / 100, 8)))


def _unit(layers: list[Layer]) -> Unit:
    """What the layers of a stage may choose."""
    out = layers[0].out_channels
    # After the last layer that others cannot do without.
    needed = [
        place
        for place, layer in enumerate(layers)
        if place and (layer.stride > 1 or {layer.in_channels, layer.out_channels} != {out})
    ]
    least = max(needed, default=0) + 1
    widths, kernels = [], []
    for layer in layers:
        # of two percentages that round to the same channels the larger
        channels = {_expanded(layer.expanded, percent): percent for percent in PERCENT}
        inverted = layer.kind == "inverted"
        widths.append(tuple(sorted(channels.values())) if inverted else (100,))
        smaller = tuple(range(3, layer.kernel + 1, 2))
        kernels.append(smaller if smaller and layer.kind != "conv" else (layer.kernel,))
    return Unit(tuple(range(least, len(layers) + 1)), tuple(widths), tuple(kernels))


@register(PREFIX, "made from a network of timm", lambda: [f"{PREFIX}{model}" for model in TRIED])
def _family(name: str) -> TimmFamily:
    model = name.removeprefix(PREFIX).partition(".")[0]
    if not timm.is_model(model):
        raise no_family(name, [f"{PREFIX}{each}" for each in timm.list_models()])
    tagged = timm.list_models(f"{model}.*", pretrained=True)
    if "." in name and name.removeprefix(PREFIX) not in tagged:
        raise no_family(name, [f"{PREFIX}{each}" for each in tagged])
    return TimmFamily(name.removeprefix(PREFIX))
