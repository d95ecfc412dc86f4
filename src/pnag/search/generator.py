"""The architecture generator f(B; theta): an LSTM that decides one token after the other.

Batched over budgets and samples; the only loop is over the T tokens, which follow from each other.
A token that does not exist leaves the state as it was, and has no log-probability and no entropy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from pnag.search.budgets import embedding_of
from pnag.space import ABSENT, SearchSpace, Tokens

CALIBRATION_BUDGETS = 96
CALIBRATION_DRAWS = 200  # at each of them
HELD = 0.99  # share of the draws that must hold a budget


@dataclass(frozen=True)
class Rollout:
    """N sampled architectures.

    Attributes:
        tokens: (N, T) int64, ABSENT where a token does not exist.
        log_probability: (N,) of each architecture under the policy.
        entropy: (N,) sum of the entropies of the decisions taken, whose mean is an unbiased
            estimate of the policy's entropy.
    """

    tokens: Tensor
    log_probability: Tensor
    entropy: Tensor


class Generator(nn.Module):
    """f(B; theta).

    Trained to be good on average, f(B) places some of its draws just beyond B, and how many differs
    along the axis. `calibrate` finds out, so that `sample` can ask f at the budget that the draws
    do hold; until then it asks at B itself.

    Args:
        space: whose tokens it decides.
        budgets: (K,) the trained budgets; (K, C) of C costs.
        hidden: size of the LSTM's state.
        dimension: of the budget embedding.
    """

    asked: Tensor
    held: Tensor

    def __init__(
        self, space: SearchSpace, budgets: Tensor, hidden: int = 64, dimension: int = 64
    ) -> None:
        super().__init__()
        self.space = space
        self.most = int(space.choices_per_token.max())
        count = len(space.tokens)
        self.embedding = embedding_of(budgets, dimension)
        self.hidden = hidden
        grid = _grid(budgets)
        self.register_buffer("asked", grid)
        self.register_buffer("held", grid.clone())
        # An LSTM cell whose input is the last decision and the budget. As the former is one of a
        # few hundred, what the gates get from it is a table's row instead of a product: one row
        # for each choice of each token, and the last one for the start.
        self.from_decision = nn.Parameter(torch.randn(count * self.most + 1, 4 * hidden) * 0.1)
        self.from_budget = nn.Linear(dimension, 4 * hidden)
        self.from_hidden = nn.Parameter(torch.empty(hidden, 4 * hidden))
        nn.init.orthogonal_(self.from_hidden)
        # Each token has its own output layer, because each decides something else.
        self.heads = nn.Parameter(torch.randn(count, hidden, self.most) * 0.01)
        self.biases = nn.Parameter(torch.zeros(count, self.most))

    def forward(self, budgets: Tensor, generator: torch.Generator | None = None) -> Rollout:
        """Sample one architecture for each budget; without a generator, take the mode.

        Args:
            budgets: (N,), of several costs (N, C).
        """
        n = len(budgets)
        condition = self.from_budget(self.embedding(budgets))
        hidden = condition.new_zeros(n, self.hidden)
        memory = hidden
        last = budgets.new_full((n,), len(self.from_decision) - 1, dtype=torch.int64)
        columns: list[Tensor] = []
        log_probability = condition.new_zeros(n)
        entropy = condition.new_zeros(n)
        for column, token in enumerate(self.space.tokens):
            if token.parent < 0:
                present = torch.ones(n, dtype=torch.bool, device=budgets.device)
            else:
                present = columns[token.parent] >= token.needs
            everywhere = token.parent < 0 or token.needs == 0
            gates = condition + self.from_decision.index_select(0, last)
            gates = torch.addmm(gates, hidden, self.from_hidden)
            enter, forget, output, candidate = gates.chunk(4, 1)
            new_memory = forget.sigmoid() * memory + enter.sigmoid() * candidate.tanh()
            new_hidden = output.sigmoid() * new_memory.tanh()
            choices = len(token.choices)
            logits = (new_hidden @ self.heads[column] + self.biases[column])[:, :choices]
            log_probabilities = logits.log_softmax(1)
            with torch.no_grad():
                if generator is None:
                    choice = log_probabilities.argmax(1)
                else:
                    # Gumbel-max: one draw of the categorical distribution for every row
                    uniform = torch.rand(n, choices, generator=generator)
                    gumbel = -torch.log(-torch.log(uniform.clamp(1e-12, 1 - 1e-7)))
                    choice = (log_probabilities + gumbel.to(logits.device)).argmax(1)
            taken = log_probabilities.gather(1, choice[:, None])[:, 0]
            uncertainty = -(log_probabilities.exp() * log_probabilities).sum(1)
            decision = column * self.most + choice
            if everywhere:
                hidden, memory, last = new_hidden, new_memory, decision
            else:
                keep = present[:, None].float()
                hidden = hidden + keep * (new_hidden - hidden)
                memory = memory + keep * (new_memory - memory)
                last = torch.where(present, decision, last)
                taken, uncertainty = taken * keep[:, 0], uncertainty * keep[:, 0]
                choice = torch.where(present, choice, ABSENT)
            log_probability = log_probability + taken
            entropy = entropy + uncertainty
            columns.append(choice)
        return Rollout(torch.stack(columns, 1), log_probability, entropy)

    @property
    def own_budgets(self) -> Tensor:
        """(K,) trained budgets of the cost, or of the first of several."""
        budgets = self.embedding.budgets
        return budgets[:, 0] if budgets.ndim == 2 else budgets

    def sample(self, budgets: Tensor, generator: torch.Generator | None = None) -> Tokens:
        """(N, T) tokens of one architecture for each budget (the mode without a generator).

        Args:
            budgets: (N,) of the cost, or of the first of several without a limit for the others;
                (N, C) of several.
        """
        if self.asked.ndim == 1:
            asked = np.interp(budgets.double().cpu(), self.held.cpu(), self.asked.cpu())
            return self._tokens(torch.from_numpy(asked).to(self.asked.device), generator)
        vectors = self._alone(budgets, 0) if budgets.ndim == 1 else budgets.double().cpu()
        columns = [
            np.interp(column, held, ask)
            for column, held, ask in zip(
                vectors.T, self.held.T.cpu(), self.asked.T.cpu(), strict=True
            )
        ]
        several = torch.from_numpy(np.stack(columns, 1))
        several[~torch.isfinite(vectors)] = torch.inf
        return self._tokens(several.to(self.asked.device), generator)

    def _alone(self, budgets: Tensor, which: int) -> Tensor:
        """(N, C) vectors that limit one of several costs only."""
        vectors = torch.full((len(budgets), self.asked.shape[1]), torch.inf, dtype=torch.float64)
        vectors[:, which] = budgets.double().cpu()
        return vectors

    def calibrate(self, cost: Callable[[Tokens], Tensor], seed: int = 0) -> None:
        """Find, over the trained range, the cost that all but a few of f(B)'s draws hold.

        Of several costs it does so for each by itself, the others without a limit.

        Args:
            cost: (N, T) tokens to predicted costs (N,) or (N, C).
        """
        if self.asked.ndim == 1:
            self.held.copy_(self._what_is_held(self.asked, self.asked, cost, seed))
            return
        for c in range(self.asked.shape[1]):
            asked = self.asked[:, c]
            vectors = self._alone(asked, c).to(asked.device)

            def one(tokens: Tokens, c: int = c) -> Tensor:
                return cost(tokens)[:, c]

            self.held[:, c] = self._what_is_held(asked, vectors, one, seed)

    def _what_is_held(
        self, asked: Tensor, budgets: Tensor, cost: Callable[[Tokens], Tensor], seed: int
    ) -> Tensor:
        """(96,) the cost that all but a few draws hold, where f is asked at (96,) budgets.

        Args:
            budgets: what f gets for them: the same, or (96, C) vectors.
        """
        repeated = budgets.repeat_interleave(CALIBRATION_DRAWS, 0)
        costs = cost(self._tokens(repeated, torch.Generator().manual_seed(seed)))
        held = costs.double().view(-1, CALIBRATION_DRAWS).quantile(HELD, dim=1)
        # Never falling, and growing by a hair where it stands still, so that it can be inverted.
        hair = 1e-6 * (asked - asked[0]).cpu()
        return held.cummax(0).values + hair

    @torch.no_grad()
    def _tokens(self, budgets: Tensor, generator: torch.Generator | None) -> Tokens:
        tokens: Tokens = self(budgets, generator).tokens.to(torch.int8).cpu().numpy()
        return tokens


def _grid(budgets: Tensor) -> Tensor:
    """(96,) or (96, C) budgets over the trained range of the cost, or of each of several."""
    if budgets.ndim == 2:
        return torch.stack([_grid(column) for column in budgets.T], 1)
    return torch.linspace(
        float(budgets[0]), float(budgets[-1]), CALIBRATION_BUDGETS, dtype=torch.float64
    )
