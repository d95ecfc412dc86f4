"""Layers of the supernet whose width and kernel are chosen per call.

Nothing here remembers a choice: the active channels come from the arguments or from the input, and
slices of weights are views of the shared ones, so calls with different choices can be mixed in any
order, also before one backward pass. What is shared how is described in `shared/facts/README.md`
(Once-for-All, https://arxiv.org/abs/1908.09791, section 3.3).

Modules are nested and named such that the keys of a state dict are those of the published files;
that is why a convolution sits in a `conv` in a `conv`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pnag.families.depthwise import depthwise, useful_taps
from pnag.families.mobilenetv3 import Unit, scaled, squeezed
from pnag.space.architecture import KERNELS, WIDTHS

LARGEST_KERNEL = max(KERNELS)
LARGEST_WIDTH = max(WIDTHS)


class ElasticPointwise(nn.Module):
    """A 1x1 convolution without bias from the first input to the first output channels."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)

    def weight(self, in_channels: int, out_channels: int) -> Tensor:
        """The active weights, (out, in, 1, 1), a view."""
        return self.conv.weight[:out_channels, :in_channels]

    def forward(self, x: Tensor, out_channels: int) -> Tensor:
        """Map (N, C, H, W) to (N, `out_channels`, H, W)."""
        return F.conv2d(x, self.weight(x.shape[1], out_channels))


class ElasticDepthwise(nn.Module):
    """A depthwise convolution of kernel 7, or of a smaller one made from the 7x7 weights.

    Kernel 5 is the centre of the 7x7 weights, flattened and sent through `7to5_matrix`; kernel 3
    the centre of that result, sent through `5to3_matrix`. Matrices are shared over channels.
    """

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        # published files list the parameters in this order
        self.register_parameter("5to3_matrix", nn.Parameter(torch.eye(9)))
        self.register_parameter("7to5_matrix", nn.Parameter(torch.eye(25)))
        self.conv = nn.Conv2d(channels, channels, LARGEST_KERNEL, groups=channels, bias=False)

    def weight(self, channels: int, kernel: int) -> Tensor:
        """The active weights, (channels, 1, kernel, kernel); a view for kernel 7."""
        weight = self.conv.weight[:channels]
        if kernel == LARGEST_KERNEL:
            return weight
        # In training as where subnets are judged and exported: autocast would round the weights
        # and matrices to bfloat16 first, and what was trained would not be what is exported.
        with _full_precision(weight.device.type):
            matrix: Tensor = self.get_parameter("7to5_matrix")
            if kernel == 3:
                # Only the centre of the 5x5 result is wanted: take its nine rows before the product
                # with the channels, and multiply the two small matrices instead.
                centre = matrix.view(5, 5, 25)[1:4, 1:4].reshape(9, 25)
                matrix = self.get_parameter("5to3_matrix") @ centre
            flat = weight[:, :, 1:6, 1:6].reshape(channels, 25)
            return (flat @ matrix.t()).view(channels, 1, kernel, kernel)

    def forward(self, x: Tensor, kernel: int) -> Tensor:
        """Map (N, C, H, W) to (N, C, ceil(H / stride), ceil(W / stride))."""
        channels = x.shape[1]
        weight = useful_taps(self.weight(channels, kernel), max(x.shape[2:]))
        return depthwise(x, weight, self.stride, weight.shape[-1] // 2)


class ElasticBatchNorm(nn.Module):
    """Batch norm of the first channels; running statistics are sliced as the affine part is."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(channels)  # momentum 0.1, eps 1e-5

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (N, C, H, W); when training, update C channels of the running statistics."""
        bn = self.bn
        if x.shape[1] == bn.num_features:
            result: Tensor = bn(x)
            return result
        active = slice(x.shape[1])
        assert bn.running_mean is not None and bn.running_var is not None
        assert bn.num_batches_tracked is not None and bn.momentum is not None
        if bn.training:
            bn.num_batches_tracked.add_(1)
        return F.batch_norm(
            x,
            bn.running_mean[active],
            bn.running_var[active],
            bn.weight[active],
            bn.bias[active],
            bn.training,
            bn.momentum,
            bn.eps,
        )


class ElasticSqueezeExcite(nn.Module):
    """Squeeze-excite over the first channels, with a quarter of the active ones inside."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = squeezed(channels)
        self.fc = nn.Sequential()
        self.fc.add_module("reduce", nn.Conv2d(channels, hidden, 1))
        self.fc.add_module("expand", nn.Conv2d(hidden, channels, 1))

    def weights(self, channels: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Active weight and bias of `reduce`, then of `expand`, all views.

        Shapes (hidden, channels, 1, 1), (hidden,), (channels, hidden, 1, 1), (channels,).
        """
        hidden = squeezed(channels)
        reduce, expand = self.fc
        assert isinstance(reduce, nn.Conv2d) and isinstance(expand, nn.Conv2d)
        assert reduce.bias is not None and expand.bias is not None
        return (
            reduce.weight[:hidden, :channels],
            reduce.bias[:hidden],
            expand.weight[:channels, :hidden],
            expand.bias[:channels],
        )

    def forward(self, x: Tensor) -> Tensor:
        """Scale the channels of (N, C, H, W)."""
        reduce, reduce_bias, expand, expand_bias = self.weights(x.shape[1])
        # On pooled vectors the 1x1 convolutions are matrix products, which take the slices of
        # weights as they lie; convolutions would copy them.
        gate = F.linear(x.mean((2, 3)), reduce[:, :, 0, 0], reduce_bias)
        gate = F.linear(F.relu(gate), expand[:, :, 0, 0], expand_bias)
        return x * F.hardsigmoid(gate)[:, :, None, None]


class ElasticStep(nn.Module):
    """The names of a convolution, its batch norm, and a squeeze-excite or None."""

    def __init__(
        self,
        conv: ElasticPointwise | ElasticDepthwise,
        channels: int,
        se: ElasticSqueezeExcite | None = None,
    ) -> None:
        super().__init__()
        self.conv = conv
        self.bn = ElasticBatchNorm(channels)
        self.se = se


class ElasticInvertedResidual(nn.Module):
    """Expand, depthwise, squeeze-excite, project: a layer of a unit without its shortcut."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, unit: Unit) -> None:
        super().__init__()
        self.in_channels = in_channels
        # Hard swish keeps its input for the backward pass, so only ReLU may overwrite it.
        self.activation = nn.ReLU(inplace=True) if unit.activation == "re" else nn.Hardswish()
        channels = self.expanded(LARGEST_WIDTH)
        self.inverted_bottleneck = ElasticStep(ElasticPointwise(in_channels, channels), channels)
        self.depth_conv = ElasticStep(
            ElasticDepthwise(channels, stride),
            channels,
            ElasticSqueezeExcite(channels) if unit.squeeze_excite else None,
        )
        self.point_linear = ElasticStep(ElasticPointwise(channels, out_channels), out_channels)

    def expanded(self, width: int) -> int:
        """Channels inside the layer at a width (expand ratio)."""
        return scaled(self.in_channels, width)

    def forward(self, x: Tensor, width: int, kernel: int) -> Tensor:
        """Map (N, in, H, W) to (N, out, ceil(H / stride), ceil(W / stride))."""
        expand, depthwise, project = self.inverted_bottleneck, self.depth_conv, self.point_linear
        x = self.activation(expand.bn(expand.conv(x, self.expanded(width))))
        x = self.activation(depthwise.bn(depthwise.conv(x, kernel)))
        if depthwise.se is not None:
            x = depthwise.se(x)
        result: Tensor = project.bn(project.conv(x, project.bn.bn.num_features))
        return result

    def weights(self, width: int, kernel: int) -> dict[str, Tensor]:
        """Active weights and statistics under the names of timm's `InvertedResidual`."""
        expand, depthwise, project = self.inverted_bottleneck, self.depth_conv, self.point_linear
        channels = self.expanded(width)
        out_channels = project.bn.bn.num_features
        weights = {
            "conv_pw.weight": expand.conv.weight(self.in_channels, channels),
            "conv_dw.weight": depthwise.conv.weight(channels, kernel),
            "conv_pwl.weight": project.conv.weight(channels, out_channels),
        }
        for name, norm, active in (
            ("bn1", expand.bn, channels),
            ("bn2", depthwise.bn, channels),
            ("bn3", project.bn, out_channels),
        ):
            for key, value in norm.bn.state_dict(keep_vars=True).items():
                weights[f"{name}.{key}"] = value[:active] if value.ndim else value
        if depthwise.se is not None:
            names = ("reduce.weight", "reduce.bias", "expand.weight", "expand.bias")
            for key, value in zip(names, depthwise.se.weights(channels), strict=True):
                weights[f"se.conv_{key}"] = value
        return weights

    @torch.no_grad()
    def sort_channels(self, trained_widths: Sequence[int]) -> None:
        """See `Supernet.sort_channels`; reorders this layer's channels in place."""
        expand, depthwise, project = self.inverted_bottleneck, self.depth_conv, self.point_linear
        bounds = [self.expanded(width) for width in trained_widths]
        order = _importance_order(project.conv.conv.weight, bounds)
        _permute(expand.conv.conv.weight, 0, order)
        _permute(depthwise.conv.conv.weight, 0, order)
        _permute(project.conv.conv.weight, 1, order)
        for norm in (expand.bn.bn, depthwise.bn.bn):
            for value in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
                _permute(value, 0, order)
        if depthwise.se is not None:
            reduce, excite = depthwise.se.fc
            assert isinstance(reduce, nn.Conv2d) and isinstance(excite, nn.Conv2d)
            _permute(reduce.weight, 1, order)
            _permute(excite.weight, 0, order)
            _permute(excite.bias, 0, order)
            hidden_order = _importance_order(excite.weight, [squeezed(bound) for bound in bounds])
            _permute(reduce.weight, 0, hidden_order)
            _permute(reduce.bias, 0, hidden_order)
            _permute(excite.weight, 1, hidden_order)


class ElasticLayer(nn.Module):
    """One layer of a unit: an inverted residual, with a shortcut in all but a unit's first."""

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, unit: Unit, shortcut: bool
    ) -> None:
        super().__init__()
        self.shortcut = shortcut
        self.conv = ElasticInvertedResidual(in_channels, out_channels, stride, unit)

    def forward(self, x: Tensor, width: int, kernel: int) -> Tensor:
        """Map (N, in, H, W) to (N, out, ceil(H / stride), ceil(W / stride))."""
        result: Tensor = self.conv(x, width, kernel)
        return result + x if self.shortcut else result


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
