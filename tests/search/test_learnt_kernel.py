"""The Gaussian process that learns how alike choices are."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pnag.search.front import Floats
from pnag.search.gaussian_process import fit_gaussian_process
from pnag.search.learnt_kernel import Likeness, _loss, fit_learnt
from pnag.space import SearchSpace, Tokens
from pnag.space.choices import ChoiceSpace
from pnag.space.search_space import Token

CELLS = SearchSpace(tuple(Token(f"edge{i}", tuple(range(5))) for i in range(6)))
WORTH = np.array([-2.0, -1.9, 0.5, 0.6, 2.0])  # of a choice, on whatever edge: 0 and 1 are alike


def worth_of(tokens: Tokens) -> Floats:
    """The choices' worths, and what neighbours of them do together."""
    worths = WORTH[tokens]
    return np.asarray(worths.sum(1) + (worths[:, 1:] * worths[:, :-1]).sum(1) / 2)


def error(predicted: Floats, truth: Floats) -> float:
    """Root of the mean square, as a share of the truth's deviation."""
    return float(np.sqrt(np.square(predicted - truth).mean()) / truth.std())


def test_choices_that_do_the_same_are_learnt_to_be_alike() -> None:
    known, other = np.split(CELLS.sample_unique(800, np.random.default_rng(0)), [100])
    learnt = fit_learnt(CELLS, known, worth_of(known))
    unlearnt = fit_gaussian_process(CELLS, known, worth_of(known))
    wrong = error(learnt.predict(other), worth_of(other))
    assert wrong < 0.3 and wrong < error(unlearnt.predict(other), worth_of(other)) / 2
    points = learnt.likeness.shared[0]
    assert (points[0] - points[1]).norm() < (points[1] - points[4]).norm() / 2


def test_what_a_choice_does_on_other_tokens_tells_what_it_does_on_one() -> None:
    """Edge 5 never has choice 4 in the rows; its worth there is known from the other edges."""
    tokens = CELLS.sample_unique(400, np.random.default_rng(1))
    never = tokens[:, 5] != 4
    known, other = tokens[never][:150], tokens[~never]
    learnt = fit_learnt(CELLS, known, worth_of(known))
    assert error(learnt.predict(other), worth_of(other)) < 0.5
    unlike = SearchSpace(tuple(Token(f"edge{i}", tuple(range(i, i + 5))) for i in range(6)))
    apart = fit_learnt(unlike, known, worth_of(known))
    assert error(apart.predict(other), worth_of(other)) > 0.6


def test_tokens_share_points_where_they_choose_among_the_same_values() -> None:
    tokens = tuple(Token(name, (0, 1)) for name in "abc")
    values = (("conv", "skip"), ("conv", "skip"), ("relu", "swish"))
    space = ChoiceSpace(tokens, names=("a", "b", "c"), values_of=values, order=("a", "b", "c"))
    assert Likeness.start(space).kinds.tolist() == [0, 0, 1]


def test_the_gradient_in_closed_form_is_that_of_the_loss() -> None:
    tokens = CELLS.sample_unique(40, np.random.default_rng(2))
    targets = torch.from_numpy(worth_of(tokens) / worth_of(tokens).std())
    likeness = Likeness.start(CELLS)
    starts = [values.clone() + 0.1 for values in likeness.learnt]
    for values in likeness.learnt:
        values.requires_grad_(True)
    loss = _loss(likeness, starts, tokens, targets)
    loss()
    gradients = [values.grad.clone() for values in likeness.learnt if values.grad is not None]
    assert len(gradients) == 5
    for values, gradient in zip(likeness.learnt, gradients, strict=True):
        flat = values.detach().view(-1)
        for place in (0, len(flat) // 2):
            flat[place] += 1e-5
            above = loss()
            flat[place] -= 2e-5
            slope = (above - loss()) / 2e-5
            flat[place] += 1e-5
            assert slope == pytest.approx(float(gradient.view(-1)[place]), rel=1e-4, abs=1e-6)


def test_covariances_go_with_the_spreads() -> None:
    tokens = CELLS.sample_unique(90, np.random.default_rng(3))
    process = fit_learnt(CELLS, tokens[:60], worth_of(tokens[:60]))
    covariance = process.covariance(tokens[60:])
    assert np.sqrt(covariance.diagonal()) == pytest.approx(process.spread(tokens[60:]), rel=1e-6)
    assert process.spread(tokens[:60]).mean() < process.spread(tokens[60:]).mean() / 2
    assert process.predict(tokens[:60]) == pytest.approx(worth_of(tokens[:60]), abs=0.5)


def test_a_token_that_is_absent_has_no_part_and_equal_targets_are_no_error() -> None:
    space = SearchSpace((Token("depth", (1, 2)), Token("width", (3, 4, 6), parent=0, needs=1)))
    everything = space.everything()
    process = fit_learnt(space, everything, np.array([0.0, 1.0, 2.0, 3.0]))
    assert process.predict(everything).argsort().tolist() == [0, 1, 2, 3]
    assert everything[-1].tolist() == [0, -1]
    absent = process.likeness.points(everything[-1:])
    assert not absent[0, 3:].any()
    assert fit_learnt(space, everything, np.ones(4)).predict(everything) == pytest.approx(1.0)


def test_a_search_that_fails_leaves_the_likeness_that_it_began_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails() -> float:
        raise torch.linalg.LinAlgError("the leading minor is not positive")

    monkeypatch.setattr("pnag.search.learnt_kernel._loss", lambda *arguments: fails)
    tokens = CELLS.sample_unique(60, np.random.default_rng(4))
    process = fit_learnt(CELLS, tokens, worth_of(tokens))
    for found, start in zip(process.likeness.learnt, Likeness.start(CELLS).learnt, strict=True):
        assert (found == start).all()
    assert np.isfinite(process.predict(tokens)).all()
