"""Depthwise convolution whose backward pass is fast on a CPU for kernels above 3 and in bfloat16.

oneDNN's kernel for the weights' gradient ends at 3x3; larger ones take a way that costs 15 to 100
times as much as the sum itself. That was 40 % of a training step on small images. In bfloat16 it
has no kernel at all for either gradient, which was 85 % of a step: they are computed in float32
(`benchmarks/README.md`). The forward pass and the input's gradient stay torch's.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from pnag.compiled import compiled

LARGEST_OF_ONEDNN = 3
# Sums over so many shares of the batch, whatever the number of threads: the result depends on the
# order of a sum, and a run that resumes with other threads should end with the same weights.
SHARES = 4
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
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, None, None]:
        x, weight = ctx.saved_tensors
        dtype, kernel = x.dtype, weight.shape[-1]
        x, grad = x.float(), grad.float()
        size, padding = [ctx.stride] * 2, [ctx.padding] * 2
        small = kernel <= LARGEST_OF_ONEDNN
        into_input, into_weight, _ = torch.ops.aten.convolution_backward(
            grad, x, weight, None, size, padding, [1, 1], False, [0, 0], x.shape[1],
            [ctx.needs_input_grad[0], small, False],
        )  # fmt: skip
        if not small:
            into_weight = weight_gradient(x, grad, kernel, ctx.stride, ctx.padding)
        return into_input if into_input is None else into_input.to(dtype), into_weight, None, None


def weight_gradient(x: Tensor, grad: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    """(C, 1, K, K) gradient of a depthwise convolution's weights.

    Args:
        x: (N, C, H, W) input. grad: (N, C, H', W') of the output.
    """
    images, gradients = _channels_last(x), _channels_last(grad)
    sums = np.zeros((SHARES, kernel, kernel, x.shape[1]), np.float32)
    edges = [len(images) * share // SHARES for share in range(SHARES + 1)]

    def add(share: int) -> None:
        part = slice(edges[share], edges[share + 1])
        _add_weight_gradient(images[part], gradients[part], stride, padding, sums[share])

    threads = torch.get_num_threads()
    if threads > 1:
        list(_pool(min(threads, SHARES)).map(add, range(SHARES)))
    else:
        for share in range(SHARES):
            add(share)
    return torch.from_numpy(sums.sum(0)).permute(2, 0, 1)[:, None].contiguous()


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads)


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
