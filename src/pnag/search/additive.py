"""The part of an architecture's features over whose choices a cost adds up."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pnag.space import SearchSpace, Tokens

Floats = NDArray[np.float64]


def pair_columns(space: SearchSpace) -> list[tuple[int, int]]:
    """Token pairs that are decided for the same layer: neighbours that exist together."""
    pairs = []
    column = 0
    while column + 1 < len(space.tokens):
        a, b = space.tokens[column], space.tokens[column + 1]
        if a.parent >= 0 and (a.parent, a.needs, _layer(a.name)) == (
            b.parent,
            b.needs,
            _layer(b.name),
        ):
            pairs.append((column, column + 1))
            column += 2
        else:
            column += 1
    return pairs


def _layer(name: str) -> str:
    return name.rpartition(".")[0]


def additive_features(space: SearchSpace, tokens: Tokens) -> NDArray[np.float32]:
    """(N, F + P) one-hot choices, then one-hot pairs of choices of the same layer."""
    blocks = [space.features(tokens)]
    for a, b in pair_columns(space):
        width = len(space.tokens[b].choices)
        index = tokens[:, a].astype(np.int64) * width + tokens[:, b]
        block = np.zeros((len(tokens), len(space.tokens[a].choices) * width), np.float32)
        rows = np.flatnonzero(tokens[:, a] >= 0)
        block[rows, index[rows]] = 1.0
        blocks.append(block)
    return np.concatenate(blocks, axis=1)
