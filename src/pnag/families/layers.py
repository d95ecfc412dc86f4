"""The layer table: what a network consists of, layer by layer.

A family says which layers there are (`Family.layers`). From these rows and from nothing else come
the plain network, the supernet's active weights, the judge's, the counts, the blocks that a runtime
measures, the names of operators in published tables and the report's pictures of architectures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["conv", "separable", "inverted", "pool", "linear"]


@dataclass(frozen=True)
class Layer:
    """One layer of an architecture at a resolution.

    Kinds: `conv` is a convolution with batch norm and activation (one or both may be missing),
    `separable` a depthwise and a pointwise one, `inverted` an inverted residual (expand, depthwise,
    project), `pool` the mean over the map, `linear` the classifier.

    Attributes:
        name: of its module in the plain network: `conv_stem`, `blocks.2.0`, ...
        in_channels, expanded, out_channels: channels before, inside and after. `expanded` is of
            blocks: the channels of the depthwise convolution.
        activation: timm's short name of the inner one (`re`, `hs`); empty without.
        squeezed: channels inside squeeze-excite, 0 without one.
        shortcut: whether the input is added to the output.
        norm: the name of a `conv`'s batch norm in the plain network, empty without one.
        bias: of a `conv`.
        input_size, output_size: height (= width) of its maps in pixels.
        unit, place: of a layer that the architecture chooses: its unit and its place in the unit,
            both from 0; -1 of layers that all architectures have.
        width: the chosen width. index: row of the family's largest architecture.
    """

    name: str
    kind: Kind
    in_channels: int
    out_channels: int
    expanded: int = 0
    kernel: int = 1
    stride: int = 1
    activation: str = ""
    squeezed: int = 0
    shortcut: bool = False
    norm: str = ""
    bias: bool = False
    input_size: int = 0
    output_size: int = 0
    unit: int = -1
    place: int = -1
    width: int = 0
    index: int = -1

    @property
    def first(self) -> bool:
        """Whether it is its unit's first layer."""
        return self.place == 0

    @property
    def key(self) -> str:
        """A name that holds all that decides the cost; used in files."""
        kind = "" if self.kind == "inverted" else f"{self.kind}-"
        return (
            f"{kind}{self.input_size}x{self.input_size}x{self.in_channels}-expand{self.expanded}"
            f"-out{self.out_channels}-kernel{self.kernel}-stride{self.stride}"
            f"-se{self.squeezed}-{self.activation}-skip{int(self.shortcut)}"
        )

    @property
    def params(self) -> int:
        """Trainable parameters."""
        if self.kind == "pool":
            return 0
        if self.kind == "linear":
            return self.in_channels * self.out_channels + self.out_channels
        if self.kind == "conv":
            weights = self.kernel**2 * self.in_channels * self.out_channels
            return weights + self.bias * self.out_channels + 2 * bool(self.norm) * self.out_channels
        inside, squeezed = self.expanded, self.squeezed
        expand = (self.in_channels + 2) * inside if self.kind == "inverted" else 0
        depthwise = (self.kernel**2 + 2) * inside
        excite = 2 * inside * squeezed + squeezed + inside if squeezed else 0
        return expand + depthwise + excite + (inside + 2) * self.out_channels

    @property
    def macs(self) -> int:
        """Multiply-adds; batch norms, biases and activations are not counted."""
        before, after = self.input_size**2, self.output_size**2
        if self.kind == "pool":
            return 0
        if self.kind in ("conv", "linear"):
            return self.kernel**2 * self.in_channels * self.out_channels * after
        inside = self.expanded
        expand = self.in_channels * inside * before if self.kind == "inverted" else 0
        excite = 2 * inside * self.squeezed  # on the pooled 1x1 map
        return expand + (self.kernel**2 + self.out_channels) * inside * after + excite

    @property
    def maps(self) -> int:
        """Numbers in all maps that its convolutions write, which training keeps."""
        after = self.output_size**2
        inside = self.input_size**2 + after if self.kind == "inverted" else after
        return self.expanded * inside + self.out_channels * after

    @property
    def activations(self) -> int:
        """Most numbers alive at once, as `families.counts` defines it."""
        before = self.in_channels * self.input_size**2
        after = self.out_channels * self.output_size**2
        if self.kind in ("conv", "pool", "linear"):
            return before + after
        wide = self.expanded * self.input_size**2
        filtered = self.expanded * self.output_size**2
        shortcut = before if self.shortcut else 0
        first = before + filtered  # a separable layer filters its input, which a shortcut keeps
        if self.kind == "inverted":
            first = max(before + wide, wide + filtered + shortcut)
        return max(
            first,
            filtered + self.expanded + self.squeezed + shortcut,  # less than above without SE
            filtered + after + shortcut,
        )
