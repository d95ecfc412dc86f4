"""A small truth of our own: an analytic accuracy and cost on the first two units of the space.

In unit 1 large kernels are worth much and cost little, and each further layer is worth less; in
unit 2 they are the other way round. So the best architectures are far from uniform samples. Both
numbers are sums over the units (the accuracy but for its saturation, which changes no order), so
the best of all 54 million architectures is known exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import torch
from scipy.stats import kendalltau
from torch import Tensor

from pnag.search.front import Floats, Front, pareto_front
from pnag.search.labels import Labels
from pnag.search.methods import Problem
from pnag.space import SearchSpace, Tokens
from pnag.space.search_space import mobilenetv3_tokens

UNITS, PER_UNIT = 2, 9
SPACE = SearchSpace(mobilenetv3_tokens()[: UNITS * PER_UNIT])
# One number a unit: worth of a layer, how it falls from layer to layer, and of its kernel.
WORTH, FALL, KERNEL = np.array([[0.25], [0.35]]), np.array([[0.6], [0.95]]), np.array([[1], [0.15]])
PRICE, AREA = np.array([[1.0], [0.6]]), np.array([[0.2], [1.0]])


def of_units(tokens: Tokens) -> tuple[Floats, Floats]:
    """(N, UNITS) worth and (N, UNITS) price."""
    values = SPACE.values(tokens).reshape(len(tokens), UNITS, PER_UNIT).astype(float)
    width, kernel = values[:, :, 1::2] / 6, values[:, :, 2::2] / 7
    worth = WORTH * FALL ** np.arange(4) * (np.sqrt(width) + KERNEL * kernel)
    return worth.sum(2), (6 * PRICE * width * (1 + AREA * kernel**2)).sum(2)


def accuracy(tokens: Tokens) -> Floats:
    return np.asarray(0.5 + 0.4 * (1 - np.exp(-of_units(tokens)[0].sum(1))))


def cost(tokens: Tokens) -> Floats:
    return np.asarray(3 + of_units(tokens)[1].sum(1))


class Known:
    """The truth as a predictor."""

    def __init__(self, predict: Callable[[Tokens], Floats]) -> None:
        self.predict = predict


LABELS = Labels(SPACE, Known(accuracy), Known(cost))


def problem_of(rows: int, seed: int) -> Problem:
    """A table of uniform samples."""
    tokens = SPACE.sample_unique(rows, np.random.default_rng(seed))
    return Problem(SPACE, tokens, accuracy(tokens), cost(tokens), LABELS)


def best_of_all() -> Front:
    """The front of the whole space: that of all sums of the units' own fronts."""
    settings = list(product(*(range(len(token.choices)) for token in SPACE.tokens[:PER_UNIT])))
    tokens = np.unique(
        SPACE.canonical(np.array(settings, np.int8).repeat(UNITS, 0).reshape(len(settings), -1)),
        axis=0,
    )
    worth, price = of_units(tokens)
    fronts = [pareto_front(tokens, worth[:, u], price[:, u]).tokens for u in range(UNITS)]
    pairs = [np.concatenate([a[:PER_UNIT], b[PER_UNIT:]]) for a, b in product(*fronts)]
    combined = np.array(pairs, np.int8)
    return pareto_front(combined, accuracy(combined), cost(combined))


def dominance(accuracy: Tensor, cost: Tensor, budget: float) -> Tensor:
    """(M, M) Eqn. (E), case by case."""
    both = (cost <= budget)[:, None] & (cost <= budget)[None]
    by_accuracy = torch.where(accuracy[:, None] >= accuracy[None], 1.0, -1.0)
    by_cost = torch.where(cost[:, None] <= cost[None], 1.0, -1.0)
    return torch.where(both, by_accuracy, by_cost)


def tau(scores: Tensor, tokens: Tokens, budget: float) -> float:
    """Kendall's tau of an order of (N, T) architectures with that of (E) under a budget."""
    true = (torch.from_numpy(accuracy(tokens)), torch.from_numpy(cost(tokens)))
    return float(kendalltau(scores.detach(), dominance(*true, budget).sum(1)).statistic)
