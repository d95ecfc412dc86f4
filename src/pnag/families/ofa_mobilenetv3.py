"""Once-for-All's MobileNetV3 family, at any width.

Stem, a depthwise-separable block, five units of inverted residuals, a 1x1 convolution, pooling, a
1x1 convolution without batch norm, and the classifier. In the plain
network, timm's MobileNetV3, units are timm's "stages", so its weights have timm's usual names.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from timm.layers.helpers import make_divisible
from timm.models._efficientnet_blocks import SqueezeExcite
from timm.models._efficientnet_builder import decode_arch_def, round_channels
from timm.models.mobilenetv3 import MobileNetV3
from torch import nn

from pnag.errors import BadValueError
from pnag.families.base import Family, check_size
from pnag.families.layers import Layer
from pnag.families.registry import DEFAULT, family, no_family, of_width, register
from pnag.space import AnyArchitecture, SearchSpace
from pnag.space.architecture import KERNELS, MAX_DEPTH, WIDTHS

if TYPE_CHECKING:
    from pnag.families.supernet import Supernet

STEM_CHANNELS = 16
FINAL_CHANNELS = 960
HEAD_CHANNELS = 1280
PUBLISHED_WIDTHS = (1.0, 1.2)


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


class OfaMobileNetV3(Family):
    """The family at one width.

    Args:
        width_mult: multiplies all channels (Once-for-All publishes 1.0 and 1.2).

    Raises:
        BadValueError: (a ValueError) for a width that is not positive.
    """

    space = SearchSpace()
    resolutions = tuple(range(128, 225, 4))

    def __init__(self, width_mult: float) -> None:
        if not 0 < width_mult < float("inf"):
            raise BadValueError(f"width_mult must be a positive number, not {width_mult}")
        self.width_mult = width_mult
        self.name = of_width(width_mult)
        self.table = _table(width_mult)

    @property
    def label(self) -> str:
        """Its width."""
        return f"width {self.width_mult:g}"

    def identity(self) -> dict[str, Any]:
        """Its width, by which files of this family have always been known."""
        return super().identity() if self.elastic else {"width_mult": self.width_mult}

    def chosen(self, layer: Layer, width: int, kernel: int) -> Layer:
        """See `Family.chosen`; squeeze-excite has a quarter of the chosen channels."""
        expanded = scaled(layer.in_channels, width)
        return replace(
            layer,
            width=width,
            kernel=kernel,
            expanded=expanded,
            squeezed=squeezed(expanded) if layer.squeezed else 0,
        )

    def network_config(self, arch: AnyArchitecture, num_classes: int = 1000) -> dict[str, Any]:
        """What timm needs to know to build the network, as JSON.

        Returns:
            `arch_def` in timm's notation of blocks, and numbers that are timm's or ours by name.
        """
        check_size(1, num_classes)
        layers = self.active(arch)
        blocks = [layer for layer in layers if layer.name.startswith("blocks.")]
        stages = groupby(blocks, lambda layer: layer.name.split(".")[1])
        (head,) = (layer for layer in layers if layer.name == "conv_head")
        return {
            "family": self.name,
            "arch_def": [[_notation(layer) for layer in stage] for _, stage in stages],
            "num_classes": num_classes,
            "stem_size": layers[0].out_channels,
            "num_features": head.out_channels,
        }

    def build(self, arch: AnyArchitecture, num_classes: int = 1000) -> MobileNetV3:
        """See `Family.build`."""
        return from_config(self.network_config(arch, num_classes))

    def from_config(self, config: dict[str, Any]) -> MobileNetV3:
        """See `Family.from_config`."""
        return from_config(config)

    def supernet(self, num_classes: int = 1000, weights: Path | str | None = None) -> Supernet:
        """See `Family.supernet`; of a width that differs from the file's is refused."""
        from pnag.families.checkpoints import started_from
        from pnag.families.supernet import Supernet

        supernet = Supernet(self.width_mult, num_classes)
        supernet.family = self  # which may choose its resolution
        if weights is not None:
            started_from(supernet, weights)
        return supernet


def _table(width_mult: float) -> tuple[Layer, ...]:
    """The rows of the largest architecture."""
    stem, final, head = (
        scaled(c, width_mult) for c in (STEM_CHANNELS, FINAL_CHANNELS, HEAD_CHANNELS)
    )
    rows = [
        Layer("conv_stem", "conv", 3, stem, kernel=3, stride=2, activation="hs", norm="bn1"),
        Layer("blocks.0.0", "separable", stem, stem, stem, 3, activation="re", shortcut=True),
    ]
    channels, kernel, width = stem, max(KERNELS), max(WIDTHS)
    for unit, layout in enumerate(UNIT_LAYOUT):
        out = scaled(layout.channels, width_mult)
        for place in range(MAX_DEPTH):
            expanded = scaled(channels, width)
            rows.append(
                Layer(
                    f"blocks.{unit + 1}.{place}", "inverted", channels, out, expanded, kernel,
                    stride=layout.stride if place == 0 else 1,
                    activation=layout.activation,
                    squeezed=squeezed(expanded) if layout.squeeze_excite else 0,
                    # A unit's first layer never has one, even where its shapes would allow it.
                    shortcut=place > 0,
                    unit=unit, place=place, width=width,
                )
            )  # fmt: skip
            channels = out
    last = f"blocks.{len(UNIT_LAYOUT) + 1}.0"
    return (
        *rows,
        Layer(last, "conv", channels, final, activation="hs", norm=f"{last}.bn1"),
        Layer("global_pool", "pool", final, final),
        Layer("conv_head", "conv", final, head, activation="hs"),
        Layer("classifier", "linear", head, 0),
    )


def _notation(layer: Layer) -> str:
    """A block as timm's `arch_def` writes it."""
    size = f"k{layer.kernel}_s{layer.stride}"
    end = f"c{layer.out_channels}{'_se0.25' if layer.squeezed else ''}_n{layer.activation}"
    if layer.kind == "conv":
        return f"cn_r1_{size}_{end}"
    if layer.kind == "separable":
        return f"ds_r1_{size}_e1_{end}"
    return f"ir_r1_{size}_e{layer.width}_{end}{'' if layer.shortcut else '_noskip'}"


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
        # earlier configs had the channels of width 1 in `arch_def`
        round_chs_fn=partial(round_channels, multiplier=config.get("width_mult", 1.0)),
    )
    network.pnag_config = config  # type: ignore[assignment]  # torch types attributes as tensors
    return network


def ofa(width_mult: float = 1.0) -> OfaMobileNetV3:
    """The family at a width.

    Raises:
        BadValueError: (a ValueError) for a width that is not positive.
    """
    if not 0 < width_mult < float("inf"):
        raise BadValueError(f"width_mult must be a positive number, not {width_mult}")
    found = family(of_width(width_mult))
    assert isinstance(found, OfaMobileNetV3)
    return found


def build(arch: AnyArchitecture, width_mult: float = 1.0, num_classes: int = 1000) -> MobileNetV3:
    """The timm network of one architecture of Once-for-All's family, with fresh weights.

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
    return ofa(width_mult).build(arch, num_classes)


def _names() -> tuple[str, ...]:
    return tuple(of_width(width) for width in PUBLISHED_WIDTHS)


@register(DEFAULT, "Once-for-All's MobileNetV3; -w1.2 and so on is its width", _names)
def _family(name: str) -> OfaMobileNetV3:
    width = name.removeprefix(DEFAULT).removeprefix("-w")
    try:
        found = OfaMobileNetV3(float(width or 1.0))
    except ValueError:
        raise no_family(name, _names()) from None
    return found
