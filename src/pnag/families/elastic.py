"""One layer of a supernet with the width and kernel that an architecture chooses.

A supernet is made of ordinary modules, named as the checkpoints that they are filled from name them
(`supernet.py`, `cut_supernet.py`). `LayerParts` says which of them are what, and the functions
here take the active part of their weights. Nothing remembers a choice: the active channels come
from the layer table's row, and slices are views of the shared weights, so calls with different
choices can be mixed in any order, also before one backward pass. Once-for-All
(https://arxiv.org/abs/1908.09791, section 3.3) describes what is shared and how.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.padding import pad_same
from torch import Tensor, nn
from torch.nn import functional as F

from pnag.families.depthwise import depthwise, useful_taps
from pnag.families.layers import Layer
from pnag.families.norm_act import norm_act


@dataclass(frozen=True)
class Step:
    """A convolution with its batch norm and activation; either of these may be missing."""

    conv: nn.Conv2d
    norm: nn.BatchNorm2d | None = None
    act: nn.Module | None = None

    @property
    def same(self) -> bool:
        """Whether maps are padded as TensorFlow does: before a stride less on the left and top."""
        return isinstance(self.conv, Conv2dSame)

    def finish(self, x: Tensor) -> Tensor:
        """Batch norm and activation of the convolution's (N, C, H, W)."""
        if self.norm is not None:
            return norm_act(x, self.norm, self.act)
        result: Tensor = x if self.act is None else self.act(x)
        return result


@dataclass(frozen=True)
class Excite:
    """Squeeze-excite: two convolutions of pooled maps, what is between them, and the gate."""

    reduce: nn.Conv2d
    expand: nn.Conv2d
    act: nn.Module
    gate: nn.Module

    def weights(self, channels: int, squeezed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Active weight and bias of `reduce`, then of `expand`, all views.

        Shapes (squeezed, channels, 1, 1), (squeezed,), (channels, squeezed, 1, 1), (channels,).
        """
        assert self.reduce.bias is not None and self.expand.bias is not None
        return (
            self.reduce.weight[:squeezed, :channels],
            self.reduce.bias[:squeezed],
            self.expand.weight[:channels, :squeezed],
            self.expand.bias[:channels],
        )

    def __call__(self, x: Tensor, squeezed: int) -> Tensor:
        """Scale the channels of (N, C, H, W)."""
        reduce, reduce_bias, expand, expand_bias = self.weights(x.shape[1], squeezed)
        # On pooled vectors the 1x1 convolutions are matrix products, which take the slices of
        # weights as they lie; convolutions would copy them.
        hidden = self.act(F.linear(x.mean((2, 3)), reduce[:, :, 0, 0], reduce_bias))
        gate: Tensor = self.gate(F.linear(hidden, expand[:, :, 0, 0], expand_bias))
        return x * gate[:, :, None, None]


@dataclass(frozen=True)
class LayerParts:
    """The modules of one layer of a supernet, in its largest form.

    Attributes:
        expand: of an inverted residual. depthwise: of that and of a separable layer.
        project: the last convolution, of a `conv` the only one.
        matrices: what holds `5to3_matrix` and so on, which make the weights of a kernel from the
            centre of the next larger one's: (k², k²), shared over channels.
        linear: the classifier.
    """

    project: Step | None = None
    expand: Step | None = None
    depthwise: Step | None = None
    excite: Excite | None = None
    matrices: nn.Module | None = None
    linear: nn.Linear | None = None

    def matrix(self, kernel: int) -> Tensor:
        """That which gives the weights of a kernel."""
        assert self.matrices is not None
        # asked for each time: loading a checkpoint may put another parameter in its place
        return self.matrices.get_parameter(f"{kernel + 2}to{kernel}_matrix")


def run_layer(x: Tensor, layer: Layer, parts: LayerParts) -> Tensor:
    """The layer's output, (N, C, H, W), for (N, C', H', W'); (N, classes) of a classifier."""
    if layer.kind == "pool":
        return x.mean((2, 3), keepdim=True)
    if parts.linear is not None:
        return F.linear(x.flatten(1), parts.linear.weight, parts.linear.bias)
    project = parts.project
    assert project is not None
    y = x
    if layer.kind == "conv":
        y = project.finish(project.conv(y))
    else:
        if parts.expand is not None:
            expand = parts.expand
            y = expand.finish(F.conv2d(y, expand.conv.weight[: layer.expanded]))
        assert parts.depthwise is not None
        y = parts.depthwise.finish(_depthwise(y, layer, parts))
        if parts.excite is not None:
            y = parts.excite(y, layer.squeezed)
        y = project.finish(F.conv2d(y, project.conv.weight[:, : layer.expanded]))
    return y + x if layer.shortcut else y


def _depthwise(x: Tensor, layer: Layer, parts: LayerParts) -> Tensor:
    weight = useful_taps(depthwise_weight(layer, parts), max(x.shape[2:]))
    kernel = weight.shape[-1]
    padding = kernel // 2
    assert parts.depthwise is not None
    if parts.depthwise.same:
        x, padding = pad_same(x, [kernel] * 2, [layer.stride] * 2), 0
    return depthwise(x, weight, layer.stride, padding)


def depthwise_weight(layer: Layer, parts: LayerParts) -> Tensor:
    """The active weights of the depthwise convolution, (channels, 1, kernel, kernel).

    A view for the largest kernel. The next smaller one is the centre of its weights, flattened and
    sent through a matrix, and so on.
    """
    assert parts.depthwise is not None
    weight = parts.depthwise.conv.weight[: layer.expanded]
    kernel, largest = layer.kernel, weight.shape[-1]
    if kernel == largest:
        return weight
    # In training as where subnets are judged and exported: autocast would round the weights and
    # matrices to bfloat16 first, and what was trained would not be what is exported.
    with _full_precision(weight.device.type):
        size = largest - 2
        matrix = parts.matrix(size)
        while size > kernel:
            # Only the centre is wanted of the larger kernel's result: take its rows before the
            # product with the channels, and multiply the small matrices instead.
            inner = size - 2
            centre = matrix.view(size, size, -1)[1:-1, 1:-1].reshape(inner**2, -1)
            matrix, size = parts.matrix(inner) @ centre, inner
        flat = weight[:, :, 1:-1, 1:-1].reshape(len(weight), -1)
        return (flat @ matrix.t()).view(len(weight), 1, kernel, kernel)


def plain_weights(layer: Layer, parts: LayerParts) -> dict[str, Tensor]:
    """Active weights and statistics under their names in the plain network."""
    if parts.linear is not None:
        return _named(parts.linear, layer.name)
    if parts.project is None:
        return {}
    project = parts.project
    if layer.kind == "conv":
        conv = layer.name if not layer.name.startswith("blocks.") else f"{layer.name}.conv"
        norm = _named(project.norm, layer.norm) if project.norm is not None else {}
        return _named(project.conv, conv) | norm
    assert parts.depthwise is not None
    found = {"conv_dw.weight": depthwise_weight(layer, parts)}
    projection, norms = "conv_pw", [(parts.depthwise.norm, layer.expanded), (project.norm, None)]
    if parts.expand is not None:
        found["conv_pw.weight"] = parts.expand.conv.weight[: layer.expanded]
        projection, norms = "conv_pwl", [(parts.expand.norm, layer.expanded), *norms]
    found[f"{projection}.weight"] = project.conv.weight[:, : layer.expanded]
    for number, (each, channels) in enumerate(norms, 1):
        assert each is not None
        for key, value in _named(each, f"bn{number}").items():
            found[key] = value[:channels] if value.ndim else value
    if parts.excite is not None:
        names = ("reduce.weight", "reduce.bias", "expand.weight", "expand.bias")
        active = parts.excite.weights(layer.expanded, layer.squeezed)
        found |= {f"se.conv_{key}": value for key, value in zip(names, active, strict=True)}
    return {f"{layer.name}.{key}": value for key, value in found.items()}


@torch.no_grad()
def sort_layer(parts: LayerParts, bounds: Sequence[int], squeezed_bounds: Sequence[int]) -> None:
    """Put the most important expanded channels first, none crossing a bound, in place.

    See `ElasticNetwork.sort_channels`.

    Args:
        bounds: numbers of channels, at which trained widths end. squeezed_bounds: the same of the
            hidden channels of squeeze-excite.
    """
    expand, depthwise, project = parts.expand, parts.depthwise, parts.project
    assert expand is not None and depthwise is not None and project is not None
    order = _importance_order(project.conv.weight, bounds)
    _permute(expand.conv.weight, 0, order)
    _permute(depthwise.conv.weight, 0, order)
    _permute(project.conv.weight, 1, order)
    for norm in (expand.norm, depthwise.norm):
        assert norm is not None
        for value in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            _permute(value, 0, order)
    if parts.excite is not None:
        reduce, excite = parts.excite.reduce, parts.excite.expand
        _permute(reduce.weight, 1, order)
        _permute(excite.weight, 0, order)
        _permute(excite.bias, 0, order)
        hidden_order = _importance_order(excite.weight, squeezed_bounds)
        _permute(reduce.weight, 0, hidden_order)
        _permute(reduce.bias, 0, hidden_order)
        _permute(excite.weight, 1, hidden_order)


def _named(module: nn.Module, name: str) -> dict[str, Tensor]:
    """A module's weights under a name; none of a kernel's matrices."""
    return {
        f"{name}.{key}": value
        for key, value in module.state_dict(keep_vars=True).items()
        if not key.endswith("_matrix")
    }


def _full_precision(device: str) -> AbstractContextManager[object]:
    """Without autocast, which some devices ("meta") do not have."""
    if torch.amp.is_autocast_available(device):
        return torch.autocast(device, enabled=False)
    return nullcontext()


def _importance_order(next_weight: Tensor, bounds: Sequence[int]) -> Tensor:
    """Input channels of (out, in, 1, 1) weights by falling L1 norm, none crossing a bound."""
    importance = next_weight.abs().sum((0, 2, 3))
    edges = sorted({0, *bounds, len(importance)})
    return torch.cat(
        [
            start + torch.argsort(importance[start:stop], descending=True, stable=True)
            for start, stop in itertools.pairwise(edges)
        ]
    )


def _permute(value: Tensor | None, dim: int, order: Tensor) -> None:
    assert value is not None
    value.copy_(value.index_select(dim, order))
