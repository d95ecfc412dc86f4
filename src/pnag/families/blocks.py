"""The 90 different blocks that the networks of a space are made of.

A layer's block depends on its unit, on whether it is the unit's first (other input channels and
stride), on its width and on its kernel: 5 x 2 x 3 x 3. Counting and measuring go over these 90
instead of over architectures.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pnag.families.mobilenetv3 import STEM_CHANNELS, UNIT_LAYOUT, scaled, squeezed
from pnag.space import Architecture, Tokens
from pnag.space.architecture import KERNELS, MAX_DEPTH, UNITS, WIDTHS


@dataclass(frozen=True)
class BlockSpec:
    """One inverted residual at a place in the network.

    Attributes:
        unit, first, width, kernel: which block it is (unit from 0).
        in_channels, expanded, out_channels: channels before, inside and after.
        squeezed: channels inside squeeze-excite, 0 without one.
        stride, activation: as in the unit's layout.
        input_size, output_size: height (= width) of its maps in pixels.
    """

    unit: int
    first: bool
    width: int
    kernel: int
    in_channels: int
    expanded: int
    out_channels: int
    squeezed: int
    stride: int
    activation: str
    input_size: int
    output_size: int

    @property
    def key(self) -> str:
        """A name that tells all that decides the cost; used in files."""
        return (
            f"{self.input_size}x{self.input_size}x{self.in_channels}-expand{self.expanded}"
            f"-out{self.out_channels}-kernel{self.kernel}-stride{self.stride}"
            f"-se{self.squeezed}-{self.activation}-skip{int(not self.first)}"
        )


def block_specs(width_mult: float = 1.0, resolution: int = 224) -> list[BlockSpec]:
    """The 90 blocks, in the order of `block_ids`."""
    specs = []
    size = (resolution + 1) // 2  # after the stem
    channels = scaled(STEM_CHANNELS, width_mult)
    for unit in range(UNITS):
        layout = UNIT_LAYOUT[unit]
        out_channels = scaled(layout.channels, width_mult)
        out_size = (size + layout.stride - 1) // layout.stride
        for first in (True, False):
            in_channels = channels if first else out_channels
            for width in WIDTHS:
                expanded = scaled(in_channels, width)
                for kernel in KERNELS:
                    specs.append(
                        BlockSpec(
                            unit=unit,
                            first=first,
                            width=width,
                            kernel=kernel,
                            in_channels=in_channels,
                            expanded=expanded,
                            out_channels=out_channels,
                            squeezed=squeezed(expanded) if layout.squeeze_excite else 0,
                            stride=layout.stride if first else 1,
                            activation=layout.activation,
                            input_size=size if first else out_size,
                            output_size=out_size,
                        )
                    )
        size, channels = out_size, out_channels
    return specs


def block_ids(tokens: Tokens) -> NDArray[np.int64]:
    """(N, 20) index into `block_specs` of each layer position, -1 where no layer exists."""
    per_unit = tokens.reshape(len(tokens), UNITS, 1 + 2 * MAX_DEPTH).astype(np.int64)
    widths = per_unit[:, :, 1::2]
    kernels = per_unit[:, :, 2::2]
    units = np.arange(UNITS)[None, :, None]
    later = np.minimum(np.arange(MAX_DEPTH), 1)[None, None, :]
    ids = ((units * 2 + later) * len(WIDTHS) + widths) * len(KERNELS) + kernels
    return np.where(widths < 0, -1, ids).reshape(len(tokens), UNITS * MAX_DEPTH)


def covering_architectures() -> list[Architecture]:
    """Nine architectures that together contain every one of the 90 blocks."""
    return [
        Architecture((2,) * UNITS, (k, k, 0, 0) * UNITS, (w, w, 0, 0) * UNITS)
        for w in WIDTHS
        for k in KERNELS
    ]
