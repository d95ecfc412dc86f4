"""Parameters, multiply-adds and peak memory of architectures, without building a network.

Peak memory is that of activations only, for one image in float32, where batch norm, activation
function, squeeze-excite's scaling and the shortcut's addition write into their input, as inference
runtimes have it. While a convolution, the pooling or the classifier runs, alive are its input, its
output and what is still needed afterwards: a block's input up to its shortcut, and the expanded
maps while squeeze-excite looks at them. The dearest such moment counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pnag.errors import BadValueError
from pnag.families.blocks import BlockSpec, block_ids, block_specs
from pnag.families.mobilenetv3 import FINAL_CHANNELS, HEAD_CHANNELS, STEM_CHANNELS, scaled
from pnag.space import AnyArchitecture, SearchSpace, Tokens


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
    """Parameters, multiply-adds and peak memory of one architecture.

    Raises:
        BadValueError: (a ValueError) for a malformed text, or a size that is not positive.
    """
    space = SearchSpace()
    batch = count_batch(space, space.encode([arch]), width_mult, resolution, num_classes)
    return Counts(
        int(batch.params[0]), int(batch.macs[0]), int(batch.conv_macs[0]), int(batch.memory[0])
    )


def count_batch(
    space: SearchSpace,
    tokens: Tokens,
    width_mult: float = 1.0,
    resolution: int = 224,
    num_classes: int = 1000,
) -> BatchCounts:
    """Counts of N architectures at once: sum or maximum over table look-ups of their blocks.

    Args:
        tokens: (N, T) of the MobileNetV3 space.
    """
    if resolution < 1:
        raise BadValueError(f"resolution is {resolution}, needs at least 1")
    if num_classes < 1:
        raise BadValueError(f"num_classes is {num_classes}, needs at least 1")
    if not 0 < width_mult < float("inf"):
        raise BadValueError(f"width_mult is {width_mult}, needs a positive number")
    specs = block_specs(width_mult, resolution)
    rows = [[_block_params(s), _block_macs(s), _block_activations(s)] for s in specs]
    table = np.array([*rows, [0, 0, 0]])
    # id -1 (no layer) picks the last row, which costs nothing
    per_block = table[block_ids(tokens)]
    blocks = per_block.sum(axis=1)
    fixed_params, fixed_conv_macs, classifier_macs = _fixed_parts(
        width_mult, resolution, num_classes, specs[-1]
    )
    conv_macs = blocks[:, 1] + fixed_conv_macs
    fixed_activations = _fixed_activations(width_mult, resolution, num_classes, specs[-1])
    return BatchCounts(
        blocks[:, 0] + fixed_params,
        conv_macs + classifier_macs,
        conv_macs,
        4 * np.maximum(per_block[:, :, 2].max(axis=1), fixed_activations),
    )


def _block_params(s: BlockSpec) -> int:
    expand = s.in_channels * s.expanded + 2 * s.expanded
    depthwise = s.kernel**2 * s.expanded + 2 * s.expanded
    squeeze = 2 * s.expanded * s.squeezed + s.squeezed + s.expanded if s.squeezed else 0
    project = s.expanded * s.out_channels + 2 * s.out_channels
    return expand + depthwise + squeeze + project


def _block_macs(s: BlockSpec) -> int:
    expand = s.in_channels * s.expanded * s.input_size**2
    depthwise = s.kernel**2 * s.expanded * s.output_size**2
    squeeze = 2 * s.expanded * s.squeezed  # on the pooled 1x1 map
    project = s.expanded * s.out_channels * s.output_size**2
    return expand + depthwise + squeeze + project


def _block_activations(s: BlockSpec) -> int:
    """Most numbers alive at once inside a block."""
    before, after = s.in_channels * s.input_size**2, s.out_channels * s.output_size**2
    expanded = s.expanded * s.input_size**2
    filtered = s.expanded * s.output_size**2
    shortcut = 0 if s.first else before
    return max(
        before + expanded,
        expanded + filtered + shortcut,
        filtered + s.expanded + s.squeezed + shortcut,  # less than the line above without SE
        filtered + after + shortcut,
    )


def _fixed_activations(
    width_mult: float, resolution: int, num_classes: int, last: BlockSpec
) -> int:
    """Most numbers alive at once in what every architecture shares."""
    stem, final, head = (
        scaled(c, width_mult) for c in (STEM_CHANNELS, FINAL_CHANNELS, HEAD_CHANNELS)
    )
    half, size = (resolution + 1) // 2, last.output_size
    return max(
        3 * resolution**2 + stem * half**2,
        3 * stem * half**2,  # the first block's second convolution, which has a shortcut
        (last.out_channels + final) * size**2,
        final * size**2 + final,
        final + head,
        head + num_classes,
    )


def _fixed_parts(
    width_mult: float, resolution: int, num_classes: int, last: BlockSpec
) -> tuple[int, int, int]:
    """(params, conv MACs, classifier MACs) of what every architecture shares."""
    stem = scaled(STEM_CHANNELS, width_mult)
    final = scaled(FINAL_CHANNELS, width_mult)
    head = scaled(HEAD_CHANNELS, width_mult)
    stem_area = ((resolution + 1) // 2) ** 2
    params = (
        (27 * stem + 2 * stem)  # stem and its batch norm
        + (9 * stem + 2 * stem + stem * stem + 2 * stem)  # depthwise-separable block
        + (last.out_channels * final + 2 * final)
        + final * head
        + (head * num_classes + num_classes)
    )
    conv_macs = (
        (27 * stem + 9 * stem + stem * stem) * stem_area
        + last.out_channels * final * last.output_size**2
        + final * head
    )
    return params, conv_macs, head * num_classes
