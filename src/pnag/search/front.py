"""The front: the best architecture known for every budget of the range, found once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray

from pnag.ranges import Interval, check_ranges
from pnag.search.generator import Generator
from pnag.space import SearchSpace, Tokens

Floats = NDArray[np.float64]
MUTATION_RATES = (0.03, 0.06, 0.12)  # small steps to finish, large ones to get away
Label = Callable[[Tokens], tuple[Floats, Floats]]
"""Tokens (N, T) to predicted accuracy (N,) and cost (N,)."""


@dataclass(frozen=True)
class Front:
    """Architectures of growing cost and strictly growing accuracy.

    Attributes:
        tokens: (N, T), accuracy: (N,), cost: (N,), sorted by cost.
        source: (N,) places in `SOURCES`, where that is known.
    """

    tokens: Tokens
    accuracy: Floats
    cost: Floats
    source: NDArray[np.int64] | None = None

    def best(self, budget: float) -> int | None:
        """Index of the most accurate one within the budget; None if all cost more.

        As a larger budget can only add architectures, accuracy never falls as it grows.
        """
        within = int(np.searchsorted(self.cost, budget, side="right"))
        return within - 1 if within else None


def pareto_front(tokens: Tokens, accuracy: Floats, cost: Floats) -> Front:
    """The non-dominated ones of N architectures."""
    order = np.lexsort((-accuracy, cost))
    best_before = np.concatenate([[-np.inf], np.maximum.accumulate(accuracy[order])[:-1]])
    keep = order[accuracy[order] > best_before]
    return Front(tokens[keep], accuracy[keep], cost[keep])


@dataclass(frozen=True)
class FrontSettings:
    """Candidates drawn from the generator, and the local search that starts from them.

    Attributes:
        budgets: evenly over the trained range. draws: architectures from f(B) at each.
        table: whether the best of the table's rows are among the candidates.
        rounds: of local search, 0 for none. children: per round. bins: parts of the cost range
            that each keep their best architecture as a parent.
    """

    budgets: Annotated[int, Interval(ge=1, le=100_000)] = 128
    draws: Annotated[int, Interval(ge=1, le=100_000)] = 128
    table: bool = True
    rounds: Annotated[int, Interval(ge=0, le=1_000_000)] = 60
    children: Annotated[int, Interval(ge=2, le=1_000_000)] = 4096
    bins: Annotated[int, Interval(ge=1, le=1_000_000)] = 256

    def __post_init__(self) -> None:
        check_ranges(self)


def draw_up_to(
    generator: Generator, budget: float, settings: FrontSettings, seed: int = 0
) -> Tokens:
    """(N, T) architectures from f(B) at budgets from the lowest trained one to `budget`."""
    low, high = float(generator.own_budgets[0]), float(generator.own_budgets[-1])
    grid = torch.linspace(low, min(max(budget, low), high), settings.budgets).double()
    return generator.sample(
        grid.repeat_interleave(settings.draws), torch.Generator().manual_seed(seed)
    )


def find_front(
    space: SearchSpace,
    generator: Generator,
    label: Label,
    settings: FrontSettings,
    *,
    start: Tokens,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Front, Front]:
    """Draw from f(B) over the whole range, then improve each part of it by local search.

    Args:
        start: (S, T) further architectures to start from: the best of the table.

    Returns:
        The front, and the one of the generator's own draws.
    """
    anchors = generator.own_budgets
    drawn = np.unique(draw_up_to(generator, float(anchors[-1]), settings, seed), axis=0)
    own = pareto_front(drawn, *label(drawn))
    front = improve(
        space,
        np.concatenate([drawn, start]),
        label,
        (float(anchors[0]), float(anchors[-1])),
        settings,
        seed=seed,
        progress=progress,
    )
    return front, own


def improve(
    space: SearchSpace,
    start: Tokens,
    label: Label,
    costs: tuple[float, float],
    settings: FrontSettings,
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Front:
    """Local search for all budgets at once: mutants and crossovers of the best of each cost bin.

    It asks the same predictors as the answer does, and repairs what sampling leaves undecided.

    Args:
        start: (S, T) architectures. costs: the lowest and highest of the range to search; what
            lies beyond falls into the first or last bin.

    Returns:
        The front of all that was seen, the start included: a bin's best is rarely its cheapest,
        which is the answer to the smallest budgets.
    """
    rng = np.random.default_rng(seed)
    pool = np.unique(start, axis=0)
    accuracy, cost = label(pool)
    front = pareto_front(pool, accuracy, cost)
    for step in range(settings.rounds):
        elite = elite_of_bins(accuracy, cost, costs, settings.bins)
        parents = pool[elite]
        children = breed(space, parents, settings.children, rng)
        child_accuracy, child_cost = label(children)
        pool = np.concatenate([parents, children])
        accuracy = np.concatenate([accuracy[elite], child_accuracy])
        cost = np.concatenate([cost[elite], child_cost])
        front = pareto_front(
            np.concatenate([front.tokens, pool]),
            np.concatenate([front.accuracy, accuracy]),
            np.concatenate([front.cost, cost]),
        )
        progress(step + 1, settings.rounds)
    return front


def breed(space: SearchSpace, parents: Tokens, count: int, rng: np.random.Generator) -> Tokens:
    """Up to `count` different children of (P, T) parents sorted by cost.

    One half are mutants, the other crossovers of parents of similar cost.
    """
    chosen = rng.integers(0, len(parents), count)
    partners = np.clip(chosen + rng.integers(-8, 9, count), 0, len(parents) - 1)
    half = count // 2
    crossed = space.crossover(parents[chosen[half:]], parents[partners[half:]], rng)
    mutants = space.mutate(parents[chosen[:half]], rng.choice(MUTATION_RATES), rng)
    children = np.concatenate([mutants, space.mutate(crossed, 0.02, rng)])
    unique: Tokens = np.unique(children, axis=0)
    return unique


def with_mutants(
    space: SearchSpace, front: Tokens, rate: float, times: int, rng: np.random.Generator
) -> Tokens:
    """(N, T) a front and mutants of it, each once.

    Args:
        front: (F, T). rate: of a token; where there are few tokens, one of them on average.
        times: how often each member is mutated.
    """
    rate = max(rate, 1 / len(space.tokens))
    mutants = [space.mutate(front, rate, rng) for _ in range(times)]
    unique: Tokens = np.unique(np.concatenate([front, *mutants]), axis=0)
    return unique


def elite_of_bins(
    accuracy: Floats, cost: Floats, costs: tuple[float, float], bins: int
) -> NDArray[np.int64]:
    """Indices of the most accurate architecture of each cost bin, by growing cost."""
    low, high = costs
    place = ((cost - low) / max(high - low, 1e-12) * bins).clip(0, bins - 1).astype(int)
    order = np.lexsort((-accuracy, place))
    _, first = np.unique(place[order], return_index=True)
    return np.asarray(order[first])
