"""Layers of a subnet as it is judged: batch norms measured, then folded into the weights.

Maps are held as (N, H, W, C), so that a 1x1 convolution is one matrix product; on a CPU that is up
to three times as fast as the convolution. A layer works on as many images at a time as let its
widest map stay in the cache, which at 64 pixels is three times as fast as on all of them at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from timm.layers.padding import pad_same
from torch import Tensor, nn
from torch.nn import functional as F

from pnag.families.depthwise import useful_taps
from pnag.families.elastic import LayerParts, Step, depthwise_weight
from pnag.families.layers import Layer

# Bytes of a layer's widest map that are worked on at a time.
_TILE = {"cpu": 1 << 20, "cuda": 1 << 28}
# Activations that may write into their input here, where nothing is differentiated.
_IN_PLACE: dict[type[nn.Module], Callable[[Tensor], Tensor]] = {
    nn.ReLU: F.relu_,
    nn.Hardswish: partial(F.hardswish, inplace=True),
    nn.ReLU6: partial(F.relu6, inplace=True),
    nn.SiLU: partial(F.silu, inplace=True),
    nn.Hardsigmoid: partial(F.hardsigmoid, inplace=True),
    nn.Identity: lambda x: x,
}


@dataclass(frozen=True)
class Norm:
    """A batch norm's measured mean and biased variance, (C,) float32, over `count` values each."""

    mean: Tensor
    var: Tensor
    count: int

    def affine(self, bn: nn.BatchNorm2d, unbiased: bool) -> tuple[Tensor, Tensor]:
        """Scale and shift of its first channels.

        As in PyTorch: a batch is normalised by its biased variance while the statistics are
        measured, and all later ones by the unbiased variance.
        """
        active = len(self.mean)
        var = self.var * (self.count / max(1, self.count - 1)) if unbiased else self.var
        scale = bn.weight[:active] * torch.rsqrt(var + bn.eps)
        return scale, bn.bias[:active] - self.mean * scale


class Moments:
    """Mean and variance of channels, from maps that come one after the other."""

    def __init__(self) -> None:
        self.count = 0
        self.sums: Tensor | None = None

    def add(self, x: Tensor) -> None:
        """Count in maps (..., C)."""
        flat = x.reshape(-1, x.shape[-1]).float()
        mean = flat.mean(0)
        # Of the differences from this map's mean, so that float32 is enough within it; sums over
        # maps are float64.
        squares = (flat - mean).square_().sum(0).double()
        mean = mean.double()
        sums = torch.stack([mean * len(flat), squares + mean.square() * len(flat)])
        self.sums = sums if self.sums is None else self.sums.add_(sums)
        self.count += len(flat)

    def norm(self) -> Norm:
        """Of all maps so far."""
        assert self.sums is not None
        mean, square = self.sums / self.count
        return Norm(mean.float(), (square - mean.square()).clamp_(min=0).float(), self.count)


@dataclass(frozen=True)
class _Convolution:
    """A convolution with its active weights, (O, I, K, K), its batch norm and its activation.

    Attributes:
        groups: as many as channels, or 1. same: whether it pads as TensorFlow does.
    """

    weight: Tensor
    bias: Tensor | None
    norm: nn.BatchNorm2d | None
    act: Callable[[Tensor], Tensor]
    stride: int = 1
    groups: int = 1
    same: bool = False

    @classmethod
    def of(cls, step: Step, weight: Tensor, stride: int = 1, groups: int = 1) -> _Convolution:
        act = step.act if step.act is not None else nn.Identity()
        bias = step.conv.bias
        done = _IN_PLACE.get(type(act), act)
        return cls(weight, bias, step.norm, done, stride, groups, step.same)

    def to(self, dtype: torch.dtype) -> _Convolution:
        bias = None if self.bias is None else self.bias.to(dtype)
        return replace(self, weight=self.weight.to(dtype), bias=bias)

    def folded(self, norm: Norm | None, unbiased: bool) -> _Convolution:
        """With weights and biases that do what the batch norm would."""
        if norm is None or self.norm is None:
            return self
        scale, shift = norm.affine(self.norm, unbiased)
        bias = shift if self.bias is None else self.bias * scale + shift
        return replace(self, weight=self.weight * scale[:, None, None, None], bias=bias)

    def raw(self, x: Tensor) -> Tensor:
        """(N, H, W, I) to (N, H', W', O), without the activation."""
        weight, bias = self.weight, self.bias
        if weight.shape[-1] == 1 and self.stride == 1 and self.groups == 1:
            return F.linear(x, weight[:, :, 0, 0], bias)
        if self.groups > 1:
            weight = useful_taps(weight, max(x.shape[1:3]))
        kernel = weight.shape[-1]
        if kernel == 1 and self.groups > 1 and self.stride == 1:
            scale = weight.flatten()
            return x * scale if bias is None else torch.addcmul(bias, x, scale)
        x, padding = x.permute(0, 3, 1, 2), kernel // 2
        if self.same:
            x, padding = pad_same(x, [kernel] * 2, [self.stride] * 2), 0
        result = F.conv2d(x, weight, bias, self.stride, padding, 1, self.groups)
        return result.permute(0, 2, 3, 1)

    def run(self, x: Tensor) -> Tensor:
        """The same with the activation."""
        return self.act(self.raw(x))


@dataclass(frozen=True)
class _Excite:
    """Squeeze-excite over (N, H, W, C); two matrices with their biases."""

    weights: tuple[Tensor, Tensor, Tensor, Tensor]
    act: Callable[[Tensor], Tensor]
    gate: Callable[[Tensor], Tensor]

    def to(self, dtype: torch.dtype) -> _Excite:
        reduce, reduce_bias, expand, expand_bias = (value.to(dtype) for value in self.weights)
        return replace(self, weights=(reduce, reduce_bias, expand, expand_bias))

    def __call__(self, x: Tensor) -> Tensor:
        reduce, reduce_bias, expand, expand_bias = self.weights
        hidden = self.act(F.linear(x.mean((1, 2)), reduce, reduce_bias))
        gate = self.gate(F.linear(hidden, expand, expand_bias))
        return x.mul_(gate[:, None, None])


Statistics = tuple[Norm | None, ...]
"""Of a layer's convolutions, in order; None of those without a batch norm."""


@dataclass(frozen=True)
class JudgedLayer:
    """A layer of one architecture, its weights as they are or with batch norms folded in.

    Attributes:
        convolutions: in order. excite: after the last but one, the depthwise one.
        widest: channels of the widest map.
    """

    convolutions: tuple[_Convolution, ...]
    excite: _Excite | None
    shortcut: bool
    widest: int

    @classmethod
    def of(cls, layer: Layer, parts: LayerParts) -> JudgedLayer:
        """float32, as before any batch norm."""
        project = parts.project
        assert project is not None
        weight = project.conv.weight
        if layer.kind == "conv":
            only = _Convolution.of(project, weight, layer.stride)
            return cls((only,), None, layer.shortcut, layer.out_channels)
        assert parts.depthwise is not None
        inside = layer.expanded
        depth = _Convolution.of(
            parts.depthwise, depthwise_weight(layer, parts), layer.stride, inside
        )
        convolutions = [depth, _Convolution.of(project, weight[:, :inside])]
        if parts.expand is not None:
            expand = _Convolution.of(parts.expand, parts.expand.conv.weight[:inside])
            convolutions.insert(0, expand)
        excite = None
        if parts.excite is not None:
            reduce, reduce_bias, widen, widen_bias = parts.excite.weights(inside, layer.squeezed)
            act, gate = (
                _IN_PLACE.get(type(each), each) for each in (parts.excite.act, parts.excite.gate)
            )
            matrices = (reduce[:, :, 0, 0], reduce_bias, widen[:, :, 0, 0], widen_bias)
            excite = _Excite(matrices, act, gate)
        return cls(tuple(convolutions), excite, layer.shortcut, inside)

    def to(self, dtype: torch.dtype) -> JudgedLayer:
        """With all weights and biases in another precision."""
        return replace(
            self,
            convolutions=tuple(each.to(dtype) for each in self.convolutions),
            excite=None if self.excite is None else self.excite.to(dtype),
        )

    def folded(self, statistics: Statistics, unbiased: bool = True) -> JudgedLayer:
        """float32 weights and biases that do what the batch norms would."""
        pairs = zip(self.convolutions, statistics, strict=True)
        return replace(self, convolutions=tuple(c.folded(n, unbiased) for c, n in pairs))

    def run(self, x: Tensor, out: Tensor) -> None:
        """Map (N, H, W, C) to `out`, (N, H', W', O)."""
        layer = self.to(x.dtype)
        for tile in tiles(x, self.widest):
            y = x[tile]
            for number, convolution in enumerate(layer.convolutions):
                y = layer._excited(convolution.run(y), number)
            layer._finish(y, x[tile], out[tile])

    def _excited(self, y: Tensor, number: int) -> Tensor:
        """Behind a convolution."""
        last_but_one = number == len(self.convolutions) - 2
        return self.excite(y) if self.excite is not None and last_but_one else y

    def calibrate(self, x: Tensor, out: Tensor) -> Statistics:
        """Measure the layer's batch norms on (N, H, W, C), and fill `out`."""
        raw, parts = self.to(x.dtype), tiles(x, self.widest)
        found: list[Norm | None] = []
        # The input of a convolution is `ready` of a tile of `source`.
        source = x
        ready: Callable[[Tensor], Tensor] = _same
        for number, convolution in enumerate(raw.convolutions):
            last = number == len(raw.convolutions) - 1
            # The wide map before the depthwise convolution, which may stride, is not kept.
            kept = number > 0 or len(raw.convolutions) < 3
            into = out if last else None
            moments = Moments()
            for tile in parts:
                y = convolution.raw(ready(source[tile]))
                moments.add(y)
                if kept:
                    if into is None:
                        into = x.new_empty((len(x), *y.shape[1:]))
                    into[tile] = y
            norm = moments.norm() if convolution.norm is not None else None
            found.append(norm)
            if kept:
                assert into is not None
                source, ready = into, raw._after(number, norm)
            else:
                folded = self.convolutions[number].folded(norm, unbiased=False).to(x.dtype)
                ready = folded.run
        for tile in parts:
            self._finish(ready(out[tile]), x[tile], out[tile])
        return tuple(found)

    def _after(self, number: int, norm: Norm | None) -> Callable[[Tensor], Tensor]:
        """What follows a convolution: batch norm, activation, squeeze-excite."""
        convolution = self.convolutions[number]

        def after(y: Tensor) -> Tensor:
            if norm is not None:
                assert convolution.norm is not None
                scale, shift = norm.affine(convolution.norm, unbiased=False)
                y = torch.addcmul(shift.to(y.dtype), y, scale.to(y.dtype))
            return self._excited(convolution.act(y), number)

        return after

    def _finish(self, y: Tensor, x: Tensor, out: Tensor) -> None:
        if self.shortcut:
            torch.add(y, x, out=out)
        else:
            out.copy_(y)


def _same(x: Tensor) -> Tensor:
    return x


def tiles(x: Tensor, channels: int) -> list[slice]:
    """Images of (N, H, W, C) to work on at a time if there are `channels` in between."""
    size = x.shape[1] * x.shape[2] * channels * x.element_size()
    threads = torch.get_num_threads() if x.device.type == "cpu" else 1
    step = max(1, _TILE.get(x.device.type, 1 << 28) * threads // size)
    return [slice(first, first + step) for first in range(0, len(x), step)]


class Stem:
    """The layers that all architectures begin with."""

    def __init__(self, layers: Sequence[Layer], parts: Sequence[LayerParts]) -> None:
        self._layers = layers
        self._judged = [JudgedLayer.of(layer, parts[layer.index]) for layer in layers]
        self._statistics: list[Statistics] = []

    def calibrate(self, x: Tensor) -> Tensor:
        """Measure the batch norms on (N, R, R, 3); return the maps after the layers."""
        self._statistics = []
        for layer, judged in zip(self._layers, self._judged, strict=True):
            out = _room(x, layer)
            self._statistics.append(judged.calibrate(x, out))
            x = out
        return x

    def __call__(self, x: Tensor) -> Tensor:
        """(N, H, W, C) of (N, R, R, 3)."""
        for layer, judged, found in zip(self._layers, self._judged, self._statistics, strict=True):
            out = _room(x, layer)
            judged.folded(found).run(x, out)
            x = out
        return x


def _room(x: Tensor, layer: Layer) -> Tensor:
    height, width = (-(-size // layer.stride) for size in x.shape[1:3])
    return x.new_empty((len(x), height, width, layer.out_channels))


class Head:
    """The layers that all architectures end with: convolutions, pooling, classifier."""

    def __init__(self, layers: Sequence[Layer], parts: Sequence[LayerParts]) -> None:
        self._layers, self._parts = layers, parts
        self._widest = max(max(layer.in_channels, layer.out_channels) for layer in layers[:-1])
        self._convolutions = {
            number: JudgedLayer.of(layer, parts[layer.index]).convolutions[0]
            for number, layer in enumerate(layers)
            if layer.kind == "conv"
        }

    def calibrate(self, x: Tensor) -> dict[int, Norm]:
        """Each batch norm by its layer's number, measured on (N, H, W, C)."""
        norms: dict[int, Norm] = {}
        for number, convolution in self._convolutions.items():
            if convolution.norm is None:
                continue
            moments, ready = Moments(), self._ready(norms, x.dtype, unbiased=False)
            raw = convolution.to(x.dtype)
            for tile in tiles(x, self._widest):
                moments.add(raw.raw(self._run(x[tile], ready, number)))
            norms[number] = moments.norm()
        return norms

    def logits(self, x: Tensor, norms: dict[int, Norm]) -> Tensor:
        """(N, classes) float32 of the last layer's (N, H, W, C)."""
        ready = self._ready(norms, x.dtype, unbiased=True)
        linear: Any = self._parts[self._layers[-1].index].linear
        return torch.cat(
            [
                # In bfloat16 the two largest logits would often be the same number.
                F.linear(self._run(x[tile], ready, len(self._layers) - 1).flatten(1).float(),
                         linear.weight, linear.bias)
                for tile in tiles(x, self._widest)
            ]
        )  # fmt: skip

    def _ready(
        self, norms: dict[int, Norm], dtype: torch.dtype, unbiased: bool
    ) -> dict[int, _Convolution]:
        return {
            number: convolution.folded(norms.get(number), unbiased).to(dtype)
            for number, convolution in self._convolutions.items()
        }

    def _run(self, x: Tensor, ready: dict[int, _Convolution], until: int) -> Tensor:
        """Through all layers before the number `until`."""
        for number, layer in enumerate(self._layers[:until]):
            if layer.kind == "pool":
                x = x.mean((1, 2), keepdim=True)
            else:
                y = ready[number].run(x)
                x = y + x if layer.shortcut else y
        return x
