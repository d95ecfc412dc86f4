"""The best architectures known for many vectors of budgets, and from them an answer to any other.

Of one cost a list holds the best for every budget (`front.py`); of several costs no list can. So a
few thousand vectors of budgets are answered once: by f's draws for each, the table and a local
search for all of them together. Any other vector is answered in milliseconds by those, by f's draws
for it, and by a short local search from both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray

from pnag.compiled import compiled
from pnag.ranges import Interval, check_ranges
from pnag.search.front import Floats, breed
from pnag.search.generator import Generator
from pnag.search.labels import Labels
from pnag.search.several_budgets import Costs, largest_share
from pnag.search.sources import SEARCH, TABLE, F
from pnag.space import Tokens

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class VectorSettings:
    """The vectors of budgets that are answered once, and the short search for any other.

    Attributes:
        vectors: so many are answered. draws: from f for each. rounds: of the local search for all
            of them, 0 for none. children: a round.
        asked_draws: from f for a vector that is asked. asked_rounds: of the short search.
            asked_children: a round.
    """

    vectors: Annotated[int, Interval(ge=1, le=1_000_000)] = 2048
    draws: Annotated[int, Interval(ge=1, le=100_000)] = 8
    rounds: Annotated[int, Interval(ge=0, le=1_000_000)] = 30
    children: Annotated[int, Interval(ge=2, le=1_000_000)] = 4096
    asked_draws: Annotated[int, Interval(ge=1, le=100_000)] = 32
    asked_rounds: Annotated[int, Interval(ge=0, le=100_000)] = 6
    asked_children: Annotated[int, Interval(ge=2, le=1_000_000)] = 160

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class Known:
    """N architectures with their predictions.

    Attributes:
        tokens: (N, T), accuracy: (N,), costs: (N, C). source: (N,) places in `SOURCES`.
    """

    tokens: Tokens
    accuracy: Floats
    costs: Floats
    source: Ints

    @classmethod
    def of(cls, tokens: Tokens, labels: Labels, source: int) -> Known:
        """Predict (N, T) tokens that come from one source."""
        return cls(
            tokens, labels.accuracy.predict(tokens), labels.costs(tokens),
            np.full(len(tokens), source),
        )  # fmt: skip

    def some(self, chosen: Ints | NDArray[np.bool_]) -> Known:
        """Those of some indices or of a mask."""
        return Known(
            self.tokens[chosen], self.accuracy[chosen], self.costs[chosen], self.source[chosen]
        )

    def and_also(self, other: Known) -> Known:
        """Both, each architecture once; it comes from where it came from first."""
        joined = _joined(self, other)
        _, first = np.unique(joined.tokens, axis=0, return_index=True)
        return joined.some(np.sort(first))

    def best(self, budgets: Floats) -> int | None:
        """Index of the most accurate one within (C,) budgets; None if none is within all."""
        within = np.flatnonzero((self.costs <= budgets).all(1))
        return int(within[self.accuracy[within].argmax()]) if len(within) else None


def find_vector_front(
    labels: Labels,
    generator: Generator,
    vectors: Floats,
    table: Tokens,
    settings: VectorSettings,
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Known:
    """Answer many vectors of budgets at once.

    Args:
        vectors: (V, C) budgets. table: (M, T) architectures to take too.

    Returns:
        The best found for each vector, each once.
    """
    rng = np.random.default_rng(seed)
    asked = torch.from_numpy(vectors).repeat_interleave(settings.draws, 0)
    drawn = np.unique(generator.sample(asked, torch.Generator().manual_seed(seed)), axis=0)
    known = Known.of(table, labels, TABLE).and_also(Known.of(drawn, labels, F))
    known = known.some(best_of_vectors(known, vectors))
    for step in range(settings.rounds):
        parents = known.tokens[known.costs[:, 0].argsort(kind="stable")]
        children = breed(labels.space, parents, settings.children, rng)
        grown = known.and_also(Known.of(children, labels, SEARCH))
        known = grown.some(best_of_vectors(grown, vectors))
        progress(step + 1, settings.rounds)
    return known


def best_of_vectors(known: Known, vectors: Floats) -> Ints:
    """Indices, ascending and each once, of the best of N architectures for each of V vectors.

    Of each cost the cheapest is among them, whatever the vectors are.
    """
    best = np.full(len(vectors), -1)
    order = (-known.accuracy).argsort(kind="stable")
    _first_within(known.costs[order], vectors, best)
    found = order[best[best >= 0]]
    return np.unique(np.concatenate([found, known.costs.argmin(0)]))


@compiled()
def _first_within(costs: Floats, vectors: Floats, first: Ints) -> None:
    """Fill (V,) `first` with the first row of (N, C) costs that is within each of (V, C)."""
    for v in range(len(vectors)):
        for n in range(len(costs)):
            inside = True
            for c in range(costs.shape[1]):
                if costs[n, c] > vectors[v, c]:
                    inside = False
                    break
            if inside:
                first[v] = n
                break


ELITE, NEAR = 24, 12  # parents within the budgets, and a small step beyond them
BEYOND = 0.05  # of a budget: how small that step is


def answer_vector(
    labels: Labels,
    generator: Generator,
    known: Known,
    costs: Costs,
    budgets: Floats,
    asked: Floats,
    settings: VectorSettings,
    *,
    seed: int = 0,
) -> tuple[Known, float]:
    """The best architecture within all budgets, by f's draws, what is known and a short search.

    Costs are predicted of all children, accuracies, which take longer, only of those that are
    within the budgets or little beyond.

    Args:
        known: architectures to start from, with the costs that have budgets.
        costs: predicts these. budgets: (B,) of these.
        asked: (C,) the vector that f is asked for, of the costs that it was trained for.

    Returns:
        One architecture, and the largest share of a budget that it uses; above 1 if none within
        all was found.
    """
    rng = np.random.default_rng(seed)
    vectors = torch.from_numpy(np.tile(asked, (settings.asked_draws, 1)))
    drawn = np.unique(generator.sample(vectors, torch.Generator().manual_seed(seed)), axis=0)
    of_f = Known(
        drawn, labels.accuracy.predict(drawn), costs(drawn), np.full(len(drawn), F)
    )  # fmt: skip
    pool = _parents(known, budgets).and_also(of_f)
    seen = {row.tobytes() for row in pool.tokens}
    for _ in range(settings.asked_rounds):
        parents = _parents(pool, budgets)
        tokens = breed(labels.space, parents.tokens, settings.asked_children, rng)
        tokens = tokens[[row.tobytes() not in seen for row in tokens]]
        if not len(tokens):
            break  # a small space: all around the parents is known
        prices = costs(tokens)
        share = largest_share(prices / budgets)
        promising = share <= max(1 + BEYOND, float(np.quantile(share, 0.1)))
        tokens, prices = tokens[promising], prices[promising]
        seen |= {row.tobytes() for row in tokens}
        accuracy = labels.accuracy.predict(tokens)
        pool = _joined(parents, Known(tokens, accuracy, prices, np.full(len(tokens), SEARCH)))
    share = largest_share(pool.costs / budgets)
    index = pool.best(budgets)
    index = int(share.argmin()) if index is None else index
    return pool.some(np.array([index])), float(share[index])


def _joined(one: Known, other: Known) -> Known:
    """Both, where they have no architecture in common."""
    return Known(
        np.concatenate([one.tokens, other.tokens]),
        np.concatenate([one.accuracy, other.accuracy]),
        np.concatenate([one.costs, other.costs]),
        np.concatenate([one.source, other.source]),
    )


def _parents(known: Known, budgets: Floats) -> Known:
    """The most accurate within the budgets and little beyond; the least beyond if there are none.

    Sorted by the first cost, as `breed` takes them.
    """
    share = largest_share(known.costs / budgets)
    by_accuracy = (-known.accuracy).argsort(kind="stable")
    inside = by_accuracy[share[by_accuracy] <= 1][:ELITE]
    beyond = by_accuracy[(share[by_accuracy] > 1) & (share[by_accuracy] <= 1 + BEYOND)][:NEAR]
    chosen = np.concatenate([inside, beyond])
    if len(inside) == 0:
        chosen = np.unique(np.concatenate([beyond, share.argsort(kind="stable")[:ELITE]]))
    return known.some(chosen[known.costs[chosen, 0].argsort(kind="stable")])
