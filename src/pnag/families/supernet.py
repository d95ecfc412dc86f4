"""The supernet of Once-for-All's MobileNetV3 family, as its checkpoints name it.

After Once-for-All (https://arxiv.org/abs/1908.09791); layout, names of weights and rules of sharing
are those of the published checkpoints. Modules are nested and named such that the keys of a state
dict are those of the published files; that is why a convolution sits in a `conv` in a `conv`.
"""

from __future__ import annotations

import functools
import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.module import _IncompatibleKeys

from pnag.errors import BadValueError, PnagError
from pnag.families.base import Family
from pnag.families.elastic import Excite, LayerParts, Step
from pnag.families.elastic_network import ElasticNetwork
from pnag.families.layers import Layer
from pnag.families.ofa_mobilenetv3 import (
    FINAL_CHANNELS,
    HEAD_CHANNELS,
    STEM_CHANNELS,
    UNIT_LAYOUT,
    ofa,
    scaled,
)
from pnag.space.architecture import MAX_DEPTH

_WANTED = "use a published checkpoint or the weights of a pnag.Supernet"


class Supernet(ElasticNetwork):
    """Elastic depth, width and kernel in five units with shared weights.

    The keys of its state dict are those of the published files (`blocks.1.conv.depth_conv...`).

    Args:
        width_mult: multiplies all channels (Once-for-All publishes 1.0 and 1.2).
        num_classes: outputs of the classifier.

    Raises:
        BadValueError: (a ValueError) for a width or class count that is not positive.
    """

    def __init__(self, width_mult: float = 1.0, num_classes: int = 1000) -> None:
        super().__init__()
        self.family: Family = ofa(width_mult)
        if num_classes < 1:
            raise BadValueError(f"num_classes must be at least 1, not {num_classes}")
        self.width_mult = width_mult
        self.num_classes = num_classes
        stem, *blocks, final, _, head, _ = self.family.table
        self.first_conv = _conv_norm(stem, nn.Hardswish())
        self.blocks = nn.ModuleList(_block(layer) for layer in blocks)
        self.final_expand_layer = _conv_norm(final, nn.Hardswish())
        self.feature_mix_layer = _named(
            conv=nn.Conv2d(head.in_channels, head.out_channels, 1, bias=False),
            activation=nn.Hardswish(),
        )
        self.classifier = _named(linear=nn.Linear(head.out_channels, num_classes))
        self.apply(_initialise)

    def layer_parts(self) -> Sequence[LayerParts]:
        """See `ElasticNetwork.layer_parts`."""
        _, *blocks, _, _, _, _ = self.family.table
        mix: Any = self.feature_mix_layer
        classifier: Any = self.classifier
        return (
            LayerParts(project=_step(self.first_conv)),
            *(_parts(block.conv, layer) for block, layer in zip(self.blocks, blocks, strict=True)),
            LayerParts(project=_step(self.final_expand_layer)),
            LayerParts(),
            LayerParts(project=Step(mix.conv, None, mix.activation)),
            LayerParts(linear=classifier.linear),
        )

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> _IncompatibleKeys:
        """Load weights of the same width and classes, in any published spelling.

        Args:
            state_dict: the weights, or a mapping that holds them as `state_dict`.
            strict: refuse missing and unexpected keys.
            assign: as in `torch.nn.Module.load_state_dict`.

        Raises:
            PnagError: for keys that are missing or unexpected, and for weights of another width
                multiplier or class count, which it names.
        """
        weights = own_spelling(state_dict)
        expected = {key: value.shape for key, value in self.state_dict().items()}
        if strict:
            _check_keys(weights, expected)
        if any(weights[key].shape != expected[key] for key in weights.keys() & expected.keys()):
            self._raise_other_size(weights, expected)
        return cast(_IncompatibleKeys, super().load_state_dict(weights, strict, assign))

    def _raise_other_size(
        self, weights: Mapping[str, Tensor], expected: Mapping[str, torch.Size]
    ) -> None:
        width_mult, num_classes = width_and_classes(weights)
        if (width_mult, num_classes) != (self.width_mult, self.num_classes):
            raise PnagError(
                f"this checkpoint is of width {width_mult:g} with {num_classes} classes, the "
                f"supernet of width {self.width_mult:g} with {self.num_classes}; build "
                f"Supernet(width_mult={width_mult:g}, num_classes={num_classes})"
            )
        key = next(k for k in weights if k in expected and weights[k].shape != expected[k])
        raise PnagError(
            f"weight {key!r} of this checkpoint must have the shape {tuple(expected[key])} of a "
            f"supernet of width {width_mult:g}, not {tuple(weights[key].shape)}; fetch the "
            "checkpoint again"
        )


def own_spelling(state_dict: Mapping[str, Any]) -> dict[str, Tensor]:
    """A state dict under the keys of `Supernet`, whichever published spelling it has.

    Keys that no supernet has stay as they are.

    Args:
        state_dict: the weights, or a mapping that holds them as `state_dict`.

    Raises:
        PnagError: if it holds anything but tensors, or one weight twice.
    """
    inner = state_dict.get("state_dict", state_dict)
    if not isinstance(inner, Mapping):
        raise PnagError(f"'state_dict' of a checkpoint holds a {type(inner).__name__}, not weights")
    names = _own_names()
    weights: dict[str, Tensor] = {}
    for key, value in inner.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise PnagError(
                f"entry {key!r} of a checkpoint is a {type(value).__name__}, not a tensor; "
                "pass the supernet's weights, or a mapping with them as 'state_dict'"
            )
        own = names.get(_shortest_spelling(key), key)
        if own in weights:
            raise PnagError(f"a checkpoint holds weight {own!r} twice, in two spellings")
        weights[own] = value
    return weights


def width_and_classes(weights: Mapping[str, Tensor]) -> tuple[float, int]:
    """Width multiplier and class count that weights in our own spelling belong to.

    Many multipliers round to the same channels; this is the one with the fewest digits.

    Raises:
        PnagError: if no multiplier gives these channels.
    """
    classes = _outputs(weights, "classifier.linear.weight")
    places = {
        STEM_CHANNELS: "first_conv.conv.weight",
        FINAL_CHANNELS: "final_expand_layer.conv.weight",
        HEAD_CHANNELS: "feature_mix_layer.conv.weight",
    }
    for unit, layout in enumerate(UNIT_LAYOUT):
        first = 1 + unit * MAX_DEPTH
        places[layout.channels] = f"blocks.{first}.conv.point_linear.conv.conv.weight"
    channels = {base: _outputs(weights, key) for base, key in places.items()}
    # The head has the most channels, so it says most; rounding moved it by up to 8.
    head = channels[HEAD_CHANNELS]
    for digits in (1, 2, 3):
        scale = 10**digits
        low = max(1, math.floor((head - 8) / HEAD_CHANNELS * scale))
        high = math.ceil((head + 8) / HEAD_CHANNELS * scale)
        for width_mult in (steps / scale for steps in range(low, high + 1)):
            if all(scaled(base, width_mult) == found for base, found in channels.items()):
                return width_mult, classes
    raise PnagError(
        "these weights are not of a supernet of this space: no width multiplier gives "
        f"their channels {list(channels.values())}; {_WANTED}"
    )


def _outputs(weights: Mapping[str, Tensor], key: str) -> int:
    """First dimension of a weight."""
    if key not in weights:
        raise PnagError(
            f"these weights are not of a supernet of this space: they lack {key!r}; {_WANTED}"
        )
    return weights[key].shape[0] if weights[key].ndim else 0


def _check_keys(weights: Mapping[str, Tensor], expected: Mapping[str, object]) -> None:
    for what, keys, fix in (
        ("lacks", expected.keys() - weights.keys(), "it is cut short, or of another network"),
        ("has unexpected", weights.keys() - expected.keys(), "remove them, or pass strict=False"),
    ):
        if keys:
            some = ", ".join(sorted(keys)[:3]) + (", ..." if len(keys) > 3 else "")
            raise PnagError(f"this checkpoint {what} {len(keys)} weight(s): {some}; {fix}")


def _shortest_spelling(key: str) -> str:
    """What all spellings of a key have in common."""
    key = key.replace(".mobile_inverted_conv.", ".conv.")
    for name in ("conv", "bn", "linear"):
        key = key.replace(f".{name}.{name}.", f".{name}.")
    return key


@functools.cache
def _own_names() -> dict[str, str]:
    """From a key's shortest spelling to ours."""
    with torch.device("meta"):
        keys = Supernet().state_dict()
    return {_shortest_spelling(key): key for key in keys}


def _named(**modules: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(modules))


def _conv_norm(layer: Layer, activation: nn.Module) -> nn.Sequential:
    conv = nn.Conv2d(
        layer.in_channels, layer.out_channels, layer.kernel, layer.stride, layer.kernel // 2,
        bias=False,
    )  # fmt: skip
    return _named(conv=conv, bn=nn.BatchNorm2d(layer.out_channels), activation=activation)


def _block(layer: Layer) -> nn.Sequential:
    """A separable layer or an inverted residual as the published files nest and name it.

    Around the convolutions and batch norms of all but the first there is one more `conv` or `bn`.
    """
    inner = layer.kind == "inverted"

    def conv(in_channels: int, out_channels: int) -> nn.Module:
        plain = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        return _named(conv=plain) if inner else plain

    def norm(channels: int) -> nn.Module:
        plain = nn.BatchNorm2d(channels)  # momentum 0.1, eps 1e-5
        return _named(bn=plain) if inner else plain

    wide = layer.expanded
    # Hard swish keeps its input for the backward pass, so only ReLU may overwrite it.
    act: dict[str, nn.Module] = {
        "act": nn.ReLU(inplace=True) if layer.activation == "re" else nn.Hardswish()
    }
    filtering = nn.Conv2d(
        wide, wide, layer.kernel, layer.stride, layer.kernel // 2, groups=wide, bias=False
    )
    depth = {"conv": _with_matrices(filtering) if inner else filtering, "bn": norm(wide)}
    if layer.squeezed:
        depth["se"] = _named(
            fc=_named(
                reduce=nn.Conv2d(wide, layer.squeezed, 1),
                expand=nn.Conv2d(layer.squeezed, wide, 1),
            )
        )
    modules: dict[str, nn.Module] = {}
    if inner:
        modules["inverted_bottleneck"] = _named(conv=conv(layer.in_channels, wide), bn=norm(wide))
    modules["depth_conv"] = _named(**depth)
    modules["point_linear"] = _named(
        conv=conv(wide, layer.out_channels), bn=norm(layer.out_channels)
    )
    return _named(conv=_named(**act, **modules))


def _with_matrices(conv: nn.Conv2d) -> nn.Sequential:
    """A depthwise 7x7 convolution with the matrices that make smaller kernels from its weights."""
    module = nn.Sequential()
    # published files list the parameters in this order
    module.register_parameter("5to3_matrix", nn.Parameter(torch.eye(9)))
    module.register_parameter("7to5_matrix", nn.Parameter(torch.eye(25)))
    module.add_module("conv", conv)
    return module


def _parts(block: Any, layer: Layer) -> LayerParts:
    """The modules of a `_block`."""
    depth, act = block.depth_conv, block.act
    if layer.kind == "separable":
        return LayerParts(_step(block.point_linear), depthwise=Step(depth.conv, depth.bn, act))
    excite = None
    if layer.squeezed:
        fc = depth.se.fc
        excite = Excite(fc.reduce, fc.expand, nn.ReLU(), nn.Hardsigmoid())
    expand, project = block.inverted_bottleneck, block.point_linear
    return LayerParts(
        Step(project.conv.conv, project.bn.bn),
        Step(expand.conv.conv, expand.bn.bn, act),
        Step(depth.conv.conv, depth.bn.bn, act),
        excite,
        depth.conv,
    )


def _step(module: Any) -> Step:
    """Of a convolution, batch norm and, where there is one, activation of these names."""
    return Step(module.conv, module.bn, getattr(module, "activation", None))


def _initialise(module: nn.Module) -> None:
    """As timm's MobileNetV3: He's normal by outputs per group; 0.01 for the classifier."""
    if isinstance(module, nn.Conv2d):
        outputs = module.out_channels // module.groups * math.prod(module.kernel_size)
        nn.init.normal_(module.weight, 0.0, math.sqrt(2 / outputs))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.01)
        nn.init.zeros_(module.bias)
