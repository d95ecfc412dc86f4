"""A family of networks: a search space, and what each of its architectures consists of."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pnag.errors import BadValueError
from pnag.families.layers import Layer
from pnag.space import AnyArchitecture, BaseArchitecture, SearchSpace, Tokens

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from pnag.families.counts import Counts
    from pnag.families.elastic_network import ElasticNetwork


@dataclass(frozen=True)
class PretrainedInput:
    """What images the weights that a family is published with were trained on.

    Attributes:
        mean, std: that normalise each channel of images in [0, 1].
        resolution: in pixels.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resolution: int


class Family(ABC):
    """What every family has.

    Attributes:
        name: by which `family` finds it.
        space: its search space.
        resolutions: of images, in pixels, that its networks are made for; where architectures
            choose theirs, those that they choose among.
        table: the layers of the largest architecture, without sizes and classes.
    """

    name: str
    space: SearchSpace
    resolutions: tuple[int, ...]
    table: tuple[Layer, ...]

    def __reduce__(self) -> tuple[Any, ...]:
        # to another process, or into a file of a whole module, goes the name
        from pnag.families.registry import family

        return family, (self.name,)

    @property
    def elastic(self) -> bool:
        """Whether architectures choose their resolution."""
        return bool(self.space.resolutions)

    def with_resolutions(self, resolutions: Sequence[int]) -> Family:
        """The same family with the resolution among its choices, `NAME@128,160`.

        Raises:
            BadValueError: (a ValueError) for resolutions that do not ascend or are below 32.
        """
        values = tuple(resolutions)
        if not values or values[0] < 32 or list(values) != sorted(set(values)):
            raise BadValueError(
                f"the resolutions must ascend from 32 or more, not be {', '.join(map(str, values))}"
            )
        made = object.__new__(type(self))
        for name, value in self.__dict__.items():
            # what was derived from the space is derived again
            if not isinstance(getattr(type(self), name, None), functools.cached_property):
                made.__dict__[name] = value
        made.name = f"{self.name.partition('@')[0]}@{','.join(map(str, values))}"
        made.resolutions = values
        made.space = self.space.with_resolutions(values)
        return made

    @abstractmethod
    def chosen(self, layer: Layer, width: int, kernel: int) -> Layer:
        """A row of the table with the width and kernel that an architecture chooses."""

    @abstractmethod
    def build(self, arch: AnyArchitecture, num_classes: int = 1000) -> nn.Module:
        """The plain network of one architecture, with fresh weights.

        Its attribute `pnag_config` is what `from_config` builds it from again.

        Raises:
            BadValueError: (a ValueError) for a malformed text, or a class count that is not
                positive.
        """

    @abstractmethod
    def from_config(self, config: dict[str, Any]) -> nn.Module:
        """The plain network that a `pnag_config` describes, with fresh weights."""

    @abstractmethod
    def supernet(
        self, num_classes: int = 1000, weights: Path | str | None = None
    ) -> ElasticNetwork:
        """The elastic network of all architectures.

        Args:
            weights: a file to start from; the classifier is fresh if it is of other classes.
                None: fresh weights.

        Raises:
            PnagError: for a file that cannot be read, or of other networks.
        """

    @property
    def label(self) -> str:
        """What it is called in a message that speaks of a supernet."""
        return self.name

    def identity(self) -> dict[str, Any]:
        """What files say about their family; `family_of` reads it."""
        return {"family": self.name}

    def layers(
        self, arch: AnyArchitecture, resolution: int = 224, num_classes: int = 1000
    ) -> tuple[Layer, ...]:
        """The layer table of an architecture.

        Args:
            resolution: where the architecture does not say its own.

        Raises:
            BadValueError: (a ValueError) for a malformed text or a size that is not positive.
        """
        check_size(resolution, num_classes)
        pixels = self._spelled(arch).resolution or resolution
        return sized(self.active(arch), pixels, num_classes)

    def active(self, arch: AnyArchitecture | None) -> tuple[Layer, ...]:
        """The same without sizes and classes; None is the largest architecture."""
        return self._active(self.largest if arch is None else self.parse(arch))

    @functools.cached_property
    def _active(self) -> Callable[[BaseArchitecture], tuple[Layer, ...]]:
        @functools.lru_cache(maxsize=4096)
        def active(arch: BaseArchitecture) -> tuple[Layer, ...]:
            rows = []
            for index, layer in enumerate(self.table):
                if layer.unit < 0:
                    rows.append(replace(layer, index=index))
                elif layer.place < arch.depths[layer.unit]:
                    position = self.position(layer)
                    row = self.chosen(layer, arch.widths[position], arch.kernels[position])
                    rows.append(replace(row, index=index))
            return tuple(rows)

        return active

    def position(self, layer: Layer) -> int:
        """Where a layer of a unit is in an architecture's kernels and widths."""
        return self._starts[layer.unit] + layer.place

    @functools.cached_property
    def _starts(self) -> list[int]:
        units = max(layer.unit for layer in self.table) + 1
        sizes = [sum(layer.unit == unit for layer in self.table) for unit in range(units)]
        return [sum(sizes[:unit]) for unit in range(units)]

    def parse(self, value: AnyArchitecture) -> Any:
        """An architecture of this family from its text form.

        In a family whose architectures choose no resolution, one after an @ is ignored: it says at
        which size of images the network is used, and changes no weight.

        Raises:
            BadValueError: (a ValueError) names the place that is wrong and the allowed values.
        """
        if isinstance(value, str | BaseArchitecture):
            return self._parse(value)
        return self.space.parse(self._without_resolution(value))

    @functools.cached_property
    def _parse(self) -> Callable[[str | BaseArchitecture], Any]:
        @functools.lru_cache(maxsize=4096)
        def parse(value: str | BaseArchitecture) -> Any:
            return self.space.parse(self._without_resolution(value))

        return parse

    def _without_resolution(self, value: AnyArchitecture) -> AnyArchitecture:
        if self.elastic:
            return value
        arch = self._spelled(value)
        return replace(arch, resolution=0) if arch.resolution else value

    def _spelled(self, value: AnyArchitecture) -> BaseArchitecture:
        """What is written, whether or not this family has it."""
        if isinstance(value, BaseArchitecture):
            return value
        return self.space.architecture.parse(value)

    @functools.cached_property
    def largest(self) -> Any:
        """Every choice at its greatest."""
        return self._of(self.space.choices_per_token - 1)

    @functools.cached_property
    def smallest(self) -> Any:
        """Every choice at its least."""
        return self._of(np.zeros_like(self.space.choices_per_token))

    @functools.cached_property
    def middling(self) -> Any:
        """Every choice in the middle: about as deep and wide as a uniform sample."""
        return self._of((self.space.choices_per_token - 1) // 2)

    def _of(self, tokens: NDArray[np.int64]) -> Any:
        return self.space.decode(self.space.canonical(tokens[None].astype(np.int8)))[0]

    def sample(self, n: int, rng: np.random.Generator) -> list[str]:
        """Texts of n architectures, every setting uniform over its choices."""
        return self.space.text(self.space.sample(n, rng))

    def count(
        self, arch: AnyArchitecture, resolution: int = 224, num_classes: int = 1000
    ) -> Counts:
        """Parameters, multiply-adds and peak memory of one architecture.

        Raises:
            BadValueError: (a ValueError) for a malformed text, or a size that is not positive.
        """
        from pnag.families.counts import counts_of

        return counts_of(self.layers(arch, resolution, num_classes))

    # --- blocks: what architectures are put together from ---------------------------------------

    def blocks(self, resolution: int = 224) -> tuple[Layer, ...]:
        """Every layer that an architecture can choose, in `block_ids`' order.

        Args:
            resolution: where architectures do not choose theirs; else all of one follow all of the
                one before.
        """
        check_size(resolution, 1)
        blocks = []
        for pixels in self.space.resolutions or (resolution,):
            rows = sized(self.active(None), pixels, 1)
            blocks += [
                replace(
                    block,
                    input_size=rows[block.index].input_size,
                    output_size=rows[block.index].output_size,
                )
                for block in self._blocks[0]
            ]
        return tuple(blocks)

    def fixed(self, resolution: int = 224, num_classes: int = 1000) -> tuple[Layer, ...]:
        """The layers that every architecture of a resolution has."""
        every = sized(self.active(None), resolution, num_classes)
        return tuple(layer for layer in every if layer.unit < 0)

    def block_ids(self, tokens: Tokens) -> NDArray[np.int64]:
        """(N, P) index into `blocks` of each layer position, -1 where no layer exists."""
        lookup = self._blocks[1]
        columns = self.space.columns
        widths, kernels = tokens[:, columns["width"]], tokens[:, columns["kernel"]]
        # ABSENT, -1, picks the last entry, which is -1
        ids = lookup[np.arange(len(lookup)), widths, kernels]
        before = self.space.resolution_ids(tokens)[:, None] * len(self._blocks[0])
        return np.where(ids < 0, -1, ids + before)

    @functools.cached_property
    def _blocks(self) -> tuple[tuple[Layer, ...], NDArray[np.int64]]:
        """Blocks with the sizes of some resolution, (P, widths + 1, kernels + 1) their numbers.

        Layers of a unit that are alike are one block, whatever their place.
        """
        rows = sized(self.active(None), 224, 1)
        columns = self.space.columns
        choices = {
            what: [self.space.tokens[column].choices for column in columns[what]]
            for what in ("width", "kernel")
        }
        most = [max(map(len, choices[what])) for what in ("width", "kernel")]
        lookup = np.full((len(columns["width"]), most[0] + 1, most[1] + 1), -1)
        blocks: dict[tuple[int, str], tuple[int, Layer]] = {}
        for index, layer in enumerate(self.table):
            if layer.unit < 0:
                continue
            position = self.position(layer)
            for w, width in enumerate(choices["width"][position]):
                for k, kernel in enumerate(choices["kernel"][position]):
                    block = replace(
                        self.chosen(layer, width, kernel),
                        index=index,
                        input_size=rows[index].input_size,
                        output_size=rows[index].output_size,
                    )
                    number, _ = blocks.setdefault((layer.unit, block.key), (len(blocks), block))
                    lookup[position, w, k] = number
        return tuple(block for _, block in blocks.values()), lookup

    def covering(self) -> list[Any]:
        """Architectures that together contain every block."""
        ids, seen = self._blocks[1], set[int]()
        found: list[Any] = []
        for w in range(ids.shape[1] - 1):
            for k in range(ids.shape[2] - 1):
                tokens = (self.space.choices_per_token - 1)[None].astype(np.int8)
                for what, choice in (("width", w), ("kernel", k)):
                    columns = self.space.columns[what]  # type: ignore[index]
                    tokens[:, columns] = np.minimum(tokens[:, columns], choice)
                numbers = set(self.block_ids(tokens)[0].tolist())
                if not numbers <= seen:
                    seen |= numbers
                    found.append(self._shallow(tokens, numbers))
        return found

    def _shallow(self, tokens: Tokens, numbers: set[int]) -> Any:
        """The least deep architecture of these widths and kernels with the same blocks."""
        for column in self.space.columns["depth"]:
            for depth in range(len(self.space.tokens[column].choices)):
                tokens[0, column] = depth
                fewer = self.space.canonical(tokens)
                if set(self.block_ids(fewer)[0].tolist()) - {-1} == numbers - {-1}:
                    break
        return self.space.decode(self.space.canonical(tokens))[0]


def check_size(resolution: int, num_classes: int) -> None:
    """Raise BadValueError (a ValueError) for a size that is not positive."""
    for name, value in (("resolution", resolution), ("num_classes", num_classes)):
        if value < 1:
            raise BadValueError(f"{name} must be at least 1, not {value}")


def sized(layers: Sequence[Layer], resolution: int, num_classes: int) -> tuple[Layer, ...]:
    """Layers with the sizes of their maps, and the classifier with its outputs."""
    size, rows = resolution, []
    for layer in layers:
        after = 1 if layer.kind in ("pool", "linear") else -(-size // layer.stride)
        row = replace(layer, input_size=size, output_size=after)
        rows.append(replace(row, out_channels=num_classes) if layer.kind == "linear" else row)
        size = after
    return tuple(rows)
