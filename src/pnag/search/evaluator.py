"""The architecture evaluator R(beta | B; w) and its training by the pairwise ranking loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from pnag.ranges import Interval, check_ranges
from pnag.search.budget_draws import BudgetDraws
from pnag.search.budgets import embedding_of
from pnag.search.dominance import dominance_ranks
from pnag.search.ranking_loss import ranking_loss

Progress = Callable[[int, int, float], None]
"""Called with steps done, steps in all, and the current loss (or reward)."""


class Evaluator(nn.Module):
    """Three fully connected layers (section D of the supplement).

    The budget's embedding enters at the second layer instead of the first: then the first two
    products are over M architectures instead of K M pairs, ten times less work, and a hidden unit
    of the second layer can be exactly what the dominance rule needs, max(0, cost - B).

    Besides the one-hot choices it sees the predicted accuracy and cost of the architecture (the
    design's two predictors): from choices alone, three layers cannot separate a cost just below the
    budget from one just above it, and of uniform samples hardly any lie near a small budget.

    Args:
        num_features: of an architecture; the last ones are its predicted accuracy and cost, or
            costs.
        budgets: (K,) the trained budgets; (K, C) of C costs, and so are all budgets it is asked.
        hidden: neurons of either hidden layer.
        dimension: of the budget embedding.
    """

    center: Tensor
    scale: Tensor

    def __init__(
        self, num_features: int, budgets: Tensor, hidden: int = 512, dimension: int = 64
    ) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(num_features))
        self.register_buffer("scale", torch.ones(num_features))
        self.embedding = embedding_of(budgets, dimension)
        self.predictions = 1 + (budgets.shape[1] if budgets.ndim == 2 else 1)
        self.first = nn.Linear(num_features, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.from_budget = nn.Linear(dimension, hidden, bias=False)
        self.third = nn.Linear(hidden, 1)
        nn.init.zeros_(self.third.bias)

    def standardise(self, features: Tensor) -> None:
        """Take the predictions' mean and spread from a table's (M, F) features."""
        count = self.predictions
        last = features[:, -count:]
        self.center[-count:] = last.mean(0)
        # Spread over +-3 instead of +-1: they carry most of what there is to know.
        self.scale[-count:] = last.std(0).clamp(min=1e-12) / 3

    def body(self, features: Tensor) -> Tensor:
        """(M, hidden) what the second layer gets from the architectures."""
        standard = (features - self.center) / self.scale
        hidden: Tensor = self.second(torch.relu(self.first(standard)))
        return hidden

    def forward(self, features: Tensor, budgets: Tensor) -> Tensor:
        """Scores of every architecture under every budget.

        Args:
            features: (M, F)
            budgets: (K,), of several costs (K, C).

        Returns:
            (K, M)
        """
        hidden = self.body(features)
        conditions = self.from_budget(self.embedding(budgets))
        # One budget at a time: (M, hidden) stays in the cache, (K, M, hidden) would not.
        return torch.stack(
            [self.third(torch.relu(hidden + condition))[:, 0] for condition in conditions]
        )

    def paired(self, features: Tensor, budgets: Tensor) -> Tensor:
        """(N,) score of architecture n under budget n."""
        hidden = self.body(features) + self.from_budget(self.embedding(budgets))
        scores: Tensor = self.third(torch.relu(hidden))[:, 0]
        return scores


@dataclass(frozen=True)
class EvaluatorSettings:
    """How the evaluator is trained.

    One step takes the *whole* loss (F): all M (M-1) pairs at all K budgets, by its exact gradient.
    The paper has 512 neurons, 250 epochs and a learning rate from 0.1 to 1e-3, with an optimiser
    that it does not name. With the whole loss a step, Adam needs fewer; 256 neurons reach the same
    loss within 0.01 in half the time (`benchmarks/README.md`).

    Attributes:
        jitter: draw each step's budgets from around the trained ones.
    """

    steps: Annotated[int, Interval(ge=1, le=1_000_000)] = 60
    learning_rate: Annotated[float, Interval(gt=0, le=1)] = 1e-2
    final_learning_rate: Annotated[float, Interval(ge=0, le=1)] = 1e-4
    hidden: Annotated[int, Interval(ge=1, le=8192)] = 256
    embedding: Annotated[int, Interval(ge=1, le=8192)] = 64
    jitter: bool = True

    def __post_init__(self) -> None:
        check_ranges(self)


def train_evaluator(
    features: Tensor,
    accuracy: Tensor,
    cost: Tensor,
    budgets: Tensor,
    settings: EvaluatorSettings,
    *,
    known: Tensor | None = None,
    seed: int = 0,
    progress: Progress = lambda done, total, loss: None,
) -> tuple[Evaluator, list[float]]:
    """Minimise the ranking loss (F) over a table.

    Each step uses K budgets, unless `jitter` is off drawn from around the trained ones, so that
    the scores are right between the trained budgets too. Of several costs it uses K vectors.

    Args:
        features: (M, F), accuracy: (M,), cost: (M,) or (M, C), budgets: (K,) or (K, C).
        known: (P, 1 + C) of several costs, what vectors of budgets are drawn by
            (`BudgetDraws`); the table's own if None.

    Returns:
        The evaluator and the loss of each step.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        evaluator = Evaluator(features.shape[1], budgets, settings.hidden, settings.embedding)
    evaluator.standardise(features)
    evaluator.to(features.device)
    optimizer = torch.optim.Adam(evaluator.parameters(), lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimizer, settings.steps, settings.final_learning_rate
    )
    if known is None:
        known = torch.cat([accuracy[:, None], cost.view(len(cost), -1)], 1)
    draws = BudgetDraws(budgets, settings.jitter, known)
    losses: list[float] = []
    for step in range(settings.steps):
        drawn = draws.some(generator)
        loss = ranking_loss(evaluator(features, drawn), dominance_ranks(accuracy, cost, drawn))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        progress(step + 1, settings.steps, losses[-1])
    return evaluator.eval(), losses
