"""The exact loss against its brute-force twin, straight from Eqns. (E) and (F)."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pnag.search import active_pairs_cpu, active_pairs_gpu
from pnag.search.active_pairs_gpu import count_before
from pnag.search.dominance import dominance_ranks
from pnag.search.ranking_loss import ranking_loss


def d(accuracy: Tensor, cost: Tensor, budget: Tensor) -> Tensor:
    """(M, M) Eqn. (E), case by case."""
    both = (cost <= budget)[:, None] & (cost <= budget)[None]
    by_accuracy = torch.where(accuracy[:, None] >= accuracy[None], 1.0, -1.0)
    by_cost = torch.where(cost[:, None] <= cost[None], 1.0, -1.0)
    return torch.where(both, by_accuracy, by_cost).double()


def twin(scores: Tensor, accuracy: Tensor, cost: Tensor, budgets: Tensor) -> Tensor:
    """Eqn. (F) with every pair formed."""
    k, m = scores.shape
    total = scores.new_zeros(())
    for row, budget in zip(scores, budgets, strict=True):
        hinge = torch.relu(1 - (row[:, None] - row[None]) * d(accuracy, cost, budget))
        total = total + (hinge * (1 - torch.eye(m).double())).sum()
    return total / (k * m * (m - 1))


@settings(max_examples=60, deadline=None)
@given(
    m=st.integers(2, 60),
    k=st.integers(1, 4),
    levels=st.sampled_from([1, 2, 5, 10**6]),
    spread=st.sampled_from([0.0, 0.5, 3.0, 1e3]),
    seed=st.integers(0, 10**6),
)
def test_value_and_gradient_are_the_twins(
    m: int, k: int, levels: int, spread: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    accuracy = torch.randint(0, levels, (m,), generator=generator).double()
    cost = torch.randint(1, levels + 1, (m,), generator=generator).double()
    budgets = torch.rand(k, generator=generator).double() * (levels + 2)
    scores = torch.randn(k, m, generator=generator).double() * spread
    if levels <= 5:
        scores = (scores * 2).round() / 2  # differences of exactly 1: the hinge's corner
    exact = scores.clone().requires_grad_()
    brute = scores.clone().requires_grad_()
    a = ranking_loss(exact, dominance_ranks(accuracy, cost, budgets))
    b = twin(brute, accuracy, cost, budgets)
    (gradient,) = torch.autograd.grad(a, exact)
    (wanted,) = torch.autograd.grad(b, brute)
    assert torch.allclose(a, b, atol=1e-12)
    assert torch.allclose(gradient, wanted, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    m=st.integers(2, 200),
    ranks=st.sampled_from([1, 3, 200, 10**12]),
    seed=st.integers(0, 10**6),
)
def test_the_sweep_and_the_wavelet_matrix_count_the_same(m: int, ranks: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    rank = torch.randint(-ranks, ranks, (3, m), generator=generator)
    scores = (torch.randn(3, m, generator=generator).double() * 4).round() / 2
    swept = active_pairs_cpu.active_pairs(scores, rank)
    counted = active_pairs_gpu.active_pairs(scores, rank)
    assert torch.equal(swept[0], counted[0])
    assert torch.equal(swept[1], counted[1])


def test_margins_of_one_but_for_rounding_count_on_both_sides_or_none() -> None:
    generator = torch.Generator().manual_seed(0)
    accuracy, cost = torch.rand(2, 200, generator=generator).double()
    budgets = torch.tensor([0.3, 0.8]).double()
    scores = (torch.randn(2, 200, generator=generator).double() * 30).round() / 10
    ranks = dominance_ranks(accuracy, cost, budgets)
    for counting in (active_pairs_cpu, active_pairs_gpu):
        better, worse = counting.active_pairs(scores, ranks)
        assert torch.equal(better.sum(1), worse.sum(1))
    value = ranking_loss(scores, ranks)
    assert float(value) == pytest.approx(float(twin(scores, accuracy, cost, budgets)), rel=1e-12)


def test_float32_scores_lose_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    accuracy, cost = torch.rand(2, 3000, generator=generator).double()
    scores = torch.randn(2, 3000, generator=generator) * 5
    budgets = torch.tensor([0.3, 0.8]).double()
    value = ranking_loss(scores, dominance_ranks(accuracy, cost, budgets))
    assert float(value) == pytest.approx(
        float(twin(scores.double(), accuracy, cost, budgets)), rel=1e-6
    )


def test_counts_of_the_wavelet_matrix() -> None:
    generator = torch.Generator().manual_seed(0)
    places = torch.stack([torch.randperm(37, generator=generator) for _ in range(3)])
    prefixes = torch.randint(0, 38, (3, 50), generator=generator)
    bounds = torch.randint(0, 38, (3, 50), generator=generator)
    counted = count_before(places, prefixes, bounds)
    for k in range(3):
        for q in range(50):
            assert counted[k, q] == (places[k, : prefixes[k, q]] < bounds[k, q]).sum()


def test_dominance_is_feasible_first_then_accuracy_then_cost() -> None:
    accuracy = torch.tensor([0.7, 0.8, 0.9, 0.95])
    cost = torch.tensor([1.0, 2.0, 3.0, 4.0])
    ranks = dominance_ranks(accuracy, cost, torch.tensor([2.5]))[0]
    assert ranks.argsort(descending=True).tolist() == [1, 0, 2, 3]


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="must be one"):
        ranking_loss(torch.zeros(2, 3), torch.zeros(3, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match="two architectures"):
        ranking_loss(torch.zeros(2, 1), torch.zeros(2, 1, dtype=torch.int64))
