"""A Gaussian process that learns how alike choices are, for up to some thousand rows.

Each choice of each token is a point, and an architecture is the points of its choices, one token
after the other. With the squared distance d and the product p of two architectures' points,

    k(a, b) = exp(-d / 2) + ADDITIVE p,

so choices at one point say the same, and distant ones say nothing about each other. Tokens with the
same list of choices start from the same points and share them: a convolution is unlike no operation
on every edge of a cell. How far a token's points lie apart is learnt for each token (its
relevance), and so is by how much its points differ from the shared ones, which takes more evidence.
All are found by gradient steps on the marginal likelihood (Rasmussen and Williams 2006, chapter 5)
with normal priors on the numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pnag.search.additive import Floats
from pnag.space import SearchSpace, Tokens
from pnag.space.choices import ChoiceSpace

STEPS = 25  # of L-BFGS, each with a Cholesky factorisation of all rows
RELEVANCE, ADDITIVE, NOISE = -0.7, -1.0, -2.5  # logarithms that the search starts from
LEAST_NOISE = 1e-3  # of the prior's variance
MOST_NUMBERS = 16_000_000  # of a kernel matrix at a time: 128 MB, several of which are made
SHARED, OWN = 0.5, 2.0  # weights of squared differences from the start: of all, of a token's own


@dataclass(frozen=True)
class Likeness:
    """What is learnt, as float64 tensors.

    Attributes:
        shared: (K, C, D) points of the choices of each of the K lists of choices.
        own: (T, C, D) what a token's points are moved by. relevance: (T,) logarithms of factors.
        additive, noise: () logarithms.
        kinds: (T,) which of the K lists a token has.
    """

    shared: Tensor
    own: Tensor
    relevance: Tensor
    additive: Tensor
    noise: Tensor
    kinds: Tensor

    @classmethod
    def start(cls, space: SearchSpace) -> Likeness:
        """All choices equally far apart, on all tokens alike."""
        own = _values(space)
        lists = list(dict.fromkeys(own))
        most, tokens = max(map(len, lists)), len(own)
        return cls(
            torch.eye(most, dtype=torch.float64).repeat(len(lists), 1, 1),
            torch.zeros(tokens, most, most, dtype=torch.float64),
            torch.full((tokens,), RELEVANCE, dtype=torch.float64),
            torch.tensor(ADDITIVE, dtype=torch.float64),
            torch.tensor(NOISE, dtype=torch.float64),
            torch.tensor([lists.index(values) for values in own]),
        )

    @property
    def learnt(self) -> list[Tensor]:
        """All but `kinds`."""
        return [self.shared, self.own, self.relevance, self.additive, self.noise]

    def points(self, tokens: Tokens) -> Tensor:
        """(N, T * D) points of (N, T) tokens; zeros where a token does not exist."""
        of_token = (self.shared[self.kinds] + self.own) * self.relevance.exp()[:, None, None]
        table = torch.cat([of_token, torch.zeros_like(of_token[:, :1])], dim=1)
        chosen = table[torch.arange(len(self.kinds)), torch.from_numpy(tokens).long()]
        return chosen.flatten(1)

    def noise_share(self) -> Tensor:
        """() variance of the noise, that of the prior's local part being 1."""
        return self.noise.exp() + LEAST_NOISE

    def kernel(self, points: Tensor, others: Tensor) -> Tensor:
        """(A, B) of (A, F) and (B, F) points."""
        product = points @ others.T
        squares = points.square().sum(1)[:, None] + others.square().sum(1)
        local = (product - squares / 2).clamp(max=0).exp()
        return local + self.additive.exp() * product


@dataclass(frozen=True)
class LearntProcess:
    """What `fit_learnt` returns.

    Attributes:
        likeness: what was learnt. rows: (N, F) points of the rows it was fitted to.
        weights: (N,) of the kernel with each row. factor: (N, N) lower Cholesky factor.
        mean, unit: of the targets. noise: its variance in squared units.
    """

    likeness: Likeness
    rows: Tensor
    weights: Tensor
    factor: Tensor
    mean: float
    unit: float
    noise: float

    def predict(self, tokens: Tokens) -> Floats:
        """(N,) posterior means, in the unit of the targets."""
        return self._by_parts(self._predict, tokens)

    def spread(self, tokens: Tokens) -> Floats:
        """(N,) posterior standard deviations, in the unit of the targets."""
        return self._by_parts(self._spread, tokens)

    def _by_parts(self, of: Callable[[Tokens], Floats], tokens: Tokens) -> Floats:
        """(N,) numbers of tokens, of so many at a time that the kernels fit into memory."""
        size = max(1, MOST_NUMBERS // len(self.rows))
        parts = [of(tokens[i : i + size]) for i in range(0, len(tokens), size)]
        return np.concatenate(parts) if parts else np.empty(0)

    def _predict(self, tokens: Tokens) -> Floats:
        sums = self.likeness.kernel(self.likeness.points(tokens), self.rows) @ self.weights
        return np.asarray(sums.numpy() * self.unit + self.mean)

    def _spread(self, tokens: Tokens) -> Floats:
        points = self.likeness.points(tokens)
        prior = 1 + self.likeness.additive.exp() * points.square().sum(1)
        variance = prior - self._whitened(points).square().sum(0)
        return np.asarray(variance.clamp(min=0).sqrt().numpy() * self.unit)

    def covariance(self, tokens: Tokens) -> Floats:
        """(N, N) posterior covariances, in the squared unit of the targets."""
        points = self.likeness.points(tokens)
        half = self._whitened(points)
        posterior = self.likeness.kernel(points, points) - half.T @ half
        return np.asarray(posterior.numpy() * self.unit**2)

    def _whitened(self, points: Tensor) -> Tensor:
        """(rows, N) the kernel of the rows with (N, F) points, divided by the factor."""
        cross = self.likeness.kernel(self.rows, points)
        whitened: Tensor = torch.linalg.solve_triangular(self.factor, cross, upper=False)
        return whitened


def _values(space: SearchSpace) -> list[tuple[object, ...]]:
    """What each token chooses among."""
    if isinstance(space, ChoiceSpace):  # whose tokens choose among places in these lists
        return list(space.values_of)
    return [token.choices for token in space.tokens]


def fit_learnt(space: SearchSpace, tokens: Tokens, targets: Floats) -> LearntProcess:
    """Condition on few rows, under the likeness of choices that makes their targets likeliest.

    Takes about STEPS Cholesky factorisations of all rows, in float64.

    Args:
        tokens: (N, T), targets: (N,).
    """
    mean, deviation = float(targets.mean()), max(float(targets.std()), 1e-12)
    standard = torch.tensor((targets - mean) / deviation)
    likeness = _likeliest(Likeness.start(space), tokens, standard)
    rows = likeness.points(tokens)
    factor, weights, scale = _solved(likeness, rows, standard)
    unit = deviation * scale**0.5
    noise = float(likeness.noise_share())
    return LearntProcess(likeness, rows, weights / scale**0.5, factor, mean, unit, noise)


def _solved(likeness: Likeness, rows: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, float]:
    """The (N, N) factor, the (N,) weights and the prior's variance that fits the targets best."""
    kernel = likeness.kernel(rows, rows)
    kernel.diagonal().add_(likeness.noise_share())
    factor = torch.linalg.cholesky(kernel)
    weights = torch.cholesky_solve(targets[:, None], factor)[:, 0]
    return factor, weights, max(float(targets @ weights) / len(targets), 1e-12)


def _likeliest(likeness: Likeness, tokens: Tokens, targets: Tensor) -> Likeness:
    """Move `likeness` to where the targets and the priors are likeliest together, in place.

    It stays as it was if the search fails.
    """
    learnt = likeness.learnt
    starts = [values.clone() for values in learnt]
    for values in learnt:
        values.requires_grad_(True)
    search = torch.optim.LBFGS(
        learnt, max_iter=STEPS, max_eval=STEPS, history_size=15, line_search_fn="strong_wolfe"
    )
    try:
        search.step(_loss(likeness, starts, tokens, targets))
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]  # a step went too far
        for values, start in zip(learnt, starts, strict=True):
            values.data.copy_(start)
    for values in learnt:
        values.requires_grad_(False)
    return likeness


def _loss(
    likeness: Likeness, starts: list[Tensor], tokens: Tokens, targets: Tensor
) -> Callable[[], float]:
    """What fills in the gradients of the negative log likelihood and prior, and returns both.

    The likelihood's gradient by the kernel matrix K is (K^-1 - w w' / scale) / 2 with the weights
    w: in closed form, as to differentiate a Cholesky factorisation takes several times as long.
    """
    priors = [OWN if values is likeness.own else SHARED for values in likeness.learnt]

    def loss() -> float:
        for values in likeness.learnt:
            values.grad = None
        rows = likeness.points(tokens)
        with torch.no_grad():
            factor, weights, scale = _solved(likeness, rows, targets)
            by_kernel = torch.cholesky_inverse(factor) - torch.outer(weights, weights) / scale
            value = len(targets) / 2 * math.log(scale) + float(factor.diagonal().log().sum())
        by_noise = by_kernel.trace() * likeness.noise_share()
        fit = ((by_kernel * likeness.kernel(rows, rows)).sum() + by_noise) / 2
        prior = torch.stack(
            [
                weight * (values - start).square().sum()
                for weight, values, start in zip(priors, likeness.learnt, starts, strict=True)
            ]
        ).sum()
        (fit + prior).backward()
        return value + float(prior.detach())

    return loss
