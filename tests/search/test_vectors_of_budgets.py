"""Budgets of several costs at once: dominance, the embedding, what is drawn, and the answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from made_truth import LABELS, SPACE, Known, accuracy, cost, dominance
from test_several_budgets import ALL, problem
from test_several_budgets import SPACE as LISTED
from torch import Tensor

from pnag.search import vector_front
from pnag.search.budget_draws import BudgetDraws
from pnag.search.budgets import (
    BudgetEmbedding,
    VectorEmbedding,
    embedding_of,
    trained_budgets,
    within,
)
from pnag.search.dominance import dominance_ranks
from pnag.search.evaluator import EvaluatorSettings
from pnag.search.front import Floats, FrontSettings
from pnag.search.pnag import NoStore, PnagSettings, train_and_search
from pnag.search.policy_gradient import GeneratorSettings
from pnag.search.ranking_loss import ranking_loss
from pnag.search.several_budgets import best_within
from pnag.search.sources import F
from pnag.search.vector_front import (
    VectorSettings,
    answer_vector,
    best_of_vectors,
    find_vector_front,
)
from pnag.space import Tokens


def size(tokens: Tokens) -> Floats:
    """Another cost: what the first unit is large by is dear, unlike in `cost`."""
    values = SPACE.values(tokens).astype(float)
    return np.asarray(1 + values[:, 1:9:2].sum(1) + 0.3 * values[:, 10::2].sum(1))


SEVERAL = replace(LABELS, further=(Known(size),))


def dominance_of_several(accuracy: Tensor, cost: Tensor, budget: Tensor) -> Tensor:
    """(M, M) the rule for a vector of budgets, pair by pair."""
    m = len(accuracy)
    rule = torch.empty(m, m)
    for i in range(m):
        for j in range(m):
            both = bool((cost[i] <= budget).all() and (cost[j] <= budget).all())
            by_accuracy = bool(accuracy[i] >= accuracy[j])
            by_share = bool((cost[i] / budget).max() <= (cost[j] / budget).max())
            rule[i, j] = 1.0 if (by_accuracy if both else by_share) else -1.0
    return rule


def of_ranks(ranks: Tensor) -> Tensor:
    """(M, M) +1 where a rank is at least the other."""
    return torch.where(ranks[:, None] >= ranks[None], 1.0, -1.0)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("costs", [1, 2, 3])
def test_ranks_are_the_rule_pair_by_pair(seed: int, costs: int) -> None:
    random = torch.Generator().manual_seed(seed)
    accuracy = torch.randint(6, (40,), generator=random).double()
    cost = torch.randint(1, 9, (40, costs), generator=random).double()
    budgets = torch.randint(1, 9, (7, costs), generator=random).double()
    budgets[1, 0] = budgets[2] = torch.inf
    ranks = dominance_ranks(accuracy, cost, budgets)
    for k, budget in enumerate(budgets):
        assert torch.equal(of_ranks(ranks[k]), dominance_of_several(accuracy, cost, budget))


@pytest.mark.parametrize("seed", range(5))
def test_with_one_cost_the_rule_is_the_papers_to_the_letter(seed: int) -> None:
    """(E) case by case, with one column of costs, and with others that have no limit."""
    random = torch.Generator().manual_seed(seed)
    accuracy = torch.randint(9, (60,), generator=random).double()
    cost = torch.rand(60, generator=random, dtype=torch.float64) + 0.1
    cost[1] = torch.nextafter(cost[0], torch.tensor(9.0, dtype=torch.float64))
    budgets = torch.cat([cost[:3], torch.tensor([0.05, 0.5, 2.0, 1 / 3])])
    one = dominance_ranks(accuracy, cost, budgets)
    column = dominance_ranks(accuracy, cost[:, None], budgets[:, None])
    assert torch.equal(one, column)
    others = torch.rand(60, 2, generator=random, dtype=torch.float64)
    several = dominance_ranks(
        accuracy,
        torch.cat([cost[:, None], others], 1),
        torch.cat([budgets[:, None], torch.full((len(budgets), 2), torch.inf)], 1),
    )
    for k, budget in enumerate(budgets):
        rule = dominance(accuracy, cost, float(budget))
        assert torch.equal(of_ranks(one[k]), rule) and torch.equal(of_ranks(several[k]), rule)


def test_the_ranking_loss_is_that_of_all_pairs() -> None:
    random = torch.Generator().manual_seed(0)
    m = 30
    accuracy = torch.rand(m, generator=random, dtype=torch.float64)
    cost = torch.randint(1, 9, (m, 2), generator=random).double()
    budgets = torch.tensor([[4.0, 6.0], [torch.inf, 3.0], [7.0, torch.inf]], dtype=torch.float64)
    scores = torch.randn(3, m, generator=random, dtype=torch.float64)
    pairs = 0.0
    for k, budget in enumerate(budgets):
        sign = dominance_of_several(accuracy, cost, budget)
        hinge = (1 - (scores[k][:, None] - scores[k][None]) * sign).clamp(min=0)
        pairs += float(hinge.sum() - hinge.diagonal().sum())
    loss = ranking_loss(scores, dominance_ranks(accuracy, cost, budgets))
    assert float(loss) == pytest.approx(pairs / (3 * m * (m - 1)), rel=1e-12)


def test_embeddings_of_the_costs_add_up_and_no_limit_is_a_value() -> None:
    torch.manual_seed(0)
    budgets = torch.tensor([[1.0, 10.0], [2.0, 20.0], [4.0, 60.0]], dtype=torch.float64)
    embedding = embedding_of(budgets, 8)
    assert isinstance(embedding, VectorEmbedding)
    assert isinstance(embedding_of(budgets[:, 0], 8), BudgetEmbedding)
    assert torch.equal(embedding.budgets, budgets)
    torch.nn.init.normal_(embedding.unlimited)
    first, second = embedding.parts
    asked = torch.tensor([[1.5, 30.0], [1.5, torch.inf], [torch.inf, torch.inf]]).double()
    found = embedding(asked)
    ms, mb = first(asked[:1, 0])[0], second(asked[:1, 1])[0]
    none = embedding.unlimited
    for one, expected in zip(found, (ms + mb, ms + none[1], none[0] + none[1]), strict=True):
        assert torch.allclose(one, expected)
    found[2].sum().backward()
    assert none.grad is not None and bool((none.grad == 1).all())
    assert all(not bool(part.vectors.grad.any()) for part in embedding.parts)


@pytest.mark.parametrize("seed", range(2))
def test_what_is_drawn_binds_in_one_in_some_and_in_all_costs(seed: int) -> None:
    """In a space whose architectures can all be listed: what binds is known exactly."""
    value, costs = problem(seed)
    order = (-value(ALL)).argsort()
    of_all = costs(ALL)[order]

    def best(vector: Floats, without: int | None = None) -> int | None:
        kept = [c for c in range(3) if c != without]
        inside = (of_all[:, kept] <= vector[kept]).all(1)
        return int(inside.argmax()) if inside.any() else None

    some = LISTED.sample_stretched(2000, np.random.default_rng(seed))
    known = torch.from_numpy(np.concatenate([value(some)[:, None], costs(some)], 1))
    draws = BudgetDraws(trained_budgets(costs(some), 10), True, known)
    random = torch.Generator().manual_seed(0)
    vectors = torch.cat([draws.every(random) for _ in range(6)])
    assert vectors.shape == (6 * 30, 3) and draws.some(random).shape == (10, 3)
    found = [(vector, best(vector)) for vector in vectors.numpy()]
    binding = [
        sum((best(vector, c) or 0) < place for c in range(3))
        for vector, place in found
        if place is not None
    ]
    assert len(binding) > 0.85 * len(vectors)  # most can be held
    shares = np.bincount(binding, minlength=4) / len(binding)
    assert (shares[1:] > [0.2, 0.15, 0.005]).all(), shares
    limited = torch.isfinite(vectors).sum(1)
    assert [int((limited == n).sum()) / len(vectors) for n in (1, 2, 3)] == pytest.approx(
        [1 / 3] * 3, abs=0.09
    )
    fixed = replace(draws, jitter=False)
    for row, main in zip(fixed.every(random), [0, 1, 2] * 10, strict=True):
        if int(torch.isfinite(row).sum()) == 1:
            assert float(row[main]) in draws.budgets[:, main].tolist()


def test_a_cost_that_is_the_same_for_all_can_be_trained_for() -> None:
    """As the memory that some networks take, which their first layer decides."""
    costs = np.stack([np.geomspace(1, 100, 20), np.full(20, 7.0)], 1)
    budgets = trained_budgets(costs, 5)
    assert (budgets.diff(dim=0) > 0).all() and (budgets > 0).all()
    assert budgets[0, 0] == 0.5 and (budgets[:, 1] - 7).abs().max() < 0.4
    assert trained_budgets(np.zeros(3), 2).diff() > 0
    assert VectorEmbedding(budgets, 4)(budgets).isfinite().all()
    known = torch.from_numpy(np.concatenate([np.linspace(0.1, 0.9, 20)[:, None], costs], 1))
    vectors = BudgetDraws(budgets, True, known).every(torch.Generator().manual_seed(0))
    assert not vectors.isnan().any() and (vectors > 0).all()


def test_within_is_within_all() -> None:
    cost = torch.tensor([[1.0, 2.0], [3.0, 1.0]])
    assert within(cost, torch.tensor([[1.0, torch.inf], [3.0, 0.5]])).tolist() == [True, False]
    assert within(cost[:, 0], torch.tensor([0.5, 3.0])).tolist() == [False, True]


SETTINGS = PnagSettings(
    trained_budgets=6,
    evaluator=EvaluatorSettings(steps=60, hidden=64, embedding=16),
    generator=GeneratorSettings(
        iterations=180, samples=32, learning_rate=0.015, hidden=16, embedding=16, refine_every=10
    ),
    front=FrontSettings(budgets=16, draws=32, rounds=0),
)
VECTORS = VectorSettings(vectors=128, draws=8, rounds=10, children=512,
                         asked_draws=32, asked_rounds=8, asked_children=128)  # fmt: skip


@pytest.fixture(scope="module")
def trained() -> tuple[Tokens, vector_front.Generator]:
    """A small table, and f trained by vectors of budgets of two costs."""
    tokens = SPACE.sample_unique(80, np.random.default_rng(0))
    store = NoStore(SETTINGS, lambda done, total: None)
    taught, _ = train_and_search(
        tokens, accuracy(tokens), SEVERAL.costs(tokens), SEVERAL, SETTINGS, store
    )
    return tokens, taught.generator


def asked_vectors(count: int) -> Floats:
    """Budgets of what random architectures of all sizes have, and a little more; some unlimited."""
    rng = np.random.default_rng(7)
    costs = SEVERAL.costs(SPACE.sample_stretched(400, rng)[rng.permutation(400)[:count]])
    vectors = costs * rng.uniform(1, 1.3, costs.shape)
    vectors[::4, 0] = np.inf
    vectors[1::4, 1] = np.inf
    return np.asarray(vectors)


def test_f_holds_vectors_of_budgets_and_uses_them(
    trained: tuple[Tokens, vector_front.Generator],
) -> None:
    generator = trained[1]
    vectors = asked_vectors(40)
    random = torch.Generator().manual_seed(0)
    held, ahead = [], []
    for vector in vectors:
        drawn = generator.sample(torch.from_numpy(np.tile(vector, (50, 1))), random)
        inside = (SEVERAL.costs(drawn) <= vector).all(1)
        held.append(inside.mean())
        stretched = SPACE.sample_stretched(50, np.random.default_rng(1))
        mine = stretched[(SEVERAL.costs(stretched) <= vector).all(1)]
        best = accuracy(mine).max() if len(mine) else 0.5
        ahead.append(inside.any() and accuracy(drawn[inside]).max() > best)
    assert np.mean(held) > 0.8
    assert np.mean(ahead) > 0.65
    # Budgets of the first cost alone are asked without the others.
    alone = generator.sample(torch.full((50,), 20.0).double(), random)
    assert (cost(alone) <= 20).mean() > 0.7


def test_a_vector_is_answered_nearly_as_by_a_long_search(
    trained: tuple[Tokens, vector_front.Generator],
) -> None:
    tokens, generator = trained
    known = find_vector_front(SEVERAL, generator, asked_vectors(128), tokens, VECTORS)
    assert set(known.source.tolist()) <= {0, 1, 2} and len(known.tokens) <= 130
    rng = np.random.default_rng(3)
    costs = SEVERAL.costs(SPACE.sample_stretched(300, rng)[rng.permutation(300)[:20]])
    gaps = []
    for budgets in costs * rng.uniform(1, 1.3, costs.shape):
        one, share = answer_vector(
            SEVERAL, generator, known, SEVERAL.costs, budgets, budgets, VECTORS
        )
        assert share <= 1 and (SEVERAL.costs(one.tokens) <= budgets).all()
        assert one.accuracy[0] == accuracy(one.tokens)[0]
        long, _ = best_within(
            SPACE, tokens, accuracy, SEVERAL.costs, budgets,
            FrontSettings(rounds=30, children=512),
        )  # fmt: skip
        gaps.append(accuracy(long)[0] - one.accuracy[0])
    assert np.mean(gaps) < 0.002 and max(gaps) < 0.01


def test_what_comes_from_f_is_said_to(trained: tuple[Tokens, vector_front.Generator]) -> None:
    tokens, generator = trained
    settings = replace(VECTORS, rounds=0)
    nothing = tokens[:0]
    known = find_vector_front(SEVERAL, generator, asked_vectors(64), nothing, settings)
    assert set(known.source.tolist()) == {F}
    one, _ = answer_vector(
        SEVERAL, generator, known, SEVERAL.costs, np.array([25.0, 30.0]), np.array([25.0, 30.0]),
        replace(settings, asked_rounds=0),
    )  # fmt: skip
    assert one.source.tolist() == [F]


def test_a_space_that_is_known_in_full_has_an_answer(
    trained: tuple[Tokens, vector_front.Generator], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small spaces of a table's choices: soon there is no child that has not been seen."""
    tokens, f = trained
    few = tokens[:5]
    monkeypatch.setattr(vector_front, "breed", lambda space, parents, number, rng: parents)
    known = vector_front.Known(few, accuracy(few), SEVERAL.costs(few), np.full(5, F))
    loose = SEVERAL.costs(few).max(0)
    one, share = answer_vector(SEVERAL, f, known, SEVERAL.costs, loose, loose, VECTORS)
    assert share <= 1 and one.accuracy[0] >= accuracy(few).max()


def test_the_best_of_each_vector_by_hand() -> None:
    tokens = SPACE.sample_unique(200, np.random.default_rng(2))
    known = vector_front.Known.of(tokens, SEVERAL, 0)
    vectors = asked_vectors(30)
    chosen = set(best_of_vectors(known, vectors).tolist())
    for vector in vectors:
        inside = (known.costs <= vector).all(1)
        if inside.any():
            assert int(np.where(inside, known.accuracy, -1).argmax()) in chosen
            best = known.best(vector)
            assert best is not None and best in chosen
    assert set(known.costs.argmin(0).tolist()) <= chosen
    assert known.best(np.zeros(2)) is None
    twice = known.and_also(replace(known, source=known.source + 1))
    assert len(twice.tokens) == 200 and set(twice.source.tolist()) == {0}
