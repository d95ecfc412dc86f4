"""NAS-MO and OFA-MO: the generator trained for one budget at a time by MnasNet's reward.

MnasNet's reward is accuracy * (cost / B)^w, in two variants: soft (w = -0.07 on both sides of B)
and hard (w = 0 within B, -1 beyond). The paper compares with it under two names, and where its
supplement uses them neither is spelled out. Our reading:

- both train the LSTM generator for the budget B alone by policy gradient on the reward, with as
  many samples as our own generator's training spends on one budget, and draw the same number of
  architectures from it;
- **NAS-MO** answers, as neural architecture search does, with the one of the best reward, which may
  cost more than B;
- **OFA-MO** answers, as Once-for-All selects, with the best predicted accuracy among those whose
  predicted cost is within B, and with the cheapest one where none is.

The default is the hard variant. In the soft one B^0.07 is a constant factor: the same architecture
is the best one for every B, while the latencies that the paper prints for NAS-MO follow the budget.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch

from pnag.search.front import Floats
from pnag.search.generator import Generator
from pnag.search.methods.problem import Problem, Progress, infeasible, silent
from pnag.search.policy_gradient import GeneratorSettings, ascend, surrogate
from pnag.space import Tokens
from pnag.threads import threads_for


@dataclass(frozen=True)
class MultiObjectiveSettings:
    """The reward, the training of one budget's generator, and the draws.

    Attributes:
        within, beyond: the reward's exponent for costs within and beyond the budget.
        draws: architectures that an answer is chosen from.
        generator: as our own one is trained; there is no evaluator to refine.
    """

    within: float = 0.0
    beyond: float = -1.0
    draws: int = 1000
    generator: GeneratorSettings = field(default_factory=GeneratorSettings)

    def __post_init__(self) -> None:
        if self.generator.samples < 2:
            raise ValueError("generator.samples must be at least 2: their mean is the baseline")


Choose = Callable[[Floats, Floats, Floats, float], int]
"""Reward, accuracy and cost (N,) of the draws, and the budget, to the chosen one's index."""


def _best_reward(reward: Floats, accuracy: Floats, cost: Floats, budget: float) -> int:
    return int(reward.argmax())


def _best_within(reward: Floats, accuracy: Floats, cost: Floats, budget: float) -> int:
    within = cost <= budget
    return int(np.where(within, accuracy, -np.inf).argmax() if within.any() else cost.argmin())


@dataclass(frozen=True)
class MultiObjective:
    """A generator for each budget, trained when the budget is first asked for."""

    problem: Problem
    seed: int = 0
    progress: Progress = silent
    settings: MultiObjectiveSettings = field(default_factory=MultiObjectiveSettings)
    choose: Choose = field(kw_only=True)
    _generators: dict[float, Generator] = field(default_factory=dict, kw_only=True)

    def answer(self, budget: float) -> Tokens:
        """(1, T) the chosen one of the draws; it may cost more than the budget.

        Raises:
            PnagError: if everything known, the table and the draws, costs more than the budget.
        """
        tokens = self.generate(budget, self.settings.draws)
        accuracy, cost = self.problem.label(tokens)
        cheapest = min(float(cost.min()), float(self.problem.cost.min()))
        if budget < cheapest:
            raise infeasible(budget, cheapest)
        reward = mnasnet_reward(accuracy, cost, budget, self.settings)
        chosen = self.choose(reward, accuracy, cost, budget)
        return tokens[chosen : chosen + 1]

    def generate(self, budget: float, n: int) -> Tokens:
        """(n, T) draws from the budget's generator, not selected by their cost."""
        if budget <= 0:  # the reward divides by it
            raise infeasible(budget, float(self.problem.cost.min()))
        if self.settings.within == self.settings.beyond:
            # B is a constant factor of the reward, so that one generator serves every budget.
            budget = float(np.median(self.problem.cost))
        if budget not in self._generators:
            self._generators[budget] = train_for_budget(
                self.problem, budget, self.settings, self.seed, self.progress
            )
        budgets = torch.full((n,), budget, dtype=torch.float64)
        random = torch.Generator().manual_seed(self.seed)
        return self._generators[budget].sample(budgets, random)


nas_mo = partial(MultiObjective, choose=_best_reward)
"""NAS-MO: answers with the best reward."""
ofa_mo = partial(MultiObjective, choose=_best_within)
"""OFA-MO: answers with the best accuracy within the budget."""


def mnasnet_reward(
    accuracy: Floats, cost: Floats, budget: float, settings: MultiObjectiveSettings
) -> Floats:
    """(N,) accuracy * (cost / B)^w of N architectures; w may differ within and beyond B."""
    exponent = np.where(cost <= budget, settings.within, settings.beyond)
    # A predictor may extrapolate a cost to nothing or less, whose power does not exist.
    reward: Floats = accuracy * np.maximum(cost / budget, 1e-6) ** exponent
    return reward


def train_for_budget(
    problem: Problem, budget: float, settings: MultiObjectiveSettings, seed: int, progress: Progress
) -> Generator:
    """Maximise the expected reward under one budget, plus entropy, by its policy gradient."""
    s = settings.generator
    random = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # The budget embedding needs two; the lower one is never asked for.
        anchors = torch.tensor([0.9 * budget, budget], dtype=torch.float64)
        generator = Generator(problem.space, anchors, s.hidden, s.embedding)
    budgets = torch.full((s.samples,), budget, dtype=torch.float64)
    optimizer = torch.optim.Adam(generator.parameters(), lr=s.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimizer, s.iterations, s.learning_rate / 30
    )
    for iteration in range(s.iterations):
        with threads_for(s.samples):
            rollout = generator(budgets, random)
        accuracy, cost = problem.label(rollout.tokens.to(torch.int8).numpy())
        reward = mnasnet_reward(accuracy, cost, budget, settings)
        # Rewards differ by little more than a hundredth: centred and in units of their deviation.
        standard = (reward - reward.mean()) / (reward.std() + 1e-9)
        advantage = torch.from_numpy(standard.clip(-4, 4)).float()
        variety = rollout.entropy.detach() - rollout.entropy.detach().mean()
        weight = s.entropy_weight(iteration / s.iterations)
        objective = surrogate(rollout, advantage, variety, weight)
        with threads_for(s.samples):
            ascend(generator, optimizer, objective, s.clip)
        schedule.step()
        progress(iteration + 1, s.iterations)
    return generator.eval()
