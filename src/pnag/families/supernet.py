"""The supernet: one set of weights for every architecture of the MobileNetV3 space.

After Once-for-All (https://arxiv.org/abs/1908.09791); layout, names of weights and rules of sharing
as described in `shared/facts/README.md`. The elastic layers are in `pnag.families.elastic`.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from timm.models.mobilenetv3 import MobileNetV3
from torch import Tensor, nn
from torch.nn.modules.module import _IncompatibleKeys

from pnag.errors import BadValueError, PnagError
from pnag.families.elastic import LARGEST_KERNEL, LARGEST_WIDTH, ElasticLayer
from pnag.families.mobilenetv3 import (
    FINAL_CHANNELS,
    HEAD_CHANNELS,
    STEM_CHANNELS,
    UNIT_LAYOUT,
    build,
    scaled,
)
from pnag.space import AnyArchitecture, Architecture, as_architecture
from pnag.space.architecture import MAX_DEPTH, UNITS, WIDTHS

LARGEST = Architecture(
    (MAX_DEPTH,) * UNITS,
    (LARGEST_KERNEL,) * (UNITS * MAX_DEPTH),
    (LARGEST_WIDTH,) * (UNITS * MAX_DEPTH),
)
_WANTED = "use a published checkpoint or the weights of a pnag.Supernet"


class Supernet(nn.Module):
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
        if not 0 < width_mult < float("inf"):
            raise BadValueError(f"width_mult is {width_mult}, needs a positive number")
        if num_classes < 1:
            raise BadValueError(f"num_classes is {num_classes}, needs at least 1")
        self.width_mult = width_mult
        self.num_classes = num_classes
        channels = scaled(STEM_CHANNELS, width_mult)
        self.first_conv = _conv_norm(3, channels, 3, nn.Hardswish(), stride=2)
        separable = _named(
            depth_conv=_conv_norm(channels, channels, 3, nn.ReLU(inplace=True), groups=channels),
            point_linear=_conv_norm(channels, channels, 1),
        )
        self.blocks = nn.ModuleList([_named(conv=separable)])
        for unit in UNIT_LAYOUT:
            out_channels = scaled(unit.channels, width_mult)
            for layer in range(MAX_DEPTH):
                stride = unit.stride if layer == 0 else 1
                self.blocks.append(ElasticLayer(channels, out_channels, stride, unit, layer > 0))
                channels = out_channels
        final, head = scaled(FINAL_CHANNELS, width_mult), scaled(HEAD_CHANNELS, width_mult)
        self.final_expand_layer = _conv_norm(channels, final, 1, nn.Hardswish())
        self.feature_mix_layer = _named(
            conv=nn.Conv2d(final, head, 1, bias=False), activation=nn.Hardswish()
        )
        self.classifier = _named(linear=nn.Linear(head, num_classes))
        self.apply(_initialise)

    def forward(self, images: Tensor, arch: AnyArchitecture | None = None) -> Tensor:
        """Logits of one subnet.

        Nothing is remembered between calls. In training mode the running statistics of the
        subnet's batch norms move; those of a narrower width are the first channels of the wider's,
        so before a subnet is judged they must be measured anew (BN recalibration).

        Under `torch.nn.parallel.DistributedDataParallel` pass `arch` along with the images, the
        same on every process, and set `find_unused_parameters=True`: what a subnet leaves out gets
        no gradient.

        Args:
            images: (N, 3, H, W).
            arch: the architecture, or its text form; None is the largest one.

        Returns:
            (N, num_classes).

        Raises:
            BadValueError: (a ValueError) for a malformed text.
        """
        arch = _architecture(arch)
        x = self.first_conv(images)
        x = x + self.blocks[0](x)
        for position, width in enumerate(arch.widths):
            if width:
                x = self.blocks[1 + position](x, width, arch.kernels[position])
        # The pooled map is kept four-dimensional for the layout's 1x1 convolution.
        x = self.feature_mix_layer(self.final_expand_layer(x).mean((2, 3), keepdim=True))
        logits: Tensor = self.classifier(x.flatten(1))
        return logits

    def subnet(self, arch: AnyArchitecture | None = None) -> MobileNetV3:
        """The network of one architecture with a copy of its weights.

        Args:
            arch: the architecture, or its text form; None is the largest one.

        Returns:
            The timm network that `pnag.build` gives, on this supernet's device and in its mode,
            with this supernet's outputs for the architecture. It shares nothing with it.

        Raises:
            BadValueError: (a ValueError) for a malformed text.
        """
        arch = _architecture(arch)
        first, final = self.first_conv, self.final_expand_layer
        weights = {
            **_renamed(first, {"conv": "conv_stem", "bn": "bn1"}),
            **_renamed(
                self.blocks[0],
                {
                    "conv.depth_conv.conv": "blocks.0.0.conv_dw",
                    "conv.depth_conv.bn": "blocks.0.0.bn1",
                    "conv.point_linear.conv": "blocks.0.0.conv_pw",
                    "conv.point_linear.bn": "blocks.0.0.bn2",
                },
            ),
            **_renamed(
                final, {"conv": f"blocks.{UNITS + 1}.0.conv", "bn": f"blocks.{UNITS + 1}.0.bn1"}
            ),
            **_renamed(self.feature_mix_layer, {"conv": "conv_head"}),
            **_renamed(self.classifier, {"linear": "classifier"}),
        }
        for position, width in enumerate(arch.widths):
            if width:
                unit, layer = divmod(position, MAX_DEPTH)
                elastic = cast(ElasticLayer, self.blocks[1 + position])
                for name, value in elastic.conv.weights(width, arch.kernels[position]).items():
                    weights[f"blocks.{unit + 1}.{layer}.{name}"] = value
        # On "meta" no random weights are drawn that the copies would replace at once.
        with torch.device("meta"):
            network = build(arch, self.width_mult, self.num_classes)
        copies = {
            name: value.detach().clone(memory_format=torch.contiguous_format)
            for name, value in weights.items()
        }
        network.load_state_dict(copies, assign=True)
        return network.train(self.training)

    def sort_channels(self, trained_widths: Sequence[int] = (LARGEST_WIDTH,)) -> None:
        """Put the most important expanded channels of every layer first, in place.

        A narrower width keeps the first channels, so before training shrinks the width they should
        be the important ones: those with the largest L1 norm of the weights that read them, in the
        projection to the layer's output. Hidden channels of squeeze-excite are sorted in the same
        way by the weights of its second convolution.

        No channel crosses the boundary of a width in `trained_widths`, hence every subnet made of
        these widths keeps its outputs. When width shrinks in stages, {6, 4} and then {6, 4, 3},
        call it with (6,) before the first and with (6, 4) before the second: width 3 then takes
        the best of the channels of width 4, and what widths 6 and 4 have learnt stays.

        An optimizer's momentum is not reordered: call this before making the optimizer.

        Args:
            trained_widths: the widths whose subnets must not change.

        Raises:
            BadValueError: (a ValueError) for a width that the space does not have.
        """
        for width in trained_widths:
            if width not in WIDTHS:
                raise BadValueError(f"width {width} does not exist, allowed: {WIDTHS}")
        for layer in itertools.islice(self.blocks, 1, None):
            cast(ElasticLayer, layer).conv.sort_channels(trained_widths)

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
            f"weight {key!r} of this checkpoint has shape {tuple(weights[key].shape)}, a supernet "
            f"of width {width_mult:g} needs {tuple(expected[key])}; fetch the checkpoint again"
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
    # The head has the most channels, so it tells most; rounding moved it by up to 8.
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


def _architecture(arch: AnyArchitecture | None) -> Architecture:
    if arch is None:
        return LARGEST
    return as_architecture(arch)


def _named(**modules: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(modules))


def _conv_norm(
    in_channels: int,
    out_channels: int,
    kernel: int,
    activation: nn.Module | None = None,
    stride: int = 1,
    groups: int = 1,
) -> nn.Sequential:
    conv = nn.Conv2d(
        in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False
    )
    modules = {"conv": conv, "bn": nn.BatchNorm2d(out_channels)}
    return _named(**modules, **({} if activation is None else {"activation": activation}))


def _renamed(module: nn.Module, names: Mapping[str, str]) -> dict[str, Tensor]:
    """A module's state dict with its children under timm's names."""
    weights = module.state_dict()
    return {
        key.replace(name, timm_name, 1): value
        for name, timm_name in names.items()
        for key, value in weights.items()
        if key.startswith(f"{name}.")
    }


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
