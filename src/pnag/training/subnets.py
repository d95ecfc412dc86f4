"""Accuracy of many subnets of a trained supernet, each with batch norms measured for it anew.

Each batch norm is measured on the calibration images after those before it have been, in training
mode's own way (a batch of all calibration images), and then folded into the weights before it. What
architectures have in common from the first layer on is computed once: they are taken in an order in
which such architectures follow each other, and every layer's output is kept until it changes.

Maps are held as (N, H, W, C), so that a 1x1 convolution is one matrix product; on a CPU that is up
to three times as fast as the convolution. A layer works on as many images at a time as let its
widest map stay in the cache, which at 64 pixels is three times as fast as on all of them at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from pnag.errors import PnagError
from pnag.families.depthwise import useful_taps
from pnag.families.elastic import LARGEST_WIDTH, ElasticDepthwise, ElasticLayer
from pnag.families.mobilenetv3 import UNIT_LAYOUT
from pnag.families.supernet import Supernet
from pnag.space import Architecture, SearchSpace, Tokens
from pnag.space.architecture import MAX_DEPTH
from pnag.training.batches import eval_batches, eval_rows
from pnag.training.images import ImageData
from pnag.training.settings import Precision
from pnag.training.splits import subset

# Bytes of a layer's widest map that are worked on at a time.
_TILE = {"cpu": 1 << 20, "cuda": 1 << 28}
_BATCH = 256
MAPS_BYTES = 1 << 30  # of validation images' maps, on a CPU
MAPS_SHARE = 0.5  # of a GPU's free memory that they take
# A variance needs two images.
_LEAST = 2


@dataclass(frozen=True)
class Settings:
    """What an accuracy depends on besides the supernet and the images.

    Attributes:
        calibration: images of the train part that batch norms are measured on, all at once: at
            224 pixels and width 1 each takes 5 MB.
        validation: images of the validation part, each class with its share; all if None.
        precision: of maps and weights; statistics and logits are float32 in either. bfloat16 is
            1.2 to 1.4 times as fast where the device multiplies it (`judging_precision`).
        seed: which images, where not all are used.
    """

    calibration: int = 512
    validation: int | None = None
    precision: Precision = "float32"
    seed: int = 0

    def validation_images(self, data: ImageData) -> int:
        """How many there are of them."""
        available = len(data.validation)
        return available if self.validation is None else min(self.validation, available)

    def check(self, supernet: Supernet, data: ImageData) -> None:
        """Raise PnagError unless subnets can be evaluated so."""
        if len(data.classes) != supernet.num_classes:
            raise PnagError(
                f"the supernet has {supernet.num_classes} classes and {data.source} has "
                f"{len(data.classes)}; train a supernet on these images"
            )
        if min(self.calibration, len(data.train)) < _LEAST:
            raise PnagError(f"calibration is {self.calibration}, needs at least {_LEAST} images")
        if self.validation_images(data) < _LEAST:
            raise PnagError(
                f"validation is {self.validation} of {len(data.validation)}, needs at least "
                f"{_LEAST} images"
            )


class SubnetEvaluator:
    """Top-1 of a supernet's architectures on the validation part.

    The supernet must not change while this is in use. A result depends on the architecture alone
    (and the number of threads), not on what it is evaluated with, to the last bit.

    Args:
        supernet: trained; it stays as it is. Its device is used.
        data: calibration images are centre-cropped ones of the train part.
        settings: which images, which precision.
        memory: bytes that the maps of validation images may take; more images are taken in turns.
            What suits the device if None.

    Attributes:
        images: how many validation images.
        rows: (images,) of the validation part, ascending.
        chunks: of `rows`, each worked on at once.

    Raises:
        PnagError: for another class count than the supernet's, or too few images.
    """

    def __init__(
        self,
        supernet: Supernet,
        data: ImageData,
        settings: Settings | None = None,
        *,
        memory: int | None = None,
    ) -> None:
        self.settings = settings = settings or Settings()
        settings.check(supernet, data)
        self._supernet: Any = supernet  # torch types a module's parts as tensors or modules
        self._data = data
        self._device = next(supernet.parameters()).device
        self._dtype = getattr(torch, settings.precision)
        self.rows = _chosen(data.validation.labels, settings)
        self.images = len(self.rows)
        self._memory = memory or maps_bytes(self._device)
        with torch.inference_mode():
            self._prepare()

    def _prepare(self) -> None:
        batches = eval_batches(
            self._data,
            "train",
            _BATCH,
            limit=self.settings.calibration,
            seed=self.settings.seed,
            device=self._device,
        )
        calibration = torch.cat([self._nhwc(images) for images, _ in batches])
        self._stem = _Stem(self._supernet, self._dtype)
        self._calibration = _Maps(self._supernet, self._stem.calibrate(calibration))
        chunk = max(1, self._memory // self._calibration.bytes_per_image)
        self.chunks = [
            range(first, min(first + chunk, self.images)) for first in range(0, self.images, chunk)
        ]
        # With few chunks the images stay after the stem, which then need not be computed again.
        self._kept: dict[range, tuple[_Maps, Tensor]] = {}
        if self.images * self._calibration.bytes_per_image <= self._memory:
            self._kept = {chunk: self._load(chunk) for chunk in self.chunks}

    def correct(self, tokens: Tokens) -> NDArray[np.int64]:
        """(M,) of `images`, how many each architecture classifies correctly.

        Args:
            tokens: (M, T) of the MobileNetV3 space. The more of them at a time, the more of what
                they share is computed once; nothing is kept between calls.
        """
        order = shared_order(SearchSpace(), tokens)
        archs = SearchSpace().decode(tokens[order])
        counts = np.zeros(len(tokens), np.int64)
        with torch.inference_mode():
            while len(tokens):
                try:
                    statistics = list(self._calibrate(archs))
                    found = [self._correct(chunk, archs, statistics) for chunk in self.chunks]
                    # Asked for once: a GPU has all to work on before the CPU waits for it.
                    counts[order] = torch.stack(found).sum(0).cpu().numpy()
                    break
                except torch.OutOfMemoryError as error:
                    if len(self.chunks) == self.images:
                        raise PnagError(
                            f"the memory of {self._device} does not suffice to judge subnets; "
                            "close other programs, or take a smaller resolution or width"
                        ) from error
                self._memory //= 2
                self._kept.clear()
                torch.cuda.empty_cache()
                self._prepare()
        return counts

    def accuracies(self, tokens: Tokens) -> NDArray[np.float64]:
        """(M,) top-1 of (M, T) architectures on all validation images, as fractions."""
        return self.correct(tokens) / self.images

    def logits(self, arch: Architecture | str) -> Tensor:
        """(images, classes) float32 of one architecture, to compare it with other ways."""
        arch = Architecture.parse(arch) if isinstance(arch, str) else arch
        with torch.inference_mode():
            (statistics,) = self._calibrate([arch])
            return torch.cat([self._logits(chunk, arch, statistics) for chunk in self.chunks])

    def _logits(self, chunk: range, arch: Architecture, statistics: _Statistics) -> Tensor:
        maps, _ = self._kept.get(chunk) or self._load(chunk)
        x = self._walk(maps, arch, statistics.layers, 0)
        return _head(self._supernet, statistics.final, x, self._dtype)

    def _load(self, chunk: range) -> tuple[_Maps, Tensor]:
        features, labels = [], []
        rows = self.rows[chunk.start : chunk.stop]
        for images, batch_labels in eval_rows(
            self._data, "validation", rows, _BATCH, device=self._device
        ):
            features.append(self._stem(self._nhwc(images)))
            labels.append(batch_labels)
        return _Maps(self._supernet, torch.cat(features)), torch.cat(labels)

    def _nhwc(self, images: Tensor) -> Tensor:
        return images.permute(0, 2, 3, 1).to(self._dtype)

    def _calibrate(self, archs: Sequence[Architecture]) -> Iterator[_Statistics]:
        """Of each architecture; neighbours share those of the layers they have in common."""
        maps = self._calibration
        layers: list[_LayerStatistics] = []
        for arch, common in zip(archs, shared_layers(archs), strict=True):
            del layers[common:]
            steps = _steps(arch)
            x = maps[steps[common - 1]] if common else maps.first
            for position in steps[common:]:
                raw = self._raw(arch, position)
                statistics = raw.calibrate(x, maps[position])
                layers.append(statistics)
                x = maps[position]
            yield _Statistics(tuple(layers), _calibrate_final(self._supernet, x))

    def _correct(
        self, chunk: range, archs: Sequence[Architecture], statistics: Sequence[_Statistics]
    ) -> Tensor:
        """(M,) int64, how many images of a chunk each architecture classifies correctly."""
        # Not kept longer than this call: the next chunk needs the memory.
        maps, labels = self._kept.get(chunk) or self._load(chunk)
        counts = []
        for arch, common, own in zip(archs, shared_layers(archs), statistics, strict=True):
            x = self._walk(maps, arch, own.layers, common)
            logits = _head(self._supernet, own.final, x, self._dtype)
            counts.append((logits.argmax(1) == labels).sum())
        return torch.stack(counts)

    def _walk(
        self, maps: _Maps, arch: Architecture, layers: Sequence[_LayerStatistics], common: int
    ) -> Tensor:
        """Fill the maps of all layers but the `common` first ones; the last one's map."""
        steps = _steps(arch)
        x = maps[steps[common - 1]] if common else maps.first
        for position, statistics in zip(steps[common:], layers[common:], strict=True):
            self._raw(arch, position).folded(statistics, unbiased=True).run(x, maps[position])
            x = maps[position]
        return x

    def _raw(self, arch: Architecture, position: int) -> _Layer:
        layer = self._supernet.blocks[1 + position]
        assert isinstance(layer, ElasticLayer)
        return _Layer.of(layer, arch.widths[position], arch.kernels[position], position)


def maps_bytes(device: torch.device) -> int:
    """How much memory the maps of validation images should take on a device."""
    if device.type != "cuda":
        return MAPS_BYTES
    free, _ = torch.cuda.mem_get_info(device)
    # Of torch's own reserve, what it has not given out is free, too.
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(MAPS_SHARE * free)


def evaluator_bytes(
    supernet: Supernet, resolution: int, images: int, settings: Settings, memory: int = MAPS_BYTES
) -> int:
    """What a `SubnetEvaluator` takes at its peak, besides the supernet's weights.

    Args:
        supernet: of any device, "meta" too.
        resolution: of the images, in pixels.
        images: of the validation part that are judged on.
        memory: as the evaluator's.
    """
    dtype = getattr(torch, settings.precision)
    size = (resolution + 1) // 2  # behind the stem
    first = torch.empty((1, size, size, _stem_channels(supernet)), dtype=dtype, device="meta")
    maps = _Maps(supernet, first)
    # The wide map of a layer is kept while its batch norms are measured.
    widest: int = max(
        maps[position][..., 0].numel() * layer.conv.expanded(LARGEST_WIDTH) * first.element_size()
        for position, layer in enumerate(cast(Any, supernet.blocks[1:]))
    )
    validation = min(images, max(1, memory // maps.bytes_per_image)) * maps.bytes_per_image
    return settings.calibration * (maps.bytes_per_image + widest) + validation


def _stem_channels(supernet: Any) -> int:
    return int(supernet.blocks[0].conv.point_linear.bn.num_features)


def shared_order(space: SearchSpace, tokens: Tokens) -> NDArray[np.int64]:
    """(M,) rows of (M, T) tokens, such that those with the same first layers follow each other."""
    # A unit's depth comes first among its tokens and is left out: which layers exist says it, and
    # a unit of depth 2 begins as the deeper ones do.
    columns = [i for i, token in enumerate(space.tokens) if token.parent >= 0]
    return np.lexsort(tokens[:, columns].T[::-1])


def _chosen(labels: NDArray[np.int64], settings: Settings) -> NDArray[np.int64]:
    if settings.validation is None or settings.validation >= len(labels):
        return np.arange(len(labels))
    return subset(labels, settings.validation, np.random.default_rng([settings.seed, 1]))


def _steps(arch: Architecture) -> list[int]:
    """Positions of the layers that exist."""
    return [position for position, width in enumerate(arch.widths) if width]


def shared_layers(archs: Sequence[Architecture]) -> list[int]:
    """With how many layers each architecture begins as the one before it; 0 for the first."""
    counts = []
    before: list[tuple[int, int, int]] = []
    for arch in archs:
        layers = [(p, arch.widths[p], arch.kernels[p]) for p in _steps(arch)]
        count = 0
        while count < min(len(before), len(layers)) and before[count] == layers[count]:
            count += 1
        counts.append(count)
        before = layers
    return counts


class _Maps:
    """Room for the output of each layer position, (N, H, W, C), and the input of the first.

    Outputs of a position have one shape whatever its width, so their memory is used again.
    """

    def __init__(self, supernet: Any, first: Tensor) -> None:
        self.first = first
        self._maps: list[Tensor] = []
        height, width = first.shape[1:3]
        for position in range(len(UNIT_LAYOUT) * MAX_DEPTH):
            layer = supernet.blocks[1 + position].conv
            stride = layer.depth_conv.conv.stride
            height, width = math.ceil(height / stride), math.ceil(width / stride)
            channels = layer.point_linear.bn.bn.num_features
            self._maps.append(first.new_empty((len(first), height, width, channels)))

    def __getitem__(self, position: int) -> Tensor:
        return self._maps[position]

    @property
    def bytes_per_image(self) -> int:
        return sum(x[0].numel() * x.element_size() for x in (self.first, *self._maps))


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
class _LayerStatistics:
    expand: Norm
    depth: Norm
    project: Norm


@dataclass(frozen=True)
class _Statistics:
    layers: tuple[_LayerStatistics, ...]
    final: Norm


@dataclass(frozen=True)
class _Layer:
    """A layer at one width and kernel, its weights as they are or with batch norms folded in.

    Attributes:
        expand: (E, C). depth: (E, 1, K, K). project: (O, E). Each with its bias.
        excite: weights and biases of squeeze-excite's two matrices, or None.
    """

    elastic: ElasticLayer
    expand: tuple[Tensor, Tensor | None]
    depth: tuple[Tensor, Tensor | None]
    excite: tuple[Tensor, Tensor, Tensor, Tensor] | None
    project: tuple[Tensor, Tensor | None]
    relu: bool

    @classmethod
    def of(cls, elastic: ElasticLayer, width: int, kernel: int, position: int) -> _Layer:
        """float32, without biases: what comes before each batch norm."""
        layer = elastic.conv
        channels = layer.expanded(width)
        out = layer.point_linear.bn.bn.num_features
        se = layer.depth_conv.se
        excite = None
        if se is not None:
            reduce, reduce_bias, expand, expand_bias = se.weights(channels)
            excite = (reduce[:, :, 0, 0], reduce_bias, expand[:, :, 0, 0], expand_bias)
        return cls(
            elastic,
            (layer.inverted_bottleneck.conv.weight(layer.in_channels, channels)[:, :, 0, 0], None),
            (layer.depth_conv.conv.weight(channels, kernel), None),
            excite,
            (layer.point_linear.conv.weight(channels, out)[:, :, 0, 0], None),
            UNIT_LAYOUT[position // MAX_DEPTH].activation == "re",
        )

    def to(self, dtype: torch.dtype) -> _Layer:
        """With all weights and biases in another precision."""

        def cast_all(values: Any) -> Any:
            return values and tuple(None if v is None else v.to(dtype) for v in values)

        return replace(
            self,
            expand=cast_all(self.expand),
            depth=cast_all(self.depth),
            excite=cast_all(self.excite),
            project=cast_all(self.project),
        )

    def folded(self, statistics: _LayerStatistics, unbiased: bool) -> _Layer:
        """float32 weights and biases that do what the batch norms would."""
        layer = self.elastic.conv
        norms = (layer.inverted_bottleneck.bn.bn, layer.depth_conv.bn.bn, layer.point_linear.bn.bn)
        expand = statistics.expand.affine(norms[0], unbiased)
        depth = statistics.depth.affine(norms[1], unbiased)
        project = statistics.project.affine(norms[2], unbiased)
        return replace(
            self,
            expand=(self.expand[0] * expand[0][:, None], expand[1]),
            depth=(self.depth[0] * depth[0][:, None, None, None], depth[1]),
            project=(self.project[0] * project[0][:, None], project[1]),
        )

    def run(self, x: Tensor, out: Tensor) -> None:
        """Map (N, H, W, C) to `out`, (N, H', W', O)."""
        layer = self.to(x.dtype)
        for tile in self._tiles(x):
            hidden = layer._expanded(x[tile])
            hidden = layer._activate(layer._depthwise(hidden))
            layer._finish(F.linear(layer._excited(hidden), *layer.project), x[tile], out[tile])

    def calibrate(self, x: Tensor, out: Tensor) -> _LayerStatistics:
        """Measure the layer's batch norms on (N, H, W, C), and fill `out`."""
        raw = self.to(x.dtype)
        moments = Moments()
        tiles = self._tiles(x)
        for tile in tiles:
            moments.add(F.linear(x[tile], raw.expand[0]))
        expand = moments.norm()
        conv = self.elastic.conv
        scale, shift = expand.affine(conv.inverted_bottleneck.bn.bn, unbiased=False)
        folded = (self.expand[0] * scale[:, None]).to(x.dtype), shift.to(x.dtype)
        first = replace(raw, expand=folded)
        # The wide map is kept only behind the stride.
        moments = Moments()
        hidden = x.new_empty((*out.shape[:3], len(scale)))
        for tile in tiles:
            convolved = first._depthwise(first._expanded(x[tile]))
            moments.add(convolved)
            hidden[tile] = convolved
        depth = moments.norm()
        scale, shift = (
            value.to(x.dtype) for value in depth.affine(conv.depth_conv.bn.bn, unbiased=False)
        )
        moments = Moments()
        for tile in tiles:
            normed = self._activate(torch.addcmul(shift, hidden[tile], scale))
            projected = F.linear(raw._excited(normed), raw.project[0])
            moments.add(projected)
            out[tile] = projected
        project = moments.norm()
        scale, shift = (
            value.to(x.dtype) for value in project.affine(conv.point_linear.bn.bn, unbiased=False)
        )
        for tile in tiles:
            self._finish(torch.addcmul(shift, out[tile], scale), x[tile], out[tile])
        return _LayerStatistics(expand, depth, project)

    def _tiles(self, x: Tensor) -> list[slice]:
        return _tiles(x, len(self.expand[0]))

    def _expanded(self, x: Tensor) -> Tensor:
        return self._activate(F.linear(x, *self.expand))

    def _activate(self, x: Tensor) -> Tensor:
        return F.relu_(x) if self.relu else F.hardswish(x, inplace=True)

    def _depthwise(self, x: Tensor) -> Tensor:
        stride = cast(ElasticDepthwise, self.elastic.conv.depth_conv.conv).stride
        return _depthwise(x, *self.depth, stride)

    def _excited(self, x: Tensor) -> Tensor:
        if self.excite is None:
            return x
        reduce, reduce_bias, expand, expand_bias = self.excite
        gate = F.relu_(F.linear(x.mean((1, 2)), reduce, reduce_bias))
        gate = F.hardsigmoid(F.linear(gate, expand, expand_bias), inplace=True)
        return x.mul_(gate[:, None, None])

    def _finish(self, y: Tensor, x: Tensor, out: Tensor) -> None:
        if self.elastic.shortcut:
            torch.add(y, x, out=out)
        else:
            out.copy_(y)


def _depthwise(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
    """(N, H, W, C) with (C, 1, K, K)."""
    weight = useful_taps(weight, max(x.shape[1:3]))
    kernel = weight.shape[-1]
    if kernel == 1:
        scale = weight.flatten()
        return x * scale if bias is None else torch.addcmul(bias, x, scale)
    result = F.conv2d(x.permute(0, 3, 1, 2), weight, bias, stride, kernel // 2, 1, len(weight))
    return result.permute(0, 2, 3, 1)


def _tiles(x: Tensor, channels: int) -> list[slice]:
    """Images of (N, H, W, C) to work on at a time if there are `channels` in between."""
    size = x.shape[1] * x.shape[2] * channels * x.element_size()
    threads = torch.get_num_threads() if x.device.type == "cpu" else 1
    step = max(1, _TILE.get(x.device.type, 1 << 28) * threads // size)
    return [slice(first, first + step) for first in range(0, len(x), step)]


class _Stem:
    """What all architectures begin with: a convolution and a depthwise-separable block."""

    def __init__(self, supernet: Any, dtype: torch.dtype) -> None:
        self._dtype = dtype
        block = supernet.blocks[0].conv
        self._parts = (supernet.first_conv, block.depth_conv, block.point_linear)
        self._norms: list[Norm] = []

    def calibrate(self, images: Tensor) -> Tensor:
        """Measure the three batch norms on (N, R, R, 3); the images' maps behind the block."""
        self._norms = []
        for part in range(len(self._parts)):
            moments = Moments()
            for batch in images.split(_BATCH):
                moments.add(self._run(batch, part, unbiased=False))
            self._norms.append(moments.norm())
        last = len(self._parts)
        return torch.cat([self._run(x, last, unbiased=False) for x in images.split(_BATCH)])

    def __call__(self, images: Tensor) -> Tensor:
        """(N, H, W, C) of (N, R, R, 3)."""
        return self._run(images, len(self._parts), unbiased=True)

    def _run(self, images: Tensor, parts: int, unbiased: bool) -> Tensor:
        """Behind so many parts with their batch norms and the next one's convolution."""
        x = images.permute(0, 3, 1, 2)
        first = x
        for index, part in enumerate(self._parts[: parts + 1]):
            conv = part.conv
            weight, bias = conv.weight, None
            if index < parts:
                scale, bias = self._norms[index].affine(part.bn, unbiased)
                weight = weight * scale[:, None, None, None]
                bias = bias.to(self._dtype)
            x = F.conv2d(x, weight.to(self._dtype), bias, conv.stride, conv.padding, 1, conv.groups)
            if index == parts:
                break
            if index == 0:
                first = x = F.hardswish(x)
            elif index == 1:
                x = F.relu_(x)
            else:
                x = x + first
        return x.permute(0, 2, 3, 1).contiguous()


def _calibrate_final(supernet: Any, x: Tensor) -> Norm:
    weight = supernet.final_expand_layer.conv.weight[:, :, 0, 0].to(x.dtype)
    moments = Moments()
    for tile in _tiles(x, len(weight)):
        moments.add(F.linear(x[tile], weight))
    return moments.norm()


def _head(supernet: Any, final: Norm, x: Tensor, dtype: torch.dtype) -> Tensor:
    """(N, classes) float32 of the last layer's (N, H, W, C)."""
    scale, shift = final.affine(supernet.final_expand_layer.bn, unbiased=True)
    expand = (supernet.final_expand_layer.conv.weight[:, :, 0, 0] * scale[:, None]).to(dtype)
    mix = supernet.feature_mix_layer.conv.weight[:, :, 0, 0].to(dtype)
    linear = supernet.classifier.linear
    logits = []
    for tile in _tiles(x, len(expand)):
        hidden = F.hardswish(F.linear(x[tile], expand, shift.to(dtype)), inplace=True)
        hidden = F.hardswish(F.linear(hidden.mean((1, 2)), mix), inplace=True)
        # In bfloat16 the two largest logits would often be the same number.
        logits.append(F.linear(hidden.float(), linear.weight, linear.bias))
    return torch.cat(logits)
