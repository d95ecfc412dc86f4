"""Training of the generator: policy gradient on the evaluator's score, with entropy (A), (B)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from pnag.ranges import Interval, check_ranges
from pnag.search.budgets import jittered
from pnag.search.dominance import dominance_ranks
from pnag.search.evaluator import Evaluator, Progress
from pnag.search.generator import Generator, Rollout
from pnag.search.ranking_loss import ranking_loss
from pnag.space import SearchSpace, Tokens
from pnag.threads import threads_for

Describe = Callable[[Tokens], tuple[Tensor, Tensor, Tensor]]
"""Tokens (N, T) to the evaluator's features (N, F), accuracy (N,) and cost (N,)."""


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

    def __post_init__(self) -> None:
        check_ranges(self)
        if (self.entropy == 0) != (self.final_entropy == 0):
            raise ValueError(
                f"entropy is {self.entropy} and final_entropy is {self.final_entropy}: what falls "
                "by equal factors is nowhere 0; set both to 0, or neither"
            )

    def entropy_weight(self, done: float) -> float:
        """Lambda of (A), when a share `done` of the iterations is done."""
        if self.entropy == 0:
            return 0.0
        fall: float = (self.final_entropy / self.entropy) ** done
        return self.entropy * fall


class Baseline:
    """Centres rewards on what is usual for their budget, in units of their usual deviation.

    Of several samples that is their own mean and deviation. Of the paper's one it is the running
    mean and deviation of the budget's earlier samples, as in ENAS: the policy gradient's mean stays
    the same, for what is subtracted does not depend on the sample.
    """

    DECAY = 0.95

    def __init__(self) -> None:
        self._mean: Tensor | None = None
        self._square: Tensor | None = None

    def advantage(self, rewards: Tensor) -> Tensor:
        """(K, N) rewards of K budgets to (K, N) advantages, of at most 4 deviations."""
        if rewards.shape[1] > 1:
            centred = rewards - rewards.mean(1, keepdim=True)
            deviation = centred.std(1, keepdim=True)
        else:
            if self._mean is None or self._square is None:  # nothing is usual yet
                self._mean, self._square = rewards.clone(), torch.ones_like(rewards)
            centred = rewards - self._mean
            deviation = self._square.sqrt()
            self._mean = self._mean + (1 - self.DECAY) * centred
            self._square = self._square + (1 - self.DECAY) * (centred**2 - self._square)
        return (centred / (deviation + 1e-3)).clamp(-4, 4)


def train_generator(
    space: SearchSpace,
    evaluator: Evaluator,
    budgets: Tensor,
    describe: Describe,
    settings: GeneratorSettings,
    *,
    seed: int = 0,
    progress: Progress = lambda done, total, reward: None,
) -> tuple[Generator, list[float]]:
    """Maximise Eqn. (A), the expected R plus entropy, by its policy gradient (B).

    R's scale differs from budget to budget, so the reward is centred on the mean of the budget's
    samples (the baseline) and divided by their deviation.

    Args:
        evaluator: refined in place, unless `refine_steps` is 0.
        budgets: (K,) trained budgets; each iteration draws one from around each.

    Returns:
        The generator and, for each iteration, the mean true-or-predicted accuracy of the sampled
        architectures that hold their budget.
    """
    k, n = len(budgets), settings.samples
    random = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        generator = Generator(space, budgets, settings.hidden, settings.embedding)
    device = next(evaluator.parameters()).device
    generator.to(device)
    optimizer = torch.optim.Adam(generator.parameters(), lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimizer, settings.iterations, settings.learning_rate / 30
    )
    refiner = torch.optim.Adam(evaluator.parameters(), lr=settings.refine_learning_rate)
    latest: list[tuple[Tensor, Tensor, Tensor]] = []  # per iteration: (K, N, F), (K, N), (K, N)
    rewards: list[float] = []
    baseline = Baseline()
    for iteration in range(settings.iterations):
        drawn = jittered(budgets, random).repeat_interleave(n)
        with threads_for(k * n):
            rollout = generator(drawn, random)
        with torch.no_grad():
            tokens = rollout.tokens.to(torch.int8).cpu().numpy()
            features, accuracy, cost = (x.to(device) for x in describe(tokens))
            scores = evaluator.paired(features, drawn).view(k, n)
            advantage = baseline.advantage(scores).view(-1)
        weight = settings.entropy_weight(iteration / settings.iterations)
        ascend(generator, optimizer, rollout, advantage, weight)
        schedule.step()

        latest.append((features.view(k, n, -1), accuracy.view(k, n), cost.view(k, n)))
        latest = latest[-max(1, settings.refine_pool // n) :]
        due = settings.refine_steps and (iteration + 1) % settings.refine_every == 0
        if due and len(latest) * n > 1:  # a single one has nothing to be ranked among
            _refine(evaluator, refiner, latest, budgets, settings.refine_steps, random)
        held = cost <= drawn
        rewards.append(float(accuracy[held].mean()) if bool(held.any()) else float("nan"))
        progress(iteration + 1, settings.iterations, rewards[-1])
    generator.calibrate(lambda tokens: describe(tokens)[2], seed)
    return generator.eval(), rewards


def ascend(
    generator: Generator,
    optimizer: torch.optim.Optimizer,
    rollout: Rollout,
    advantage: Tensor,
    entropy: float,
) -> None:
    """One step along the policy gradient (B) of a rollout of N architectures.

    Args:
        advantage: (N,) reward less its baseline. entropy: weight of the entropy, lambda in (A).
    """
    objective = (rollout.log_probability * advantage + entropy * rollout.entropy).mean()
    with threads_for(len(advantage)):
        optimizer.zero_grad()
        (-objective).backward()
        nn.utils.clip_grad_norm_(generator.parameters(), 1.0)
        optimizer.step()


def _refine(
    evaluator: Evaluator,
    optimizer: torch.optim.Optimizer,
    latest: list[tuple[Tensor, Tensor, Tensor]],
    budgets: Tensor,
    steps: int,
    random: torch.Generator,
) -> None:
    """Rank the latest architectures of each budget among each other, by the same loss (F)."""
    features, accuracy, cost = (torch.cat(part, 1) for part in zip(*latest, strict=True))
    k, pool, _ = features.shape
    for _ in range(steps):
        drawn = jittered(budgets, random)
        ranks = torch.cat(
            [dominance_ranks(accuracy[i], cost[i], drawn[i : i + 1]) for i in range(k)]
        )
        scores = evaluator.paired(features.flatten(0, 1), drawn.repeat_interleave(pool))
        loss = ranking_loss(scores.view(k, pool), ranks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
