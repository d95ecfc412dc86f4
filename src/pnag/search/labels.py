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
    """Anything that foretells a number of architectures."""

    def predict(self, tokens: Tokens) -> Floats:
        """(N,) values for (N, T) tokens."""
        ...


@dataclass(frozen=True)
class Labels:
    """The two predictors of a run."""

    space: SearchSpace
    accuracy: Predicts
    cost: Predicts

    def label(self, tokens: Tokens) -> tuple[Floats, Floats]:
        """(N,) predicted accuracy and (N,) predicted cost."""
        return self.accuracy.predict(tokens), self.cost.predict(tokens)

    def describe(self, tokens: Tokens) -> tuple[Tensor, Tensor, Tensor]:
        """The evaluator's features (N, F + 2), accuracy (N,) and cost (N,)."""
        accuracy, cost = (torch.from_numpy(values) for values in self.label(tokens))
        choices = torch.from_numpy(self.space.features(tokens))
        predictions = torch.stack([accuracy, cost], 1).float()
        return torch.cat([choices, predictions], 1), accuracy, cost
