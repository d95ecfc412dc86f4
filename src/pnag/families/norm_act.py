"""Batch norm and activation together, for training on a CPU in bfloat16.

A step on a CPU is bound by how often it reads and writes its maps. Torch goes over a map five times
for a batch norm and a ReLU6, forwards, and eight times backwards; this goes over it three and five
times (`benchmarks/README.md`). Sums are float32, as torch's. It is for activations that only cut
off: ReLU, ReLU6 or none; with others all is torch's.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from pnag.compiled import SHARES, compiled, for_each_share
from pnag.families.bfloat16 import Bits, bits_of, narrowed, widened

Floats = NDArray[np.float32]
LONG = 512  # numbers in a row: more, and what belongs to channels leaves the fastest cache


def norm_act(x: Tensor, norm: nn.BatchNorm2d, act: nn.Module | None) -> Tensor:
    """Normalise (N, C, H, W) by the first C channels of a batch norm, then activate it.

    When training, update these channels of the running statistics.
    """
    assert norm.running_mean is not None and norm.running_var is not None
    assert norm.num_batches_tracked is not None and norm.momentum is not None
    if norm.training:
        norm.num_batches_tracked.add_(1)
    active = slice(x.shape[1])
    mean, var = norm.running_mean[active], norm.running_var[active]
    weight, bias = norm.weight[active], norm.bias[active]
    bounds = bounds_of(act)
    if bounds and norm.training and _trains_here(x, weight, mean):
        result: Tensor = _NormAct.apply(
            x, weight, bias, mean, var, norm.momentum, norm.eps, *bounds
        )
        return result
    x = F.batch_norm(x, mean, var, weight, bias, norm.training, norm.momentum, norm.eps)
    return x if act is None else act(x)


def bounds_of(act: nn.Module | None) -> tuple[float, float] | None:
    """Least and greatest value of an activation that only cuts off; None of any other."""
    if act is None or isinstance(act, nn.Identity):
        return -math.inf, math.inf
    if type(act) is nn.ReLU:
        return 0.0, math.inf
    return (0.0, 6.0) if type(act) is nn.ReLU6 else None


def _trains_here(x: Tensor, weight: Tensor, mean: Tensor) -> bool:
    laid = x.is_contiguous(memory_format=torch.channels_last)
    here = x.device.type == "cpu" and x.dtype == torch.bfloat16
    full = weight.dtype == mean.dtype == torch.float32
    return here and laid and full and torch.is_grad_enabled() and x[:, 0].numel() > 1


class _QuickNormAct(BatchNormAct2d):
    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C, H, W)."""
        # Without momentum statistics are measured, as a mean over all batches.
        quick = self.training and self.momentum is not None
        return norm_act(x, self, self.act) if quick else super().forward(x)


def with_quick_norms(network: nn.Module) -> None:
    """Let a network's batch norms with activation go through `norm_act`; names stay."""
    for module in network.modules():
        plain = type(module) is BatchNormAct2d and isinstance(module.drop, nn.Identity)
        if plain and module.track_running_stats and module.affine:
            module.__class__ = _QuickNormAct


class _NormAct(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, running_mean: Tensor,
        running_var: Tensor, momentum: float, eps: float, least: float, most: float,
    ) -> Tensor:  # fmt: skip
        number, rows = x[:, 0].numel(), _Rows(x.shape)
        # Sums of what is left of a guess at the mean: squares of large numbers would lose digits.
        guess = np.nan_to_num(running_mean.numpy(), posinf=0, neginf=0)
        total, squares = rows.sums(_add_sums, rows.of(x), rows.repeat(guess))
        beside = total / number
        variance = np.maximum(squares / number - beside**2, 0.0)
        mean = (guess + beside).astype(np.float32)
        inverse = (1 / np.sqrt(variance + eps)).astype(np.float32)
        with torch.no_grad():
            running_mean.lerp_(torch.from_numpy(mean), momentum)
            unbiased = (variance * (number / (number - 1))).astype(np.float32)
            running_var.lerp_(torch.from_numpy(unbiased), momentum)
        scale = inverse * weight.detach().numpy()
        offset = bias.detach().numpy() - mean * scale
        y = torch.empty_like(x)
        affine = rows.repeat(scale), rows.repeat(offset)
        rows.fill(_activate, rows.of(y), rows.of(x), *affine, least, most)
        ctx.save_for_backward(x)
        ctx.of_channels, ctx.bounds = (mean, inverse, scale, offset), (least, most)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        mean, inverse, scale, offset = ctx.of_channels
        number, rows = x[:, 0].numel(), _Rows(x.shape)
        maps, gradients = rows.of(x), rows.of(grad.to(x.dtype))
        how = rows.repeat(scale), rows.repeat(offset), *ctx.bounds
        into_bias, by_map = rows.sums(_add_gradients, maps, gradients, rows.repeat(mean), *how)
        into_weight = by_map * inverse
        slope = scale * inverse * into_weight / number
        constant = scale * into_bias / number - slope * mean
        into_x = torch.empty_like(x)
        rows.fill(
            _input_gradient, rows.of(into_x), maps, gradients, *how,
            rows.repeat(slope), rows.repeat(constant),
        )  # fmt: skip
        of_channels = (torch.from_numpy(v.astype(np.float32)) for v in (into_weight, into_bias))
        return into_x, *of_channels, None, None, None, None, None, None


class _Rows:
    """Maps as rows of some pixels each: loops over the channels of one pixel would be too short.

    What belongs to channels is repeated for each pixel of a row.
    """

    def __init__(self, shape: torch.Size) -> None:
        batch, self.channels, height, width = shape
        most = 1 << (LONG // self.channels).bit_length() >> 1
        self.pixels = math.gcd(batch * height * width, max(1, most))

    def of(self, maps: Tensor) -> Bits:
        return bits_of(maps).reshape(-1, self.pixels * self.channels)

    def repeat(self, of_channels: NDArray[Any]) -> Floats:
        return np.tile(of_channels.astype(np.float32), self.pixels)

    def sums(self, add: Any, maps: Bits, *how: Any) -> Any:
        """(2, C) sums that a function adds to."""
        found = np.zeros((SHARES, 2, maps.shape[1]), np.float32)
        arrays, rest = _arrays_first(maps, *how)

        def share(part: slice, number: int) -> None:
            add(*(a[part] for a in arrays), *rest, *found[number])

        for_each_share(share, len(maps))
        return found.sum(0, np.float64).reshape(2, self.pixels, self.channels).sum(1)

    def fill(self, write: Any, into: Bits, *how: Any) -> None:
        """Let a function write a map, which is channels last."""
        arrays, rest = _arrays_first(*how)

        def share(part: slice, number: int) -> None:
            write(*(a[part] for a in arrays), *rest, into[part])

        for_each_share(share, len(into))


def _arrays_first(*values: Any) -> tuple[list[Any], list[Any]]:
    maps = [value for value in values if getattr(value, "ndim", 0) == 2]
    return maps, [value for value in values if getattr(value, "ndim", 0) != 2]


@compiled()
def _add_sums(maps: Bits, guess: Floats, total: Floats, squares: Floats) -> None:
    for row in range(maps.shape[0]):
        numbers = maps[row]
        for i in range(total.shape[0]):
            value = widened(numbers[i]) - guess[i]
            total[i] += value
            squares[i] += value * value


@compiled()
def _activate(
    maps: Bits, scale: Floats, offset: Floats, least: float, most: float, into: Bits
) -> None:
    low, high = np.float32(least), np.float32(most)
    for row in range(maps.shape[0]):
        numbers, written = maps[row], into[row]
        for i in range(scale.shape[0]):
            value = scale[i] * widened(numbers[i]) + offset[i]
            value = low if value < low else value  # in this order NaN stays NaN
            written[i] = narrowed(high if value > high else value)


@compiled()
def _add_gradients(
    maps: Bits, gradients: Bits, mean: Floats, scale: Floats, offset: Floats, least: float,
    most: float, total: Floats, by_map: Floats,
) -> None:  # fmt: skip
    low, high = np.float32(least), np.float32(most)
    for row in range(maps.shape[0]):
        numbers, changes = maps[row], gradients[row]
        for i in range(scale.shape[0]):
            number = widened(numbers[i])
            value = scale[i] * number + offset[i]
            gradient = widened(changes[i])
            gradient = np.float32(0) if value <= low or value >= high else gradient
            total[i] += gradient
            by_map[i] += gradient * (number - mean[i])


@compiled()
def _input_gradient(
    maps: Bits, gradients: Bits, scale: Floats, offset: Floats, least: float, most: float,
    slope: Floats, constant: Floats, into: Bits,
) -> None:  # fmt: skip
    low, high = np.float32(least), np.float32(most)
    for row in range(maps.shape[0]):
        numbers, changes, written = maps[row], gradients[row], into[row]
        for i in range(scale.shape[0]):
            number = widened(numbers[i])
            value = scale[i] * number + offset[i]
            gradient = scale[i] * widened(changes[i])
            gradient = np.float32(0) if value <= low or value >= high else gradient
            written[i] = narrowed(gradient - slope[i] * number - constant[i])
