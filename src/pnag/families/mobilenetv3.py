"""The network of one architecture, built from timm's MobileNetV3.

The layout is Once-for-All's (`shared/facts/README.md`): stem, a depthwise-separable block, five
units of inverted residuals, a 1x1 convolution, pooling, a 1x1 convolution without batch norm, and
the classifier. Units are timm "stages", so a network's weights have timm's usual names.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from timm.layers.helpers import make_divisible
from timm.models._efficientnet_blocks import SqueezeExcite
from timm.models._efficientnet_builder import decode_arch_def, round_channels
from timm.models.mobilenetv3 import MobileNetV3
from torch import nn

from pnag.errors import BadValueError
from pnag.space import AnyArchitecture, as_architecture
from pnag.space.architecture import MAX_DEPTH, UNITS

STEM_CHANNELS = 16
FINAL_CHANNELS = 960
HEAD_CHANNELS = 1280


@dataclass(frozen=True)
class Unit:
    """What all layers of a unit share, at width multiplier 1."""

    channels: int
    stride: int
    activation: str
    squeeze_excite: bool


UNIT_LAYOUT = (
    Unit(24, 2, "re", False),
    Unit(40, 2, "re", True),
    Unit(80, 2, "hs", False),
    Unit(112, 1, "hs", True),
    Unit(160, 2, "hs", True),
)


def scaled(channels: int, width_mult: float) -> int:
    """Channels under a width multiplier, rounded to a multiple of 8."""
    return int(make_divisible(channels * width_mult, 8))


def squeezed(expanded: int) -> int:
    """Hidden channels of squeeze-excite over so many channels, as timm rounds them."""
    return int(make_divisible(expanded / 4, 8))


def build(arch: AnyArchitecture, width_mult: float = 1.0, num_classes: int = 1000) -> MobileNetV3:
    """The timm network of one architecture, with fresh weights.

    Args:
        arch: the architecture, or its text form.
        width_mult: multiplies all channels (Once-for-All publishes 1.0 and 1.2).
        num_classes: outputs of the classifier.

    Returns:
        A `timm.models.mobilenetv3.MobileNetV3` that takes (N, 3, H, W) images. Its attribute
        `pnag_config` is what `from_config` builds it from again.

    Raises:
        BadValueError: (a ValueError) for a malformed text, or a width or class count that is not
            positive.
    """
    return from_config(network_config(arch, width_mult, num_classes))


def network_config(
    arch: AnyArchitecture, width_mult: float = 1.0, num_classes: int = 1000
) -> dict[str, Any]:
    """What timm needs to know to build the network, as JSON; arguments and errors as `build`'s.

    Returns:
        `arch_def` in timm's notation of blocks, and numbers that are timm's or ours by name.
    """
    arch = as_architecture(arch)
    if not 0 < width_mult < float("inf"):
        raise BadValueError(f"width_mult is {width_mult}, needs a positive number")
    if num_classes < 1:
        raise BadValueError(f"num_classes is {num_classes}, needs at least 1")
    stages = [["ds_r1_k3_s1_e1_c16_nre"]]
    for unit in range(UNITS):
        layout = UNIT_LAYOUT[unit]
        stage = []
        for layer in range(arch.depths[unit]):
            kernel = arch.kernels[unit * MAX_DEPTH + layer]
            width = arch.widths[unit * MAX_DEPTH + layer]
            stride = layout.stride if layer == 0 else 1
            squeeze = "_se0.25" if layout.squeeze_excite else ""
            # The first layer of a unit never has a shortcut, even where its shapes would allow one.
            no_skip = "_noskip" if layer == 0 else ""
            stage.append(
                f"ir_r1_k{kernel}_s{stride}_e{width}_c{layout.channels}{squeeze}"
                f"_n{layout.activation}{no_skip}"
            )
        stages.append(stage)
    stages.append([f"cn_r1_k1_s1_c{FINAL_CHANNELS}_nhs"])
    return {
        "arch_def": stages,
        "width_mult": width_mult,
        "num_classes": num_classes,
        "stem_size": STEM_CHANNELS,
        "num_features": scaled(HEAD_CHANNELS, width_mult),
    }


def from_config(config: dict[str, Any]) -> MobileNetV3:
    """The timm network of a `network_config`, with fresh weights."""
    network = MobileNetV3(
        decode_arch_def(config["arch_def"]),
        num_classes=config["num_classes"],
        stem_size=config["stem_size"],
        num_features=config["num_features"],
        head_bias=False,
        act_layer=nn.Hardswish,
        se_layer=partial(
            SqueezeExcite,
            gate_layer="hard_sigmoid",
            force_act_layer=nn.ReLU,
            rd_round_fn=round_channels,
        ),
        round_chs_fn=partial(round_channels, multiplier=config["width_mult"]),
    )
    network.pnag_config = config  # type: ignore[assignment]  # torch types attributes as tensors
    return network
