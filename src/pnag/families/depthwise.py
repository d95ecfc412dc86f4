"""Depthwise convolution whose backward pass is fast on a CPU for kernels above 3 and in bfloat16.

oneDNN's kernel for the weights' gradient ends at 3x3; larger ones take a way that costs 15 to 100
times as much as the sum itself. That was 40 % of a training step on small images. In bfloat16 it
has no kernel at all for either gradient, which was 85 % of a step (`benchmarks/README.md`). There
the input's gradient is computed as what it is, a convolution too, or here if the stride is above 1,
and the weights' gradient here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from pnag.compiled import SHARES, compiled, for_each_share
from pnag.families.bfloat16 import Bits, bits_of, narrowed, widened

LARGEST_OF_ONEDNN = 3
Floats = NDArray[np.float32]


def depthwise(x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """`F.conv2d` with as many groups as channels.

    Args:
        x: (N, C, H, W). weight: (C, 1, K, K).
    """
    trains = torch.is_grad_enabled() and weight.requires_grad
    if trains and x.device.type == "cpu" and x.is_contiguous(memory_format=torch.channels_last):
        if torch.is_autocast_enabled("cpu"):
            x = x.to(torch.get_autocast_dtype("cpu"))
        bfloat16 = x.dtype == torch.bfloat16
        large = x.dtype == weight.dtype == torch.float32 and weight.shape[-1] > LARGEST_OF_ONEDNN
        if bfloat16 or large:
            result: Tensor = _Depthwise.apply(x, weight, stride, padding)
            return result
    return F.conv2d(x, weight, None, stride, padding, 1, x.shape[1])


def useful_taps(weight: Tensor, size: int) -> Tensor:
    """The middle (C, 1, K', K') of (C, 1, K, K) weights, without taps that meet only padding.

    Those are as far from the centre as the map is large. On the 2x2 maps of small images a 7x7
    kernel has 40 of them out of 49, and leaving them out makes its backward pass on a CPU many
    times faster. What is left needs a padding of K' // 2.

    Args:
        size: of the map, in pixels, along its longer side.
    """
    useless = weight.shape[-1] // 2 - (size - 1)
    return weight[:, :, useless:-useless, useless:-useless] if useless > 0 else weight


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise `nn.Conv2d` that goes through `depthwise`; weights have the same names."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C, H', W')."""
        padding = self.padding[0]
        if self.bias is not None or not isinstance(padding, int):  # batch norms were folded in
            return super().forward(x)
        return depthwise(x, self.weight, self.stride[0], padding)


def with_fast_depthwise(network: nn.Module) -> None:
    """Replace a network's depthwise convolutions by `DepthwiseConv2d`, weights shared."""
    for module in list(network.modules()):
        for name, conv in list(module.named_children()):
            if type(conv) is not nn.Conv2d or conv.bias is not None:
                continue
            kernel, stride = conv.kernel_size[0], conv.stride[0]
            plain = conv.padding == (kernel // 2,) * 2 and conv.dilation == (1, 1)
            square = conv.kernel_size == (kernel,) * 2 and conv.stride == (stride,) * 2
            depthwise_one = conv.groups == conv.in_channels == conv.out_channels
            if plain and square and depthwise_one:
                fast = DepthwiseConv2d(
                    conv.in_channels, conv.out_channels, kernel, stride, kernel // 2,
                    groups=conv.groups, bias=False, device="meta",
                )  # fmt: skip
                fast.weight = conv.weight
                setattr(module, name, fast)


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(x, weight.to(x.dtype), None, stride, padding, 1, x.shape[1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, None, None]:
        x, weight = ctx.saved_tensors
        stride, padding, wanted = ctx.stride, ctx.padding, ctx.needs_input_grad[0]
        into_weight = weight_gradient(x, grad, weight.shape[-1], stride, padding)
        into_input = None
        if wanted and x.dtype == torch.bfloat16:
            into_input = input_gradient(grad, weight.to(x.dtype), x.shape, stride, padding)
        elif wanted:
            into_input, _, _ = torch.ops.aten.convolution_backward(
                grad, x, weight, None, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0],
                x.shape[1], [True, False, False],
            )  # fmt: skip
        return into_input, into_weight, None, None


def input_gradient(
    grad: Tensor, weight: Tensor, shape: torch.Size, stride: int, padding: int
) -> Tensor:
    """(N, C, H, W) gradient of a depthwise convolution's input, of `shape`, in bfloat16.

    Args:
        grad: (N, C, H', W') of the output. weight: (C, 1, K, K).
    """
    kernel = weight.shape[-1]
    if stride == 1:  # a convolution by the weights in reverse
        return F.conv2d(grad, weight.flip(2, 3), None, 1, kernel - 1 - padding, 1, shape[1])
    into = torch.empty(shape, dtype=grad.dtype, memory_format=torch.channels_last)
    taps = np.ascontiguousarray(weight.detach()[:, 0].permute(1, 2, 0).float().numpy())
    changes, written = bits_of(grad), bits_of(into)
    for_each_share(
        lambda part, _: _spread(changes[part], taps, stride, padding, written[part]), len(grad)
    )
    return into


def weight_gradient(x: Tensor, grad: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    """(C, 1, K, K) gradient of a depthwise convolution's weights.

    Args:
        x: (N, C, H, W) input. grad: (N, C, H', W') of the output.
    """
    sums = np.zeros((SHARES, kernel, kernel, x.shape[1]), np.float32)
    bfloat16 = x.dtype == torch.bfloat16
    laid: Any = bits_of if bfloat16 else _channels_last
    add: Any = _add_weight_gradient_of_bits if bfloat16 else _add_weight_gradient
    images, gradients = laid(x), laid(grad)
    for_each_share(
        lambda part, share: add(images[part], gradients[part], stride, padding, sums[share]),
        len(x),
    )
    return torch.from_numpy(sums.sum(0)).permute(2, 0, 1)[:, None].contiguous()


def _channels_last(x: Tensor) -> Floats:
    """(N, H, W, C) view where the memory is laid out so, else a copy."""
    return np.ascontiguousarray(x.detach().permute(0, 2, 3, 1).numpy())


@compiled(any_order=True)
def _add_weight_gradient(
    images: Floats, gradients: Floats, stride: int, padding: int, sums: Floats
) -> None:
    """Add to (K, K, C) sums; the innermost loop is over channels, which lie side by side."""
    # By index: numba takes what iteration yields for strided, and then uses no vectors.
    for n in range(images.shape[0]):
        for to_y in range(gradients.shape[1]):
            for i in range(sums.shape[0]):
                y = to_y * stride + i - padding
                if y < 0 or y >= images.shape[1]:
                    continue
                for to_x in range(gradients.shape[2]):
                    change = gradients[n, to_y, to_x]
                    for j in range(sums.shape[1]):
                        x = to_x * stride + j - padding
                        if x < 0 or x >= images.shape[2]:
                            continue
                        pixel, into = images[n, y, x], sums[i, j]
                        for channel in range(into.shape[0]):
                            into[channel] += pixel[channel] * change[channel]


@compiled(any_order=True)
def _add_weight_gradient_of_bits(
    images: Bits, gradients: Bits, stride: int, padding: int, sums: Floats
) -> None:
    """The same of bfloat16, image by image: each number is used as often as the kernel has taps."""
    image = np.empty((1, *images.shape[1:]), np.float32)
    gradient = np.empty((1, *gradients.shape[1:]), np.float32)
    for n in range(images.shape[0]):
        _widen(images[n], image[0])
        _widen(gradients[n], gradient[0])
        _add_weight_gradient(image, gradient, stride, padding, sums)


@compiled()
def _widen(bits: Bits, into: Floats) -> None:
    for y in range(bits.shape[0]):
        for x in range(bits.shape[1]):
            for channel in range(bits.shape[2]):
                into[y, x, channel] = widened(bits[y, x, channel])


@compiled()
def _spread(gradients: Bits, taps: Floats, stride: int, padding: int, into: Bits) -> None:
    """What each input gets of the outputs that it is used for, by (K, K, C) weights."""
    height, width, channels = gradients.shape[1:]
    changes = np.empty((height, width, channels), np.float32)
    line = np.empty((into.shape[2], channels), np.float32)
    flat = line.reshape(-1)
    for n in range(into.shape[0]):
        _widen(gradients[n], changes)
        for y in range(into.shape[1]):
            line[:] = 0
            for i in range(taps.shape[0]):
                to_y = (y + padding - i) // stride
                if to_y * stride != y + padding - i or to_y < 0 or to_y >= height:
                    continue
                for to_x in range(width):
                    change = changes[to_y, to_x]
                    for j in range(taps.shape[1]):
                        x = to_x * stride + j - padding
                        if x < 0 or x >= into.shape[2]:
                            continue
                        weight, pixel = taps[i, j], line[x]
                        for channel in range(channels):
                            pixel[channel] += weight[channel] * change[channel]
            row = into[n, y].reshape(-1)
            for i in range(row.shape[0]):
                row[i] = narrowed(flat[i])
