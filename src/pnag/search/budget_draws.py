"""Which budgets a step of training takes.

Of one cost: the K trained ones, or one from around each. Of several costs (ours) a vector of
budgets matters where its budgets bind, and that depends on them all: with a tight budget of
milliseconds one of parameters often changes nothing. So a vector takes one cost's budget as above,
the main one. Then some of the other costs are limited to what a good architecture has of them: of
those that are known within the main budget the one whose accuracy, less random prices of these
costs, is highest. If one of its budgets were left out, a better architecture would be within
the others; half of the time they get some room, too. The remaining costs have no limit. So training
keeps seeing vectors that bind in one cost, in some and in all.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from pnag.search.budgets import jittered

MOST_KNOWN = 4000  # architectures that are looked at
PRICES = (0.1, 2.0)  # of a cost's deviation, in deviations of the accuracy
ROOM = (0.92, 1.5)  # times what the good architecture has, where there is room
TIGHT = (1.0, 1.02)  # where there is none: then the main budget too is what that architecture has
SHARE_TIGHT = 0.6  # of the vectors


@dataclass(frozen=True)
class BudgetDraws:
    """Draws budgets.

    Attributes:
        budgets: (K,) trained budgets, or (K, C) of several costs.
        jitter: draw from around the trained ones, not these themselves.
        known: (P, 1 + C) accuracy and costs of architectures over the whole range; not looked at
            for one cost.
    """

    budgets: Tensor
    jitter: bool
    known: Tensor

    @property
    def rows(self) -> int:
        """How many `every` draws: K, or K C of several costs."""
        return self.budgets.numel()

    def some(self, random: torch.Generator) -> Tensor:
        """(K,) budgets, or (K, C): a vector for each trained budget of a random main cost."""
        if self.budgets.ndim == 1:
            return jittered(self.budgets, random) if self.jitter else self.budgets
        k, costs = self.budgets.shape
        main = torch.randint(costs, (k,), generator=random)
        return self._vectors(self._axes(random)[torch.arange(k), main], main, random)

    def every(self, random: torch.Generator) -> Tensor:
        """(K,) budgets, or (K C, C): a vector for each trained budget of each cost as the main."""
        if self.budgets.ndim == 1:
            return self.some(random)
        k, costs = self.budgets.shape
        main = torch.arange(costs).repeat(k)
        return self._vectors(self._axes(random).flatten(), main, random)

    def _axes(self, random: torch.Generator) -> Tensor:
        """(K, C) budgets of each cost by itself."""
        budgets = self.budgets.cpu()
        if not self.jitter:
            return budgets
        return torch.stack([jittered(column, random) for column in budgets.T], 1)

    def _vectors(self, budgets: Tensor, main: Tensor, random: torch.Generator) -> Tensor:
        """(R, C) vectors from (R,) budgets of (R,) main costs."""
        rows, costs = len(budgets), self.budgets.shape[1]

        def uniform(*shape: int) -> Tensor:
            return torch.rand(*shape, generator=random, dtype=torch.float64)

        # How many are limited: any number alike; which: the main one and the first of an order.
        order = uniform(rows, costs)
        order[torch.arange(rows), main] = -1
        limits = torch.randint(1, costs + 1, (rows, 1), generator=random)
        limited = order.argsort(1).argsort(1) < limits
        price = PRICES[0] * (PRICES[1] / PRICES[0]) ** uniform(rows, costs)
        reference = self._good(budgets, main, price * limited)
        tight, room = (low + (high - low) * uniform(rows, costs) for low, high in (TIGHT, ROOM))
        is_tight = (uniform(rows, 1) < SHARE_TIGHT) & (limited.sum(1, keepdim=True) > 1)
        vectors = reference * torch.where(is_tight, tight, room)
        loose = (~is_tight[:, 0]).nonzero()[:, 0]
        vectors[loose, main[loose]] = budgets[loose]
        vectors[~limited] = torch.inf
        return vectors.to(self.budgets.device)

    def _good(self, budgets: Tensor, main: Tensor, price: Tensor) -> Tensor:
        """(R, C) costs of the best known architecture within each main budget, less the prices.

        Where none is within it is the cheapest one.

        Args:
            price: (R, C) of deviations.
        """
        known, standard = self._looked_at
        value = standard[:, 0] - price @ standard[:, 1:].T
        own = known[:, 1:].T[main]  # (R, P) main costs
        beyond = (own - budgets[:, None]).clamp(min=0)
        value = torch.where(beyond > 0, -1e9 - beyond / own.amax(1, keepdim=True), value)
        return known[value.argmax(1), 1:]

    @cached_property
    def _looked_at(self) -> tuple[Tensor, Tensor]:
        """(P', 1 + C) known accuracies and costs, and the same in deviations from their mean."""
        known = self.known.cpu().double()
        some = known[:: -(-len(known) // MOST_KNOWN)]
        # A cost that is the same for all deviates nowhere.
        return some, (some - some.mean(0)) / some.std(0).clamp(min=torch.finfo(some.dtype).tiny)
