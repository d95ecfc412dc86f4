"""Training of the generator: policy gradient on the evaluator's score, with entropy (A), (B)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from pnag.ranges import Interval, check_ranges
from pnag.search.budget_draws import BudgetDraws
from pnag.search.budgets import within
from pnag.search.dominance import dominance_ranks
from pnag.search.evaluator import Evaluator, Progress
from pnag.search.generator import Generator, Rollout
from pnag.search.ranking_loss import ranking_loss
from pnag.space import SearchSpace, Tokens
from pnag.threads import threads_for

Describe = Callable[[Tokens], tuple[Tensor, Tensor, Tensor]]
"""Tokens (N, T) to the evaluator's features (N, F), accuracy (N,) and cost (N,) or (N, C)."""


@dataclass(frozen=True)
class GeneratorSettings:
    """How the generator is trained.

    The paper takes 120,000 iterations of Adam at 3e-4 with N = 1 sample for each of K = 10
    budgets: 1.2 million architectures one by one. Here an iteration has `samples` for each
    budget at once, with an advantage over that budget's mean (`Baseline`).

    Every `refine_every` iterations the evaluator takes `refine_steps` further steps on the ranking
    loss among the `refine_pool` latest architectures generated for each budget, labelled by the
    predictors: of uniform samples hardly any lie near a small budget (0.1 % in the paper's
    space), so the loss over them alone leaves R nearly blind just where the generator works.

    Attributes:
        jitter: draw each budget from around a trained one, so that f learns those between them.
        scale_rewards: divide a budget's advantages by their deviation, and clip them at 4; without
            it they are R less its baseline, in R's own scale.
        clip: the gradient's largest norm; None does not clip.
    """

    iterations: Annotated[int, Interval(ge=1, le=100_000_000)] = 400
    samples: Annotated[int, Interval(ge=1, le=65_536)] = 64
    learning_rate: Annotated[float, Interval(gt=0, le=1)] = 4e-3
    entropy: Annotated[float, Interval(ge=0, le=1000)] = 0.1
    final_entropy: Annotated[float, Interval(ge=0, le=1000)] = 1e-2
    hidden: Annotated[int, Interval(ge=1, le=8192)] = 64
    embedding: Annotated[int, Interval(ge=1, le=8192)] = 64
    refine_every: Annotated[int, Interval(ge=1, le=100_000_000)] = 20
    refine_steps: Annotated[int, Interval(ge=0, le=1_000_000)] = 10
    refine_pool: Annotated[int, Interval(ge=2, le=1_000_000)] = 768
    refine_learning_rate: Annotated[float, Interval(gt=0, le=1)] = 2e-3
    jitter: bool = True
    scale_rewards: bool = True
    clip: Annotated[float, Interval(gt=0)] | None = 1.0

    def __post_init__(self) -> None:
        check_ranges(self)
        if (self.entropy == 0) != (self.final_entropy == 0):
            raise ValueError(
                f"entropy is {self.entropy} and final_entropy is {self.final_entropy}: a "
                "rate that falls by equal factors never reaches 0; set both to 0, or neither"
            )

    def entropy_weight(self, done: float) -> float:
        """Lambda of (A), when a share `done` of the iterations is done."""
        if self.entropy == 0:
            return 0.0
        fall: float = (self.final_entropy / self.entropy) ** done
        return self.entropy * fall


class Baseline:
    """What is usual for a budget: subtracted, it lowers the policy gradient's variance.

    For one of several samples that is the mean of the others. For the paper's one it is the running
    mean of the budget's earlier samples, as in ENAS. The gradient's mean stays the same,
    because what is subtracted does not depend on the sample.
    """

    DECAY = 0.95

    def __init__(self) -> None:
        self._mean: Tensor | None = None
        self._square: Tensor | None = None

    def advantage(self, values: Tensor, *, scaled: bool = True) -> Tensor:
        """(K, N) values of K budgets less what is usual for theirs.

        Args:
            scaled: in usual deviations, of which they are 4 at most.
        """
        surplus, deviation = self._surplus(values)
        return (surplus / (deviation + 1e-3)).clamp(-4, 4) if scaled else surplus

    def _surplus(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """(K, N) values less what is usual, and (K, 1) their usual deviation."""
        n = values.shape[1]
        if n > 1:
            centred = values - values.mean(1, keepdim=True)
            return centred * (n / (n - 1)), centred.std(1, keepdim=True)
        if self._mean is None or self._square is None:  # nothing is usual yet
            self._mean, self._square = values.clone(), torch.ones_like(values)
        centred, deviation = values - self._mean, self._square.sqrt()
        self._mean = self._mean + (1 - self.DECAY) * centred
        self._square = self._square + (1 - self.DECAY) * (centred**2 - self._square)
        return centred, deviation


def train_generator(
    space: SearchSpace,
    evaluator: Evaluator,
    budgets: Tensor,
    describe: Describe,
    settings: GeneratorSettings,
    *,
    known: Tensor | None = None,
    seed: int = 0,
    progress: Progress = lambda done, total, reward: None,
) -> tuple[Generator, list[float]]:
    """Maximise Eqn. (A), the expected R plus entropy, by its policy gradient (B).

    R's scale differs from budget to budget, so the reward is centred on the mean of the budget's
    samples (the baseline) and, unless `scale_rewards` is off, divided by their deviation.

    Args:
        evaluator: refined in place, unless `refine_steps` is 0.
        budgets: (K,) trained budgets; unless `jitter` is off, each iteration draws one from around
            each. Of C costs (K, C); each iteration draws K C vectors, and for each a C-th of the
            samples.
        known: (P, 1 + C) of several costs, what vectors of budgets are drawn by (`BudgetDraws`).

    Returns:
        The generator and, for each iteration, the mean true-or-predicted accuracy of the sampled
        architectures that hold their budget.
    """
    draws = BudgetDraws(budgets, settings.jitter, budgets if known is None else known)
    k = draws.rows
    n = max(1, settings.samples * len(budgets) // k)
    random = torch.Generator().manual_seed(seed)
    device = next(evaluator.parameters()).device
    generator = _fresh_generator(space, budgets, settings, seed).to(device)
    optimizer = torch.optim.Adam(generator.parameters(), lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimizer, settings.iterations, settings.learning_rate / 30
    )
    refinement = _Refinement(evaluator, draws, n, settings, random)
    usual_score, usual_entropy = Baseline(), Baseline()
    accuracies: list[float] = []
    for iteration in range(settings.iterations):
        drawn = draws.every(random).repeat_interleave(n, 0)
        with threads_for(k * n):
            rollout = generator(drawn, random)
        with torch.no_grad():
            tokens = rollout.tokens.to(torch.int8).cpu().numpy()
            features, accuracy, cost = (x.to(device) for x in describe(tokens))
            scores = evaluator.paired(features, drawn).view(k, n)
            advantage = usual_score.advantage(scores, scaled=settings.scale_rewards)
            variety = usual_entropy.advantage(rollout.entropy.view(k, n), scaled=False)
        weight = settings.entropy_weight(iteration / settings.iterations)
        objective = surrogate(rollout, advantage.view(-1), variety.view(-1), weight)
        with threads_for(k * n):
            ascend(generator, optimizer, objective, settings.clip)
        schedule.step()
        refinement.after(iteration, features, accuracy, cost)
        accuracies.append(float(accuracy[within(cost, drawn)].mean()))  # NaN of none
        progress(iteration + 1, settings.iterations, accuracies[-1])
    generator.calibrate(lambda tokens: describe(tokens)[2], seed)
    return generator.eval(), accuracies


def _fresh_generator(
    space: SearchSpace, budgets: Tensor, settings: GeneratorSettings, seed: int
) -> Generator:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Generator(space, budgets, settings.hidden, settings.embedding)


def surrogate(rollout: Rollout, advantage: Tensor, variety: Tensor, weight: float) -> Tensor:
    """A number whose gradient is an unbiased estimate of (B), from a rollout of N architectures.

    The policy's entropy is the mean, over the architectures that f draws, of the sum h of their
    decisions' entropies. So its gradient has two parts: the mean of h's own gradient, and, since f
    draws them, that of grad log pi times h, which makes architectures likelier whose decisions are
    open.

    Args:
        advantage: (N,) reward less its baseline. variety: (N,) h less its baseline.
        weight: of the entropy, lambda in (A).
    """
    gain = (advantage + weight * variety).detach()
    return (rollout.log_probability * gain + weight * rollout.entropy).mean()


def ascend(
    generator: Generator,
    optimizer: torch.optim.Optimizer,
    objective: Tensor,
    clip: float | None,
) -> None:
    """One step of the generator along the gradient of an objective.

    Args:
        clip: the gradient's largest norm; None does not clip.
    """
    optimizer.zero_grad()
    (-objective).backward()
    if clip is not None:
        nn.utils.clip_grad_norm_(generator.parameters(), clip)
    optimizer.step()


class _Refinement:
    """Keeps the latest draws of each budget, and trains R on them from time to time.

    Args:
        evaluator: trained in place. samples: N of each budget in an iteration.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        draws: BudgetDraws,
        samples: int,
        settings: GeneratorSettings,
        random: torch.Generator,
    ) -> None:
        self.evaluator, self.draws, self.samples = evaluator, draws, samples
        self.settings, self.random = settings, random
        rate = settings.refine_learning_rate
        self.optimizer = torch.optim.Adam(evaluator.parameters(), lr=rate)
        # per iteration: (K, N, F), (K, N), (K, N) or (K, N, C)
        self.latest: list[tuple[Tensor, Tensor, Tensor]] = []

    def after(self, iteration: int, features: Tensor, accuracy: Tensor, cost: Tensor) -> None:
        """Take an iteration's draws, and train where it is time for that.

        Args:
            iteration: from 0. features: (K N, F), accuracy: (K N,), cost: (K N,) or (K N, C).
        """
        s, sizes = self.settings, (self.draws.rows, self.samples)
        draws = (
            features.unflatten(0, sizes), accuracy.unflatten(0, sizes), cost.unflatten(0, sizes)
        )  # fmt: skip
        self.latest = [*self.latest, draws][-max(1, s.refine_pool // s.samples) :]
        due = s.refine_steps and (iteration + 1) % s.refine_every == 0
        if due and len(self.latest) * self.samples > 1:  # a single one cannot be ranked
            self._train()

    def _train(self) -> None:
        """Rank the latest architectures of each budget among each other, by the same loss (F)."""
        parts = zip(*self.latest, strict=True)
        features, accuracy, cost = (torch.cat(part, 1) for part in parts)
        k, pool, _ = features.shape
        for _ in range(self.settings.refine_steps):
            drawn = self.draws.every(self.random)
            ranks = torch.cat(
                [dominance_ranks(accuracy[i], cost[i], drawn[i : i + 1]) for i in range(k)]
            )
            scores = self.evaluator.paired(features.flatten(0, 1), drawn.repeat_interleave(pool, 0))
            loss = ranking_loss(scores.view(k, pool), ranks)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
