"""The generator's training follows the gradient of (A), held against all architectures at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pnag.search import budget_draws, policy_gradient
from pnag.search import evaluator as evaluators
from pnag.search.budget_draws import BudgetDraws
from pnag.search.budgets import even_budgets, jittered
from pnag.search.evaluator import Evaluator, EvaluatorSettings, train_evaluator
from pnag.search.generator import Generator
from pnag.search.policy_gradient import Baseline, GeneratorSettings, surrogate, train_generator
from pnag.space.search_space import SearchSpace, Token, Tokens
from pnag.threads import torch_threads

SMALL = SearchSpace(
    (
        Token("a", (1, 2)),
        Token("a.x", (1, 2, 3), 0, 1),
        Token("a.y", (1, 2, 3), 0, 1),
        Token("b", (1, 2)),
    )
)
BUDGETS = even_budgets(1, 2, 2)
DRAWS = 60_000


@pytest.fixture
def generator() -> Generator:
    """One whose choices are neither sure nor open, and hang on those before."""
    torch.manual_seed(3)
    made = Generator(SMALL, BUDGETS, hidden=8, dimension=4)
    with torch.no_grad():
        made.heads.mul_(120)
        made.from_hidden.mul_(2)
    return made


def gradient(generator: Generator, value: Tensor) -> Tensor:
    generator.zero_grad()
    value.backward()
    parts = [p.grad.flatten() for p in generator.parameters() if p.grad is not None]
    return torch.cat(parts)


def each_once(generator: Generator) -> tuple[Tensor, Tensor]:
    """(A, T) every architecture, and (A,) its probability under f, for gradients."""
    rollout = generator(torch.full((20_000,), 1.5), torch.Generator().manual_seed(1))
    _, first = np.unique(rollout.tokens.numpy(), axis=0, return_index=True)
    assert len(first) == SMALL.size == 20
    probability = rollout.log_probability[first].exp()
    assert float(probability.detach().sum()) == pytest.approx(1, abs=1e-5)
    return rollout.tokens[first], probability


def reward(tokens: Tensor) -> Tensor:
    return (tokens.float() * torch.tensor([1.0, -2.0, 0.5, 3.0])).sum(1) + 10


def off(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("samples", [2, 64])
def test_the_gradient_of_the_expected_reward(generator: Generator, samples: int) -> None:
    tokens, probability = each_once(generator)
    wanted = gradient(generator, (probability * reward(tokens)).sum())
    rollout = generator(torch.full((DRAWS,), 1.5), torch.Generator().manual_seed(2))
    rewards = reward(rollout.tokens)
    own = Baseline().advantage(
        rewards[: DRAWS // samples * samples].view(-1, samples), scaled=False
    )
    advantage = torch.cat([own.flatten(), torch.zeros(DRAWS % samples)])
    found = gradient(generator, surrogate(rollout, advantage, torch.zeros(DRAWS), 0.0))
    assert off(found, wanted) < 0.06


def test_the_gradient_of_the_entropy(generator: Generator) -> None:
    """Both its parts: without the second one it is off by more than a third."""
    _, probability = each_once(generator)
    wanted = gradient(generator, -(probability * probability.log()).sum())
    rollout = generator(torch.full((DRAWS,), 1.5), torch.Generator().manual_seed(2))
    nothing = torch.zeros(DRAWS)
    variety = Baseline().advantage(rollout.entropy.detach().view(-1, 60), scaled=False).flatten()
    found = gradient(generator, surrogate(rollout, nothing, variety, 1.0))
    assert off(found, wanted) < 0.06
    rollout = generator(torch.full((DRAWS,), 1.5), torch.Generator().manual_seed(2))
    biased = gradient(generator, surrogate(rollout, nothing, nothing, 1.0))
    assert off(biased, wanted) > 0.35


def test_entropy_alone_opens_every_choice() -> None:
    """Climbing it leads to all 20 architectures alike: the largest entropy that there is."""
    labels = torch.zeros(1)

    def describe(tokens: Tokens) -> tuple[Tensor, Tensor, Tensor]:
        n = len(tokens)
        return torch.zeros(n, SMALL.num_features + 2), labels.expand(n), labels.expand(n)

    evaluator = Evaluator(SMALL.num_features + 2, BUDGETS, 4, 4)  # finds all equally good
    settings = GeneratorSettings(
        iterations=300, samples=64, hidden=8, embedding=4, refine_steps=0, learning_rate=0.03,
        entropy=1.0, final_entropy=1.0,
    )  # fmt: skip
    generator, _ = train_generator(SMALL, evaluator, BUDGETS, describe, settings)
    _, probability = each_once(generator)
    entropy = -float((probability * probability.log()).sum().detach())
    # With the first part of the gradient alone, "a" is halved, though one of its choices leads to
    # 2 architectures and the other to 18: 2 log 2 + (log 9) / 2 = 2.48 instead of log 20 = 3.00.
    assert entropy > np.log(20) - 0.02


def small_problem() -> tuple[Evaluator, Any]:
    features = torch.rand(30, SMALL.num_features + 2, generator=torch.Generator().manual_seed(0))
    cost = features[:, 0].double() + 1
    evaluator, _ = train_evaluator(
        features, features[:, 1].double(), cost, BUDGETS, EvaluatorSettings(steps=3, hidden=8)
    )

    def describe(tokens: Tokens) -> tuple[Tensor, Tensor, Tensor]:
        one_hot = torch.from_numpy(SMALL.features(tokens))
        cost = torch.from_numpy(tokens.sum(1)).double() / 4 + 1.5
        return torch.cat([one_hot, cost.float()[:, None].expand(-1, 2)], 1), cost, cost

    return evaluator, describe


def train(**settings: Any) -> None:
    evaluator, describe = small_problem()
    own = GeneratorSettings(iterations=2, samples=8, hidden=4, embedding=4, refine_every=1,
                            **settings)  # fmt: skip
    train_generator(SMALL, evaluator, BUDGETS, describe, own)


class Watching:
    """Makes `BudgetDraws` that jitter by a function of a test's own."""

    def __init__(self, jitter: Any) -> None:
        self.jitter = jitter

    def __call__(self, *arguments: Any) -> BudgetDraws:
        draws = BudgetDraws(*arguments)
        some = draws.some

        def watched(random: torch.Generator) -> Tensor:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(budget_draws, "jittered", self.jitter)
                return some(random)

        object.__setattr__(draws, "some", watched)
        return draws


def test_what_the_paper_does_not_do_can_be_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jitter in all three places, the clipped norm, and rewards in units of their deviation."""
    asked: list[str] = []
    advantages: list[Tensor] = []

    def watched(name: str, function: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            asked.append(name)
            return function(*arguments, **options)

        return call

    def kept(rollout: Any, advantage: Tensor, *others: Any) -> Tensor:
        advantages.append(advantage)
        return surrogate(rollout, advantage, *others)

    clip = torch.nn.utils.clip_grad_norm_
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", watched("clip", clip))
    for name, module in (("jitter", policy_gradient), ("table", evaluators)):
        monkeypatch.setattr(module, "BudgetDraws", Watching(watched(name, jittered)))
    monkeypatch.setattr(policy_gradient, "surrogate", kept)
    monkeypatch.setattr(Evaluator, "paired", lambda self, f, b: 1000 * f.sum(1) * f[:, 0])
    train(refine_steps=0)
    assert {"clip", "jitter", "table"} <= set(asked) and advantages[0].abs().max() <= 4
    asked.clear()
    train(refine_steps=0, jitter=False, clip=None, scale_rewards=False)
    assert set(asked) == {"table"} and advantages[-1].abs().max() > 100
    assert float(advantages[-1].view(2, 8).mean(1).abs().max()) < 1e-2  # less their mean


def test_refinement_takes_the_trained_budgets_too(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse = Watching(lambda *_: pytest.fail("asked for jitter"))
    monkeypatch.setattr(policy_gradient, "BudgetDraws", refuse)
    train(refine_steps=2, jitter=False)
    monkeypatch.setattr(evaluators, "BudgetDraws", refuse)
    features = torch.rand(30, SMALL.num_features + 2)
    settings = EvaluatorSettings(steps=3, hidden=8, jitter=False)
    train_evaluator(features, features[:, 0], features[:, 1] + 1, BUDGETS, settings)


def test_few_draws_are_worked_on_by_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []
    forward = Generator.forward

    def watched(self: Generator, *arguments: Any) -> Any:
        threads.append(torch.get_num_threads())
        return forward(self, *arguments)

    monkeypatch.setattr(Generator, "forward", watched)
    with torch_threads(2):
        train(refine_steps=0)
    assert threads[:2] == [1, 1] and threads[-1] == 2  # calibration draws many at once
