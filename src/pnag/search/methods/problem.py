"""What every search method gets, and what it must be able to do: the interface of this package."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from pnag.errors import PnagError
from pnag.search.front import Floats
from pnag.search.labels import Labels
from pnag.space import SearchSpace, Tokens

Progress = Callable[[int, int], None]
"""Called with steps done and steps in all, of the training or the search that is under way."""


def silent(done: int, total: int) -> None:
    """The progress that nobody watches."""


@dataclass(frozen=True)
class Problem:
    """A table of known architectures and the two predictors fitted to it.

    Attributes:
        space: of the tokens.
        tokens: (M, T), accuracy: (M,), cost: (M,): the table.
        labels: the predictors.
    """

    space: SearchSpace
    tokens: Tokens
    accuracy: Floats
    cost: Floats
    labels: Labels

    def label(self, tokens: Tokens) -> tuple[Floats, Floats]:
        """(N,) predicted accuracy and (N,) predicted cost of (N, T) tokens."""
        return self.labels.label(tokens)


class Searcher(Protocol):
    """A method that has done all work that serves every budget and can be asked for one.

    What it returns for a budget depends on the problem and the seed only, not on what it was asked
    before. A budget is a finite number in the unit of the table's cost.
    """

    def answer(self, budget: float) -> Tokens:
        """(1, T) the architecture for a budget.

        Raises:
            PnagError: if the budget is infeasible; it names the cheapest cost found.
        """
        ...

    def generate(self, budget: float, n: int) -> Tokens:
        """(n, T) architectures that the method proposes for the budget.

        Raises:
            PnagError: where the method can decide that the budget is infeasible.
        """
        ...


Method = Callable[[Problem, int, Progress], Searcher]
"""(problem, seed, progress) to a searcher; all training that serves all budgets happens in it."""


def infeasible(budget: float, cheapest: float) -> PnagError:
    """The error for a budget that no architecture holds, as far as the method could see."""
    return PnagError(
        f"no architecture has a cost within {budget:g}: the cheapest one found costs {cheapest:.4g}"
    )
