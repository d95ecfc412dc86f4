"""Operator tables that others have published: Once-for-All's Note 10, NSGANetV2's i7-8700K."""

from __future__ import annotations

from pathlib import Path

from pnag.cost.latency_model import LatencyModel
from pnag.cost.operators import Naming, read_operators
from pnag.families.blocks import BlockSpec, block_specs
from pnag.families.mobilenetv3 import FINAL_CHANNELS, HEAD_CHANNELS, STEM_CHANNELS, scaled


def load_published_table(
    path: Path, width_mult: float = 1.0, resolution: int = 224, num_classes: int = 1000
) -> LatencyModel:
    """The latency of every architecture as the sum of the operators that it consists of.

    Args:
        path: of a table with the Note 10's names, a mapping from each to one with its `mean` in ms.
        width_mult, resolution, num_classes: of the networks that the table was measured on.

    Raises:
        PnagError: if the file is malformed, lacks an operator (another width or resolution, most
            likely), or holds a time that is not a positive number.
    """
    return read_operators(path).model(path, NOTE10, width_mult, resolution, num_classes)


def _note10_block(s: BlockSpec) -> str:
    return _block_key(
        s.input_size, s.in_channels, s.output_size, s.out_channels, s.expanded, s.kernel, s.stride,
        skip=not s.first, squeeze=s.squeezed > 0, hard_swish=s.activation == "hs",
    )  # fmt: skip


def _block_key(
    input_size: int, in_channels: int, output_size: int, out_channels: int, expanded: int,
    kernel: int, stride: int, *, skip: bool, squeeze: bool, hard_swish: bool,
) -> str:  # fmt: skip
    return (
        f"expanded_conv-input:{input_size}x{input_size}x{in_channels}"
        f"-output:{output_size}x{output_size}x{out_channels}-expand:{expanded}-kernel:{kernel}"
        f"-stride:{stride}-idskip:{int(skip)}-se:{int(squeeze)}-hs:{int(hard_swish)}"
    )


def _note10_fixed(width_mult: float, resolution: int, num_classes: int) -> list[str]:
    """The operators that every architecture has."""
    stem, final, head = (
        scaled(c, width_mult) for c in (STEM_CHANNELS, FINAL_CHANNELS, HEAD_CHANNELS)
    )
    half = (resolution + 1) // 2
    last = block_specs(width_mult, resolution)[-1]
    size = last.output_size
    return [
        f"Conv-input:{resolution}x{resolution}x3-output:{half}x{half}x{stem}",
        _block_key(half, stem, half, stem, stem, 3, 1, skip=True, squeeze=False, hard_swish=False),
        f"Conv_1-input:{size}x{size}x{last.out_channels}-output:{size}x{size}x{final}",
        f"AvgPool2D-input:{size}x{size}x{final}-output:1x1x{final}",
        f"Conv_2-input:1x1x{final}-output:1x1x{head}",
        f"Logits-input:1x1x{head}-output:{num_classes}",
    ]


def _nsganet_fixed(width_mult: float, resolution: int, num_classes: int) -> list[str]:
    stem, final, head = (
        scaled(c, width_mult) for c in (STEM_CHANNELS, FINAL_CHANNELS, HEAD_CHANNELS)
    )
    half = (resolution + 1) // 2
    last = block_specs(width_mult, resolution)[-1]
    size = last.output_size
    return [
        f"first_conv-input:{resolution}x{resolution}x3-output:{half}x{half}x{stem}",
        f"MBConv-input:{half}x{half}x{stem}-output:{half}x{half}x{stem}"
        "-expand:1-kernel:3-stride:1-idskip:1-se:0",
        f"final_expand_layer-input:{size}x{size}x{last.out_channels}-output:{size}x{size}x{final}",
        f"feature_mix_layer-input:1x1x{final}-output:1x1x{head}",
        f"classifier-input:{head}-output:{num_classes}",
    ]


def _nsganet_block(s: BlockSpec) -> str:
    return (
        f"MBConv-input:{s.input_size}x{s.input_size}x{s.in_channels}"
        f"-output:{s.output_size}x{s.output_size}x{s.out_channels}-expand:{s.width}"
        f"-kernel:{s.kernel}-stride:{s.stride}-idskip:{int(not s.first)}-se:{int(s.squeezed > 0)}"
    )


NOTE10 = Naming(("expanded_conv-", "Conv-input:"), _note10_fixed, _note10_block)
NSGANET = Naming(("MBConv-", "first_conv-"), _nsganet_fixed, _nsganet_block)
