"""Parameters, multiply-adds and peak memory of architectures, without building a network.

Peak memory is that of activations only, for one image in float32, where batch norm, activation
function, squeeze-excite's scaling and the shortcut's addition write into their input, as inference
runtimes have it. While a convolution, the pooling or the classifier runs, alive are its input, its
output and what is still needed afterwards: a block's input up to its shortcut, and the expanded
maps while squeeze-excite looks at them. The moment that needs most counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pnag.errors import BadValueError
from pnag.families.base import Family, check_size
from pnag.families.layers import Layer
from pnag.families.registry import family, of_width
from pnag.space import AnyArchitecture, Tokens


@dataclass(frozen=True)
class Counts:
    """What one network costs at a resolution.

    Attributes:
        params: trainable parameters.
        macs: multiply-adds of all convolutions (squeeze-excite included) and the classifier;
            batch norm, biases and activations are not counted.
        conv_macs: the same without the classifier: what the paper's #MAdds counts.
        memory: peak bytes of activations (defined at the top of this file).
    """

    params: int
    macs: int
    conv_macs: int
    memory: int


@dataclass(frozen=True)
class BatchCounts:
    """`Counts` of N architectures as four (N,) int64 arrays."""

    params: NDArray[np.int64]
    macs: NDArray[np.int64]
    conv_macs: NDArray[np.int64]
    memory: NDArray[np.int64]


def count(
    arch: AnyArchitecture,
    width_mult: float = 1.0,
    resolution: int = 224,
    num_classes: int = 1000,
) -> Counts:
    """Parameters, multiply-adds and peak memory of an architecture of Once-for-All's family.

    `Family.count` is the same for any family.

    Raises:
        BadValueError: (a ValueError) for a malformed text, or a size that is not positive.
    """
    check_size(resolution, num_classes)
    if not 0 < width_mult < float("inf"):
        raise BadValueError(f"width_mult must be a positive number, not {width_mult}")
    return family(of_width(width_mult)).count(arch, resolution, num_classes)


def counts_of(layers: Sequence[Layer]) -> Counts:
    """The counts of a layer table."""
    macs = sum(layer.macs for layer in layers)
    classifiers = sum(layer.macs for layer in layers if layer.kind == "linear")
    return Counts(
        sum(layer.params for layer in layers),
        macs,
        macs - classifiers,
        4 * max(layer.activations for layer in layers),
    )


def count_batch(
    family: Family, tokens: Tokens, resolution: int = 224, num_classes: int = 1000
) -> BatchCounts:
    """Counts of N architectures at once: sum or maximum over table look-ups of their blocks.

    Args:
        tokens: (N, T) of the family's space.

    Raises:
        BadValueError: (a ValueError) for a size that is not positive.
    """
    check_size(resolution, num_classes)
    blocks = family.blocks(resolution)
    table = np.array(
        [*([b.params, b.macs, b.activations] for b in blocks), [0, 0, 0]], dtype=np.int64
    )
    # id -1 (no layer) picks the last row, which costs nothing
    per_block = table[family.block_ids(tokens)]
    sums = per_block.sum(axis=1)
    every = [
        counts_of(family.fixed(pixels, num_classes))
        for pixels in family.space.resolutions or (resolution,)
    ]
    fixed = np.array([[c.params, c.macs, c.conv_macs, c.memory] for c in every], dtype=np.int64)
    fixed = fixed[family.space.resolution_ids(tokens)]
    return BatchCounts(
        sums[:, 0] + fixed[:, 0],
        sums[:, 1] + fixed[:, 1],
        sums[:, 1] + fixed[:, 2],
        np.maximum(4 * per_block[:, :, 2].max(axis=1), fixed[:, 3]),
    )
