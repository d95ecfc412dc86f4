"""Accuracy of many subnets of a trained supernet, each with its own measured batch norms.

Each batch norm is measured on the calibration images after those before it have been, in training
mode's own way (a batch of all calibration images), and then folded into the weights before it. What
architectures have in common from the first layer on is computed once: they are taken in an order in
which such architectures follow each other, and every layer's output is kept until it changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pnag.errors import PnagError
from pnag.families.base import Family
from pnag.families.elastic_network import ElasticNetwork
from pnag.families.layers import Layer
from pnag.images.batches import eval_batches, eval_rows
from pnag.images.images import ImageData
from pnag.images.resolutions import at_resolution
from pnag.images.splits import subset
from pnag.judging.judged_layers import Head, JudgedLayer, Norm, Statistics, Stem
from pnag.judging.shared_starts import shared_order, shared_starts
from pnag.kept_memory import kept_memory
from pnag.space import AnyArchitecture, Tokens
from pnag.supernet.settings import Precision

_BATCH = 256
MAPS_BYTES = 1 << 30  # of validation images' maps, on a CPU
MAPS_SHARE = 0.5  # of a GPU's free memory that they take
_LEAST_MEMORY = 1 << 20
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

    def check(self, supernet: ElasticNetwork, data: ImageData) -> None:
        """Raise PnagError unless subnets can be evaluated so."""
        if len(data.classes) != supernet.num_classes:
            raise PnagError(
                f"the supernet has {supernet.num_classes} classes, but {data.source} has "
                f"{len(data.classes)}; train a supernet on these images"
            )
        if min(self.calibration, len(data.train)) < _LEAST:
            raise PnagError(
                f"calibration must be at least {_LEAST} images, not "
                f"{min(self.calibration, len(data.train))}"
            )
        if self.validation_images(data) < _LEAST:
            raise PnagError(
                f"validation must be at least {_LEAST} images, not {self.validation} of "
                f"{len(data.validation)}"
            )


class SubnetEvaluator:
    """Top-1 of a supernet's architectures on the validation part, at one resolution.

    The supernet must not change while this is in use. A result depends on the architecture alone
    (and the number of threads), not on what it is evaluated with, to the last bit.

    Args:
        supernet: trained; it stays as it is. Its device is used.
        data: calibration images are centre-cropped ones of the train part.
        settings: which images, which precision.
        memory: bytes that the maps of validation images may take; more images are taken in turns.
            What suits the device if None.
        pixels: that images are scaled to; 0 leaves them as they are.

    Attributes:
        images: how many validation images.
        rows: (images,) of the validation part, ascending.
        chunks: of `rows`, each worked on at once.

    Raises:
        PnagError: for another class count than the supernet's, or too few images.
    """

    def __init__(
        self,
        supernet: ElasticNetwork,
        data: ImageData,
        settings: Settings | None = None,
        *,
        memory: int | None = None,
        pixels: int = 0,
    ) -> None:
        self._pixels = pixels
        self.settings = settings = settings or Settings()
        settings.check(supernet, data)
        self._family, self._parts = supernet.family, supernet.parts
        self._data = data
        self._device = next(supernet.parameters()).device
        self._dtype = getattr(torch, settings.precision)
        self.rows = _chosen(data.validation.labels, settings)
        self.images = len(self.rows)
        self._memory = memory or maps_bytes(self._device)
        self.chunks: list[range] = []
        self._kept: dict[range, tuple[Maps, Tensor]] = {}
        with torch.inference_mode():
            self._prepare_in_memory()

    def _prepare_in_memory(self) -> None:
        """Prepare, on half the memory for maps until it suffices."""
        while True:
            torch.cuda.empty_cache()  # when an error that kept what it worked on has gone
            try:
                return self._prepare()
            except torch.OutOfMemoryError as error:
                self._halve_memory(error)

    def _halve_memory(self, error: torch.OutOfMemoryError) -> None:
        if len(self.chunks) == self.images or self._memory < _LEAST_MEMORY:
            raise PnagError(
                f"{self._device} has too little memory to judge subnets; close other programs, or "
                "take a smaller resolution or width"
            ) from error
        self._memory //= 2
        self._kept.clear()

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
        first, last = chosen_rows(self._family)
        rows = self._family.active(None)
        self._first, self._last = first, last
        self._stem = Stem(rows[:first], self._parts)
        self._head = Head(rows[last:], self._parts)
        self._calibration = Maps(self._family, self._stem.calibrate(calibration))
        chunk = max(1, self._memory // self._calibration.bytes_per_image)
        self.chunks = [
            range(first, min(first + chunk, self.images)) for first in range(0, self.images, chunk)
        ]
        # With few chunks the images stay after the stem, which then need not be computed again.
        self._kept = {}
        if self.images * self._calibration.bytes_per_image <= self._memory:
            self._kept = {chunk: self._load(chunk) for chunk in self.chunks}

    @kept_memory()
    def correct(self, tokens: Tokens) -> NDArray[np.int64]:
        """(M,) of `images`, how many each architecture classifies correctly.

        Args:
            tokens: (M, T) of the family's space. The more of them at a time, the more of what
                they share is computed once; nothing is kept between calls.
        """
        order = shared_order(self._family.space, tokens)
        archs = [self._layers(arch) for arch in self._family.space.decode(tokens[order])]
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
                    self._halve_memory(error)
                self._prepare_in_memory()
        return counts

    def accuracies(self, tokens: Tokens) -> NDArray[np.float64]:
        """(M,) top-1 of (M, T) architectures on all validation images, as fractions."""
        return self.correct(tokens) / self.images

    def logits(self, arch: AnyArchitecture) -> Tensor:
        """(images, classes) float32 of one architecture, to compare it with other ways."""
        layers = self._layers(self._family.parse(arch))
        with torch.inference_mode():
            (statistics,) = self._calibrate([layers])
            return torch.cat([self._logits(chunk, layers, statistics) for chunk in self.chunks])

    def _layers(self, arch: AnyArchitecture) -> tuple[Layer, ...]:
        """Those of an architecture between stem and head."""
        rows = self._family.active(arch)
        return tuple(row for row in rows if self._first <= row.index < self._last)

    def _logits(self, chunk: range, layers: Sequence[Layer], own: _Statistics) -> Tensor:
        maps, _ = self._kept.get(chunk) or self._load(chunk)
        return self._head.logits(self._walk(maps, layers, own.layers, 0), own.head)

    def _load(self, chunk: range) -> tuple[Maps, Tensor]:
        features, labels = [], []
        rows = self.rows[chunk.start : chunk.stop]
        for images, batch_labels in eval_rows(
            self._data, "validation", rows, _BATCH, device=self._device
        ):
            features.append(self._stem(self._nhwc(images)))
            labels.append(batch_labels)
        return Maps(self._family, torch.cat(features)), torch.cat(labels)

    def _nhwc(self, images: Tensor) -> Tensor:
        return at_resolution(images, self._pixels).permute(0, 2, 3, 1).to(self._dtype)

    def _calibrate(self, archs: Sequence[Sequence[Layer]]) -> Iterator[_Statistics]:
        """Of each architecture; neighbours share those of the layers they have in common."""
        maps = self._calibration
        found: list[Statistics] = []
        for layers, common in zip(archs, shared_starts(archs), strict=True):
            del found[common:]
            x = maps[layers[common - 1]] if common else maps.first
            for layer in layers[common:]:
                found.append(self._judged(layer).calibrate(x, maps[layer]))
                x = maps[layer]
            yield _Statistics(tuple(found), self._head.calibrate(x))

    def _correct(
        self,
        chunk: range,
        archs: Sequence[Sequence[Layer]],
        statistics: Sequence[_Statistics],
    ) -> Tensor:
        """(M,) int64, how many images of a chunk each architecture classifies correctly."""
        # Not kept longer than this call: the next chunk needs the memory.
        maps, labels = self._kept.get(chunk) or self._load(chunk)
        counts = []
        for layers, common, own in zip(archs, shared_starts(archs), statistics, strict=True):
            logits = self._head.logits(self._walk(maps, layers, own.layers, common), own.head)
            counts.append((logits.argmax(1) == labels).sum())
        return torch.stack(counts)

    def _walk(
        self, maps: Maps, layers: Sequence[Layer], own: Sequence[Statistics], common: int
    ) -> Tensor:
        """Fill the maps of all layers but the `common` first ones; the last one's map."""
        x = maps[layers[common - 1]] if common else maps.first
        for layer, statistics in zip(layers[common:], own[common:], strict=True):
            self._judged(layer).folded(statistics).run(x, maps[layer])
            x = maps[layer]
        return x

    def _judged(self, layer: Layer) -> JudgedLayer:
        return JudgedLayer.of(layer, self._parts[layer.index])


class ElasticEvaluator:
    """The same for architectures that choose their resolution: each is judged at its own.

    Args and attributes are those of `SubnetEvaluator`.
    """

    def __init__(
        self,
        supernet: ElasticNetwork,
        data: ImageData,
        settings: Settings | None = None,
        *,
        memory: int | None = None,
    ) -> None:
        self._family = supernet.family
        resolutions = self._family.space.resolutions
        share = (memory or maps_bytes(next(supernet.parameters()).device)) // len(resolutions)
        self._each = [
            SubnetEvaluator(supernet, data, settings, memory=share, pixels=pixels)
            for pixels in resolutions
        ]
        self.settings, self.rows = self._each[0].settings, self._each[0].rows
        self.images = self._each[0].images

    @kept_memory()  # once for all resolutions
    def correct(self, tokens: Tokens) -> NDArray[np.int64]:
        """See `SubnetEvaluator.correct`."""
        counts = np.zeros(len(tokens), np.int64)
        chosen = self._family.space.resolution_ids(tokens)
        for number, evaluator in enumerate(self._each):
            some = chosen == number
            counts[some] = evaluator.correct(tokens[some])
        return counts

    def accuracies(self, tokens: Tokens) -> NDArray[np.float64]:
        """See `SubnetEvaluator.accuracies`."""
        return self.correct(tokens) / self.images

    def logits(self, arch: AnyArchitecture) -> Tensor:
        """See `SubnetEvaluator.logits`."""
        tokens = self._family.space.encode([arch])
        return self._each[int(self._family.space.resolution_ids(tokens)[0])].logits(arch)


def make_evaluator(
    supernet: ElasticNetwork,
    data: ImageData,
    settings: Settings | None = None,
    *,
    memory: int | None = None,
) -> SubnetEvaluator | ElasticEvaluator:
    """What judges a supernet's architectures, whether they choose their resolution or not."""
    kind = ElasticEvaluator if supernet.family.elastic else SubnetEvaluator
    return kind(supernet, data, settings, memory=memory)


def maps_bytes(device: torch.device) -> int:
    """How much memory the maps of validation images should take on a device."""
    if device.type != "cuda":
        return MAPS_BYTES
    free, _ = torch.cuda.mem_get_info(device)
    # Of torch's own reserve, what it has not given out is free, too.
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(MAPS_SHARE * free)


def chosen_rows(family: Family) -> tuple[int, int]:
    """From which row of its table to which (exclusive) a family's architectures differ."""
    chosen = [index for index, row in enumerate(family.table) if row.unit >= 0]
    return chosen[0], chosen[-1] + 1


def _chosen(labels: NDArray[np.int64], settings: Settings) -> NDArray[np.int64]:
    if settings.validation is None or settings.validation >= len(labels):
        return np.arange(len(labels))
    return subset(labels, settings.validation, np.random.default_rng([settings.seed, 1]))


@dataclass(frozen=True)
class _Statistics:
    """An architecture's: of the layers that it chooses, and of the head's by their numbers."""

    layers: tuple[Statistics, ...]
    head: dict[int, Norm]


class Maps:
    """Room for the output of each chosen layer, (N, H, W, C), and the input of the first.

    Outputs of a place have one shape whatever its width, so their memory is used again.
    """

    def __init__(self, family: Family, first: Tensor) -> None:
        self.first = first
        self._maps: dict[int, Tensor] = {}
        start, end = chosen_rows(family)
        height, width = first.shape[1:3]
        for index in range(start, end):
            layer = family.table[index]
            height, width = -(-height // layer.stride), -(-width // layer.stride)
            self._maps[index] = first.new_empty((len(first), height, width, layer.out_channels))

    def __getitem__(self, layer: Layer) -> Tensor:
        return self._maps[layer.index]

    @property
    def bytes_per_image(self) -> int:
        """Of an image's maps between the layers that are kept."""
        return sum(x[0].numel() * x.element_size() for x in (self.first, *self._maps.values()))
