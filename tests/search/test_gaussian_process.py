"""The Gaussian process against its formulas, written out one architecture at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau

import pnag
from pnag.search.front import Floats
from pnag.search.gaussian_process import BIAS, REACH, GaussianProcess, fit_gaussian_process
from pnag.search.rounds import ask_in_rounds
from pnag.space import Tokens

SPACE = pnag.SearchSpace()
T = len(SPACE.tokens)


def kernel_by_hand(a: Tokens, b: Tokens) -> float:
    same = sum(x == y >= 0 for x, y in zip(a, b, strict=True))
    z, qa, qb = (2 * count / T + BIAS for count in (same, (a >= 0).sum(), (b >= 0).sum()))
    angle = math.acos(min(1.0, z / math.sqrt(qa * qb)))
    first = math.sqrt(qa * qb) * (math.sin(angle) + (math.pi - angle) * math.cos(angle)) / math.pi
    tangent = float(first + z * (math.pi - angle) / math.pi) / (2 * (2 + BIAS))
    differing = ((a >= 0).sum() + (b >= 0).sum()) / 2 - same
    return (tangent + math.exp(-differing / REACH)) / 2


def truth(tokens: Tokens) -> Floats:
    features = SPACE.features(tokens).astype(float)
    additive = features @ np.sin(np.arange(SPACE.num_features))
    return np.asarray(0.7 + 0.01 * additive + 0.02 * np.tanh(additive / 3) * features[:, 0])


def test_mean_and_spread_are_the_textbook_ones() -> None:
    tokens = SPACE.sample_unique(120, np.random.default_rng(0))
    known, asked, targets = tokens[:100], tokens[100:], truth(tokens[:100])
    process = fit_gaussian_process(SPACE, known, targets, noise=0.01)
    gram = np.array([[kernel_by_hand(a, b) for b in known] for a in known])
    cross = np.array([[kernel_by_hand(a, b) for b in known] for a in asked])
    inverse = np.linalg.inv(gram + 0.01 * np.eye(100))
    mean, unit = targets.mean(), targets.std()
    assert process.predict(asked) == pytest.approx(
        cross @ inverse @ (targets - mean) / unit * unit + mean, abs=1e-3 * unit
    )
    variances = [kernel_by_hand(a, a) - c @ inverse @ c for a, c in zip(asked, cross, strict=True)]
    assert process.spread(asked) == pytest.approx(np.sqrt(variances) * unit, rel=1e-2)


def test_noise_is_told_from_the_rows_and_the_rest_is_learnt() -> None:
    tokens = SPACE.sample_unique(3000, np.random.default_rng(1))
    clean, other = tokens[:2000], tokens[2000:]
    exact = fit_gaussian_process(SPACE, clean, truth(clean))
    assert kendalltau(exact.predict(other), truth(other)).statistic > 0.92
    noisy = truth(clean) + 2 * truth(clean).std() * np.random.default_rng(2).standard_normal(2000)
    process = fit_gaussian_process(SPACE, clean, noisy)
    assert process.noise > exact.noise
    assert kendalltau(process.predict(other), truth(other)).statistic > 0.7
    again = GaussianProcess.from_state(SPACE, process.state())
    assert (again.predict(other) == process.predict(other)).all()
    with pytest.raises(ValueError, match="no spread"):
        again.spread(other)


def test_of_too_many_rows_the_last_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pnag.search.gaussian_process.MOST_ROWS", 100)
    monkeypatch.setattr("pnag.search.gaussian_process.LAST_ROWS", 30)
    tokens = SPACE.sample_unique(400, np.random.default_rng(4))
    process = fit_gaussian_process(SPACE, tokens, truth(tokens))
    assert len(process.tokens) == len(np.unique(process.tokens, axis=0)) == 100
    assert (process.tokens[-30:] == tokens[-30:]).all()


def test_rounds_ask_for_new_architectures_and_find_better_ones() -> None:
    rng = np.random.default_rng(3)
    weights = rng.random(SPACE.num_features)

    def ask(tokens: Tokens) -> tuple[Floats, Floats]:
        return truth(tokens), 1 + SPACE.features(tokens).astype(float) @ weights

    tokens = SPACE.sample_unique(400, rng)
    accuracy, cost = ask(tokens)
    grown, new_accuracy, new_cost = ask_in_rounds(
        SPACE, tokens, accuracy, cost, lambda t: ask(t)[1], ask, rounds=2, per_round=30
    )
    assert len(grown) == 460 and len(np.unique(grown, axis=0)) == 460
    assert (grown[:400] == tokens).all()
    for budget in np.quantile(cost, [0.2, 0.5, 0.8]):
        assert new_accuracy[new_cost <= budget].max() > accuracy[cost <= budget].max() + 0.005


def test_extending_is_fitting_to_all_rows() -> None:
    tokens = SPACE.sample_unique(160, np.random.default_rng(0))
    targets = truth(tokens)
    process = fit_gaussian_process(SPACE, tokens[:100], targets[:100], noise=0.1)
    grown = process.extended(tokens[100:110], targets[100:110])
    grown = grown.extended(tokens[110:140], targets[110:140])
    gram = np.array([[kernel_by_hand(a, b) for b in tokens[:140]] for a in tokens[:140]])
    cross = np.array([[kernel_by_hand(a, b) for b in tokens[:140]] for a in tokens[140:]])
    inverse = np.linalg.inv(gram + 0.1 * np.eye(140))
    standard = (targets[:140] - process.mean) / process.unit
    wanted = cross @ inverse @ standard * process.unit + process.mean
    assert grown.predict(tokens[140:]) == pytest.approx(wanted, abs=1e-3 * process.unit)
    assert grown.spread(tokens[:140]).max() < process.spread(tokens[100:140]).max()


def test_a_file_of_an_earlier_version_is_read() -> None:
    tokens = SPACE.sample_unique(60, np.random.default_rng(6))
    process = fit_gaussian_process(SPACE, tokens, truth(tokens))
    state = process.state()
    again = GaussianProcess.from_state(SPACE, state)
    assert (again.predict(tokens) == process.predict(tokens)).all()
    state["numbers"] = torch.cat([state["numbers"], torch.tensor([REACH], dtype=torch.float64)])
    older = GaussianProcess.from_state(SPACE, state)
    assert (older.predict(tokens) == process.predict(tokens)).all()
