"""What architectures have in common from the first layer on, and an order that makes this a lot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pnag.space import BaseArchitecture, SearchSpace, Tokens


def shared_order(space: SearchSpace, tokens: Tokens) -> NDArray[np.int64]:
    """(M,) rows of (M, T) tokens, such that those with the same first layers follow each other."""
    # A unit's depth comes first among its tokens and is left out: which layers exist says it, and
    # a unit of depth 2 begins as the deeper ones do.
    columns = [i for i, t in enumerate(space.tokens) if t.parent >= 0 or t.what == "resolution"]
    return np.lexsort(tokens[:, columns].T[::-1])


def shared_layers(archs: Sequence[BaseArchitecture]) -> list[int]:
    """With how many layers each architecture begins as the one before it; 0 for the first."""
    return shared_starts(
        [
            [(a.resolution, place, *layer)
             for place, layer in enumerate(zip(a.widths, a.kernels, strict=True)) if layer[0]]
            for a in archs
        ]
    )  # fmt: skip


def shared_starts(sequences: Sequence[Sequence[Any]]) -> list[int]:
    """With how many items each sequence begins as the one before it; 0 for the first."""
    counts = []
    before: Sequence[Any] = ()
    for sequence in sequences:
        count = 0
        while count < min(len(before), len(sequence)) and before[count] == sequence[count]:
            count += 1
        counts.append(count)
        before = sequence
    return counts
