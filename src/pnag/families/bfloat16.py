"""Numbers of 16 bits in compiled loops, which know no bfloat16: the upper half of a float32.

Whoever changes `widened` or `narrowed` has to empty numba's cache (`__pycache__`) of the loops that
use them: it looks only at the file of a loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray
from torch import Tensor

from pnag.compiled import compiled

Bits = NDArray[np.uint16]


def bits_of(x: Tensor) -> Bits:
    """(N, H, W, C) view of (N, C, H, W) where the memory is laid out so, else a copy."""
    laid = x.detach().permute(0, 2, 3, 1).contiguous()
    return laid.view(torch.int16).numpy().view(np.uint16)


@intrinsic
def _float_of_bits(_: Any, bits: Any) -> Any:
    def generate(
        context: Any, builder: ir.IRBuilder, signature: Any, arguments: tuple[Any, ...]
    ) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.uint32), generate


@intrinsic
def _bits_of_float(_: Any, number: Any) -> Any:
    def generate(
        context: Any, builder: ir.IRBuilder, signature: Any, arguments: tuple[Any, ...]
    ) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.uint32(types.float32), generate


# The same 32 bits, taken for a number of the other kind.
float_of_bits = cast(Callable[[Any], Any], _float_of_bits)
bits_of_float = cast(Callable[[Any], Any], _bits_of_float)


@compiled()
def _widened(bits: Any) -> Any:
    return float_of_bits(np.uint32(bits) << np.uint32(16))


@compiled()
def _narrowed(number: Any) -> Any:
    bits = bits_of_float(np.float32(number))
    even = (bits >> np.uint32(16)) & np.uint32(1)
    return np.uint16((bits + np.uint32(0x7FFF) + even) >> np.uint32(16))


# A float32 of bfloat16's bits.
widened = cast(Callable[[Any], Any], _widened)
# The bits of the bfloat16 nearest to a float32, the even one of two.
narrowed = cast(Callable[[Any], Any], _narrowed)
