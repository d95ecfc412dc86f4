"""Architectures at each of the resolutions that a space chooses among."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pnag.space.architecture import AnyArchitecture
from pnag.space.search_space import SearchSpace, Tokens


def at_each_resolution(space: SearchSpace, archs: Sequence[AnyArchitecture]) -> Tokens:
    """(A R, T) of A architectures, each at all R resolutions, or (A, T) where none is chosen."""
    tokens = space.encode(archs)
    if not space.resolutions:
        return tokens
    found = np.repeat(tokens, len(space.resolutions), axis=0)
    found[:, 0] = np.tile(np.arange(len(space.resolutions)), len(tokens))
    return found
