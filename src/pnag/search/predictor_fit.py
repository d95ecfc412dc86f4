"""Fit a predictor: a ridge regression first, then the ensemble on what that leaves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pnag.ranges import Interval, check_ranges
from pnag.search.additive import Floats
from pnag.search.predictor import Predictor
from pnag.space import SearchSpace, Tokens

NOTHING_LEFT = 1e-4  # of the targets' deviation: what the ridge leaves is then not worth learning


@dataclass(frozen=True)
class PredictorSettings:
    """Size and training of the ensemble; chosen by cross-validation on the ImageNet table."""

    members: Annotated[int, Interval(ge=2, le=1024)] = 8
    hidden: Annotated[int, Interval(ge=1, le=8192)] = 64
    epochs: Annotated[int, Interval(ge=1, le=1_000_000)] = 60
    batch: Annotated[int, Interval(ge=1, le=1_000_000)] = 128
    learning_rate: Annotated[float, Interval(gt=0, le=1)] = 3e-3
    weight_decay: Annotated[float, Interval(ge=0, le=1000)] = 1.0

    def __post_init__(self) -> None:
        check_ranges(self)


def fit_predictor(
    space: SearchSpace,
    tokens: Tokens,
    targets: Floats,
    *,
    sums: NDArray[np.float32] | None = None,
    row_weights: Floats | None = None,
    settings: PredictorSettings | None = None,
    seed: int = 0,
    logarithm: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Predictor:
    """Fit a predictor to N rows. Of costs, `fit_cost_predictor` fits a safer one.

    Args:
        tokens: (N, T), targets: (N,).
        sums: (S, F + P) weights of `additive_features`, whose sums are quantities, such as
            multiply-adds, on which the target depends smoothly.
        row_weights: (N,) trust in each row; all 1 by default.
        logarithm: learn the logarithm of the targets, which are then all positive.
        progress: called with the epochs done and in all.

    Returns:
        The same predictor for the same arguments on the same machine.
    """
    settings = settings or PredictorSettings()
    trust = np.ones(len(tokens)) if row_weights is None else row_weights
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        count = 0 if sums is None else len(sums)
        predictor = Predictor(space, count, settings.members, settings.hidden)
        predictor.logarithm = logarithm
        if sums is not None:
            predictor.sums.copy_(torch.from_numpy(sums))
        inputs, residual, little = _fit_ridge(predictor, tokens, targets, trust)
        if little:
            predictor.leave_to_ridge()
            return predictor.eval()
        _train_members(
            predictor,
            inputs[:, predictor.mlp_columns],
            torch.from_numpy(residual).float(),
            torch.from_numpy(trust).float(),
            settings,
            progress,
        )
    return predictor.eval()


def _fit_ridge(
    predictor: Predictor, tokens: Tokens, targets: Floats, trust: Floats
) -> tuple[Tensor, Floats, bool]:
    """Fit everything but the ensemble.

    Returns:
        (N, linear) inputs, (N,) what the ridge leaves, in units, and whether that is not worth
        learning.
    """
    space = predictor.space
    if space.resolutions:
        predictor.scales.copy_(torch.from_numpy(_mean_of_each_resolution(space, tokens, targets)))
        targets = targets / predictor.scale_of(tokens)
    if predictor.logarithm:
        targets = np.log(targets)
    raw = predictor.inputs(tokens)
    predictor.center.copy_(raw.mean(0))
    predictor.scale.copy_(raw.std(0) + 0.01)
    inputs = predictor.inputs(tokens)
    ridge, offset = _ridge(inputs.double().numpy(), targets, trust)
    predictor.ridge.copy_(torch.from_numpy(ridge))
    predictor.offset.copy_(torch.tensor(offset))
    residual = targets - inputs.double().numpy() @ ridge - offset
    unit = max(float(residual.std()), 1e-12)
    predictor.unit.copy_(torch.tensor(unit))
    return inputs, residual / unit, unit <= NOTHING_LEFT * float(targets.std())


def ridge_alone(
    space: SearchSpace, tokens: Tokens, targets: Floats, logarithm: bool = False
) -> Predictor:
    """A predictor without its ensemble, in a moment; arguments as of `fit_predictor`."""
    with torch.random.fork_rng(devices=[]):
        predictor = Predictor(space, sums=0, members=2, hidden=1)
    predictor.logarithm = logarithm
    predictor.leave_to_ridge()
    _fit_ridge(predictor, tokens, targets, np.ones(len(tokens)))
    return predictor.eval()


def _mean_of_each_resolution(space: SearchSpace, tokens: Tokens, targets: Floats) -> Floats:
    """(R,) mean targets, as shares of the mean of all; 1 for a resolution that no row has.

    All are 1 where some mean is not positive: such targets are no costs.
    """
    places, known = space.resolution_ids(tokens), len(space.resolutions)
    counts = np.bincount(places, minlength=known)
    totals = np.bincount(places, weights=targets, minlength=known)
    means: Floats = np.where(counts, totals / np.maximum(counts, 1), targets.mean())
    return means / targets.mean() if means.min() > 0 else np.ones(known)


def _ridge(inputs: Floats, targets: Floats, trust: Floats) -> tuple[Floats, float]:
    """Weights and offset, with the penalty that generalised cross-validation prefers."""
    mean, middle = np.average(targets, weights=trust), np.average(inputs, axis=0, weights=trust)
    root = np.sqrt(trust)
    centred, wanted = (inputs - middle) * root[:, None], (targets - mean) * root
    # By the Gram matrix, which is small. Its eigenvalues, squares of singular values, are rounded
    # to a share of 1e-16 of the largest: far less than any penalty.
    squares, vectors = np.linalg.eigh(centred.T @ centred)
    squares = squares.clip(0)
    projected = vectors.T @ (centred.T @ wanted)
    best: tuple[float, Floats] | None = None
    for penalty in np.logspace(-1, 4, 16):
        weights = vectors @ (projected / (squares + penalty))
        rest = wanted - centred @ weights
        freedom = max(len(targets) - (squares / (squares + penalty)).sum() - 1, 1e-9)
        score = float((rest**2).sum() / freedom**2)
        if best is None or score < best[0]:
            best = score, weights
    assert best is not None
    return best[1], float(mean - middle @ best[1])


def _train_members(
    predictor: Predictor,
    inputs: Tensor,
    targets: Tensor,
    trust: Tensor,
    settings: PredictorSettings,
    progress: Callable[[int, int], None],
) -> None:
    """Train all members at once, each on its own order of the rows."""
    n, batch = len(inputs), min(settings.batch, len(inputs))
    steps = n // batch
    optimizer = torch.optim.AdamW(
        predictor.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.learning_rate, total_steps=settings.epochs * steps
    )
    for epoch in range(settings.epochs):
        orders = torch.stack([torch.randperm(n) for _ in range(settings.members)])
        for step in range(steps):
            rows = orders[:, step * batch : (step + 1) * batch]
            error = nn.functional.smooth_l1_loss(
                predictor.members(inputs[rows]), targets[rows], reduction="none"
            )
            loss = (error * trust[rows]).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        progress(epoch + 1, settings.epochs)
