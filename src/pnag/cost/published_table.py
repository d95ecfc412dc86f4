"""Read a published table of operator latencies, in the YAML format of Once-for-All's Note 10."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from pnag.cost.latency_model import LatencyModel
from pnag.errors import PnagError
from pnag.networks.blocks import BlockSpec, block_specs
from pnag.networks.mobilenetv3 import FINAL_CHANNELS, HEAD_CHANNELS, STEM_CHANNELS, scaled


def load_published_table(
    path: Path, width_mult: float = 1.0, resolution: int = 224, num_classes: int = 1000
) -> LatencyModel:
    """The latency of every architecture as the sum of the operators that it consists of.

    Args:
        path: YAML; a mapping from each operator's key to a mapping with its `mean` in ms.
        width_mult, resolution, num_classes: of the networks that the table was measured on.

    Raises:
        PnagError: if the file is malformed, lacks an operator (another width or resolution, most
            likely), or holds a time that is not a positive number.
    """
    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        table = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise PnagError(f"cannot read the latency table {path}: {error}") from error
    if not isinstance(table, dict):
        raise PnagError(f"the latency table {path} is not a mapping of operators")
    fixed = sum(_mean(table, key, path) for key in _fixed_keys(width_mult, resolution, num_classes))
    blocks = [_mean(table, _key(spec), path) for spec in block_specs(width_mult, resolution)]
    return LatencyModel(fixed, np.array(blocks))


def _mean(table: dict[str, Any], key: str, path: Path) -> float:
    if key not in table:
        raise PnagError(
            f"the latency table {path} has no operator {key!r}; was it measured at another width "
            "or resolution?"
        )
    try:
        mean = float(table[key]["mean"])
    except (KeyError, TypeError, ValueError):
        mean = math.nan
    if not 0 < mean < math.inf:
        raise PnagError(f"{path}: `mean` of {key!r} is not a positive number: {table[key]!r}")
    return mean


def _key(s: BlockSpec) -> str:
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


def _fixed_keys(width_mult: float, resolution: int, num_classes: int) -> list[str]:
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
