"""Where an answer comes from: the table, f's draws, or the local search."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pnag.space import Tokens

SOURCES = ("table", "f", "local search")
TABLE, F, SEARCH = range(len(SOURCES))


def source_names(places: NDArray[np.int64]) -> list[str]:
    """The names of (N,) places in `SOURCES`."""
    return [SOURCES[place] for place in places]


def sources_of(tokens: Tokens, table: Tokens, drawn: Tokens) -> NDArray[np.int64]:
    """(N,) places in `SOURCES`: what is in the table comes from there, even where f draws it too.

    Args:
        tokens: (N, T). table: (M, T) known from the start. drawn: (D, T) by f.
    """
    in_table, in_draws = ({row.tobytes() for row in part} for part in (table, drawn))
    rows = [row.tobytes() for row in tokens]
    return np.array(
        [TABLE if row in in_table else F if row in in_draws else SEARCH for row in rows], np.int64
    )
