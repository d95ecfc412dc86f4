"""Kernels that depend on how many choices two architectures have in common: counted by bits.

An architecture's one-hot features are a few 64-bit words, so what two have in common is an AND and
a population count, and the kernel's value a look-up by three whole numbers: about a nanosecond for
a pair, 20 to 40 times as fast as a matrix product of the features (`benchmarks/README.md`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pnag.compiled import compiled, on_all_threads, popcount
from pnag.space import SearchSpace, Tokens

ROWS = 64  # of a matrix that a thread takes at a time
Words = NDArray[np.uint64]
Ints = NDArray[np.int64]
Floats32 = NDArray[np.float32]


@dataclass(frozen=True)
class Packed:
    """N architectures as bits.

    Attributes:
        words: (W, N) the one-hot features. sizes: (N,) how many tokens each has.
    """

    words: Words
    sizes: Ints

    @classmethod
    def of(cls, space: SearchSpace, tokens: Tokens) -> Packed:
        """Pack (N, T) tokens."""
        length = -(-space.num_features // 64) * 64
        bits = np.zeros((len(tokens), length), np.uint8)
        bits[:, : space.num_features] = space.features(tokens) > 0
        words = np.packbits(bits, axis=1, bitorder="little").view(np.uint64)
        return cls(np.ascontiguousarray(words.T), (tokens >= 0).sum(1).astype(np.int64))


def weighted_sums(
    left: Packed, right: Packed, table: Tensor, weights: Tensor
) -> NDArray[np.float64]:
    """(A,) sums over b of k(a, b) weights_b, without a matrix in memory.

    Args:
        table: (T + 1, T + 1, T + 1) float32 kernel by the sizes of a and b and what they share.
        weights: (B,) float32.
    """
    sums = np.empty(len(left.sizes))
    flat, own = table.flatten().numpy(), weights.numpy()

    def some(rows: slice) -> None:
        _weighted_sums(
            left.words[:, rows], left.sizes[rows], right.words, right.sizes, flat, len(table), own,
            sums[rows],
        )  # fmt: skip

    on_all_threads(some, _slices(len(sums)))
    return sums


def kernel_matrix(left: Packed, right: Packed, table: Tensor) -> Tensor:
    """(A, B) float32 k(a, b)."""
    matrix = np.empty((len(left.sizes), len(right.sizes)), np.float32)
    flat = table.flatten().numpy()

    def some(rows: slice) -> None:
        _matrix(
            left.words[:, rows], left.sizes[rows], right.words, right.sizes, flat, len(table),
            matrix[rows],
        )  # fmt: skip

    on_all_threads(some, _slices(len(matrix)))
    return torch.from_numpy(matrix)


def _slices(rows: int) -> list[slice]:
    return [slice(start, start + ROWS) for start in range(0, rows, ROWS)]


@compiled(any_order=True)
def _shared(words: Words, a: int, others: Words, shared: Words) -> None:
    """Fill (B,) `shared` with what architecture a has in common with each of the others."""
    shared[:] = 0
    for w in range(len(words)):
        word, row = words[w, a], others[w]
        for b in range(len(shared)):
            shared[b] += popcount(word & row[b])


@compiled(any_order=True)
def _weighted_sums(
    words: Words, sizes: Ints, others: Words, other_sizes: Ints, table: Floats32, side: int,
    weights: Floats32, sums: NDArray[np.float64],
) -> None:  # fmt: skip
    shared = np.empty(len(other_sizes), np.uint64)
    for a in range(len(sizes)):
        _shared(words, a, others, shared)
        part = table[sizes[a] * side * side : (sizes[a] + 1) * side * side]
        total = 0.0
        for b in range(len(shared)):
            total += part[other_sizes[b] * side + np.int64(shared[b])] * weights[b]
        sums[a] = total


@compiled(any_order=True)
def _matrix(
    words: Words, sizes: Ints, others: Words, other_sizes: Ints, table: Floats32, side: int,
    matrix: Floats32,
) -> None:  # fmt: skip
    shared = np.empty(len(other_sizes), np.uint64)
    for a in range(len(sizes)):
        _shared(words, a, others, shared)
        part = table[sizes[a] * side * side : (sizes[a] + 1) * side * side]
        for b in range(len(shared)):
            matrix[a, b] = part[other_sizes[b] * side + np.int64(shared[b])]
