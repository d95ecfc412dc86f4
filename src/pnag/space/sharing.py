"""Samples in which several architectures begin alike, so that what they share is computed once."""

from __future__ import annotations

import numpy as np

from pnag.space.search_space import SearchSpace, Tokens

# What `benchmarks/sharing.py` found best for a given time (`benchmarks/README.md`).
SHARED = 8


def sample_shared(
    space: SearchSpace,
    n: int,
    rng: np.random.Generator,
    *,
    shared: int = SHARED,
    units: int = 2,
) -> Tokens:
    """(n, T) different architectures, in groups of `shared` with the same first units.

    Each architecture by itself is distributed as one of `SearchSpace.sample`; only those of a group
    depend on each other.

    Args:
        shared: size of a group; 1 shares nothing.
        units: how many units a group shares, and its resolution with them. A unit is a token
            without a parent and what depends on it.

    Raises:
        ValueError: if `shared` is below 1, `units` is not between 0 and one less than the space
            has, or the space is too small.
    """
    starts = [i for i, t in enumerate(space.tokens) if t.parent < 0 and t.what != "resolution"]
    if shared < 1:
        raise ValueError(f"shared must be at least 1, not {shared}")
    if not 0 <= units < len(starts):
        raise ValueError(f"units must be 0 to {len(starts) - 1}, not {units}")
    if n > space.size:
        raise ValueError(f"the space has {space.size} different architectures, fewer than {n}")
    batch = np.zeros((0, len(space.tokens)), np.int8)
    while len(batch) < n:
        # What is left is drawn again in whole groups, and cut to n.
        groups = -(-(n - len(batch)) // shared)
        heads = np.repeat(space.sample(groups, rng), shared, axis=0)
        fresh = space.sample(groups * shared, rng)
        fresh[:, : starts[units]] = heads[:, : starts[units]]
        batch = np.concatenate([batch, fresh])
        _, first = np.unique(batch, axis=0, return_index=True)
        batch = batch[np.sort(first)]
    return batch[:n]
