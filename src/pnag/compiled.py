"""Loops that numpy has no words for, compiled by numba."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar, cast

import numba
import torch
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

# Sums over so many shares of the batch, whatever the number of threads: the result depends on the
# order of a sum, and a run that resumes with other threads should end with the same weights.
SHARES = 4


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


def for_each_share(add: Callable[[slice, int], None], items: int) -> None:
    """Call a function, which lets other threads run, with each share of items and its number."""
    edges = [items * share // SHARES for share in range(SHARES + 1)]
    parts = [slice(edges[share], edges[share + 1]) for share in range(SHARES)]
    threads = torch.get_num_threads()
    if threads > 1:
        list(_pool(min(threads, SHARES)).map(add, parts, range(SHARES)))
    else:
        for share, part in enumerate(parts):
            add(part, share)


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads)


@intrinsic
def _popcount(_: Any, word: Any) -> Any:

    def generate(
        context: Any, builder: ir.IRBuilder, signature: Any, arguments: tuple[Any, ...]
    ) -> Any:
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


# Number of ones in a uint64: one instruction, which Python has no operator for.
popcount = cast(Callable[[Any], int], _popcount)
