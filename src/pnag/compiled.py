"""Loops that numpy has no words for, compiled by numba."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, cast

import numba
import torch
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


def compiled(*, any_order: bool = False) -> Callable[[F], F]:
    """Compile by numba, kept on disk where there is a place for it (not in a read-only container).

    Calls let other threads run.

    Args:
        any_order: sums may be taken in another order, so that they use vector instructions.
    """

    def decorate(function: F) -> F:
        try:
            return cast(F, numba.njit(nogil=True, fastmath=any_order, cache=True)(function))
        except RuntimeError:
            return cast(F, numba.njit(nogil=True, fastmath=any_order)(function))

    return decorate


def on_all_threads(work: Callable[[T], object], items: Iterable[T]) -> None:
    """Do `work`, which lets other threads run, for each item, on as many threads as torch has."""
    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        list(threads.map(work, items))


@intrinsic
def _popcount(_: Any, word: Any) -> Any:

    def generate(
        context: Any, builder: ir.IRBuilder, signature: Any, arguments: tuple[Any, ...]
    ) -> Any:
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


# Number of ones in a uint64: one instruction, which Python has no operator for.
popcount = cast(Callable[[Any], int], _popcount)
