"""The two predictors of a search, and what the evaluator sees of an architecture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pnag.space import SearchSpace, Tokens

Floats = NDArray[np.float64]


class Predicts(Protocol):
    """Anything that predicts a number of architectures."""

    def predict(self, tokens: Tokens) -> Floats:
        """(N,) values for (N, T) tokens."""
        ...


@dataclass(frozen=True)
class Labels:
    """The predictors of a run: of the accuracy, of its own cost, and of further costs.

    Attributes:
        further: costs besides the own one; none in a run of one cost.
    """

    space: SearchSpace
    accuracy: Predicts
    cost: Predicts
    further: tuple[Predicts, ...] = ()

    def label(self, tokens: Tokens) -> tuple[Floats, Floats]:
        """(N,) predicted accuracy and (N,) predicted own cost."""
        return self.accuracy.predict(tokens), self.cost.predict(tokens)

    def costs(self, tokens: Tokens) -> Floats:
        """(N, C) predicted costs, the own one first."""
        return np.stack([cost.predict(tokens) for cost in (self.cost, *self.further)], axis=1)

    def describe(self, tokens: Tokens) -> tuple[Tensor, Tensor, Tensor]:
        """The evaluator's features (N, F + 1 + C), accuracy (N,) and cost (N,).

        With further costs the latter is (N, C).
        """
        accuracy = torch.from_numpy(self.accuracy.predict(tokens))
        costs = torch.from_numpy(self.costs(tokens))
        choices = torch.from_numpy(self.space.features(tokens))
        predictions = torch.cat([accuracy[:, None], costs], 1).float()
        cost = costs if self.further else costs[:, 0].contiguous()
        return torch.cat([choices, predictions], 1), accuracy, cost
