"""Predict a number from an architecture's tokens by a Gaussian process: exact, and no training.

The kernel is half that of an infinitely wide network with one hidden ReLU layer whose two layers
are both trained (neural tangent kernel of Jacot et al. 2018, closed form by Cho and Saul 2009), on
the one-hot choices and a constant, and half an exponential one, by which what is learnt about one
architecture says less about another the more their choices differ. For architectures a, b that
have n_a and n_b tokens, s of them with the same choice, it depends on these three whole numbers
only, so it is a small table: with z = 2 s / T + BIAS, q_a = 2 n_a / T + BIAS,
cos t = z / sqrt(q_a q_b),

    tangent(a, b) = sqrt(q_a q_b) (sin t + (pi - t) cos t) / pi + z (pi - t) / pi
    local(a, b)   = exp(-(n_a + n_b - 2 s) / (2 REACH)).

On the published accuracy predictor it learns more from 16,000 rows in ten seconds than ensembles of
networks do in minutes (`benchmarks/README.md`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pnag.search.kernel import Packed, kernel_matrix, weighted_sums
from pnag.space import SearchSpace, Tokens

Floats = NDArray[np.float64]

BIAS = 0.3
REACH = 20.0  # choices that differ until the local kernel has fallen to 1/e
NOISES = (1e-3, 1e-2, 0.1, 0.3, 1.0)  # variance of the targets' noise, the prior's being 1
MOST_ROWS = 20_000  # the kernel matrix then takes 1.6 GB
LAST_ROWS = 2_000  # of more rows these are always used: what rounds have added stands last
TRIAL_ROWS = 3_000


@dataclass(frozen=True)
class GaussianProcess:
    """What `fit_gaussian_process` returns.

    Attributes:
        tokens: (N, T) the rows it was fitted to. weights: (N,) of the kernel with each of them.
        mean, unit: of the targets. noise: the chosen one of `NOISES`.
        factor: (N, N) lower Cholesky factor for `spread`; None after loading from a file.
    """

    space: SearchSpace
    tokens: Tokens
    weights: Tensor
    mean: float
    unit: float
    noise: float
    factor: Tensor | None = None

    def predict(self, tokens: Tokens) -> Floats:
        """(N,) posterior means, in the unit of the targets."""
        table = kernel_table(len(self.space.tokens))
        sums = weighted_sums(Packed.of(self.space, tokens), self._packed, table, self.weights)
        return sums * self.unit + self.mean

    @cached_property
    def _packed(self) -> Packed:
        return Packed.of(self.space, self.tokens)

    def spread(self, tokens: Tokens) -> Floats:
        """(N,) posterior standard deviations, in the unit of the targets.

        Costs a triangular solve with the whole factor: for hundreds of architectures, not for
        hundreds of thousands.
        """
        known = self._whitened(tokens).square().sum(0)
        sizes = torch.from_numpy((tokens >= 0).sum(1))
        prior = kernel_table(len(self.space.tokens))[sizes, sizes, sizes]
        return np.asarray((prior - known).clamp(min=0).sqrt().double().numpy() * self.unit)

    def _whitened(self, tokens: Tokens) -> Tensor:
        """(rows, N) the kernel of its own rows with N tokens, divided by the factor."""
        if self.factor is None:
            raise ValueError("a Gaussian process that was loaded from a file has no spread")
        cross = _kernel(self.space, tokens, self.tokens)
        whitened: Tensor = torch.linalg.solve_triangular(self.factor, cross.T, upper=False)
        return whitened

    def without(self, rows: NDArray[np.int64], targets: Floats) -> Floats:
        """What the process would predict for n of its own rows, had it not been fitted to them.

        In closed form (Sundararajan and Keerthi 2001), with the noise, mean and unit of all rows:
        with the inverse Q of the kernel matrix and the weights w = Q y, what the others say of a
        block S of rows is y_S - (Q_SS)^-1 w_S.

        Args:
            rows: (n,) of `tokens`. targets: (n,) theirs.

        Returns:
            (n,) predictions.
        """
        if self.factor is None:
            raise ValueError("a Gaussian process that was loaded from a file has no factor")
        chosen = torch.from_numpy(rows)
        unit_vectors = torch.zeros(len(self.tokens), len(rows))
        unit_vectors[chosen, torch.arange(len(rows))] = 1
        half = torch.linalg.solve_triangular(self.factor, unit_vectors, upper=False)
        surprise = torch.linalg.solve((half.T @ half).double(), self.weights[chosen].double())
        return np.asarray(targets - surprise.numpy() * self.unit)

    def extended(self, tokens: Tokens, targets: Floats) -> GaussianProcess:
        """The process that knows n further rows as well: what a new fit with its noise would give.

        The factor grows by a block, which costs O(N^2 n) instead of O(N^3); the targets keep the
        first fit's mean and unit.

        Args:
            tokens: (n, T), targets: (n,).
        """
        if self.factor is None:
            raise ValueError("a Gaussian process that was loaded from a file cannot be extended")
        n, more = len(self.tokens), len(tokens)
        own = _kernel(self.space, tokens, tokens)
        own.diagonal().add_(self.noise)
        side = self._whitened(tokens)
        corner = torch.linalg.cholesky(own - side.T @ side)
        surprise = torch.tensor((targets - self.predict(tokens)) / self.unit).float()
        weights = torch.cholesky_solve(surprise[:, None], corner)
        change = torch.linalg.solve_triangular(self.factor.T, side @ weights, upper=True)
        factor = torch.zeros(n + more, n + more)
        factor[:n, :n] = self.factor
        factor[n:, :n] = side.T
        factor[n:, n:] = corner
        return replace(
            self,
            tokens=np.concatenate([self.tokens, tokens]),
            weights=torch.cat([self.weights - change[:, 0], weights[:, 0]]),
            factor=factor,
        )

    def state(self) -> dict[str, Tensor]:
        """Tensors for a file, without the factor."""
        return {
            "tokens": torch.tensor(self.tokens),
            "weights": self.weights,
            "numbers": torch.tensor([self.mean, self.unit, self.noise], dtype=torch.float64),
        }

    @classmethod
    def from_state(cls, space: SearchSpace, state: dict[str, Tensor]) -> GaussianProcess:
        """The inverse of `state`; of a file of an earlier version, which has REACH as well, too.

        Raises:
            KeyError, ValueError: if these are not the tensors of a Gaussian process.
        """
        mean, unit, noise, *_ = state["numbers"].tolist()
        tokens = space.check(state["tokens"].numpy())
        if state["weights"].shape != (len(tokens),):
            raise ValueError(f"{len(state['weights'])} weights for {len(tokens)} architectures")
        return cls(space, tokens, state["weights"], mean, unit, noise)


@cache
def kernel_table(tokens: int) -> Tensor:
    """(T + 1, T + 1, T + 1) float32 kernel by n_a, n_b and s, scaled to k(a, a) = 1 at n_a = T.

    Made once for each T, as every prediction reads it: do not change it.
    """
    numbers = torch.arange(tokens + 1, dtype=torch.float64)
    counts = numbers * 2 / tokens + BIAS
    product = (counts[:, None] * counts[None]).sqrt()[:, :, None]
    same = counts[None, None, :]  # entries with s > n_a or n_b occur nowhere
    cosine = (same / product).clamp(-1, 1)
    angle = cosine.acos()
    first = (angle.sin() + (math.pi - angle) * cosine) / math.pi
    table = product * first + same * (math.pi - angle) / math.pi
    tangent = table / table[-1, -1, -1]
    differing = (numbers[:, None, None] + numbers[None, :, None] - 2 * numbers) / 2
    local = torch.exp(-differing.clamp(min=0) / REACH)
    return ((tangent + local) / 2).float()


def _kernel(space: SearchSpace, tokens: Tokens, others: Tokens) -> Tensor:
    """(len(tokens), len(others)) float32."""
    table = kernel_table(len(space.tokens))
    return kernel_matrix(Packed.of(space, tokens), Packed.of(space, others), table)


def fit_gaussian_process(
    space: SearchSpace,
    tokens: Tokens,
    targets: Floats,
    *,
    noise: float | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> GaussianProcess:
    """Condition on N rows: a Cholesky factorisation of their kernel matrix, in float32.

    Args:
        tokens: (N, T), targets: (N,). Of more than MOST_ROWS rows the last LAST_ROWS and a random
            part of the others are used.
        noise: None tries each of `NOISES` on a part of the rows and takes the one that predicts
            the other rows best.
    """
    rng = np.random.default_rng(seed)
    used = rows_used(len(tokens), rng)
    tokens, targets = tokens[used], targets[used]
    mean, unit = float(targets.mean()), max(float(targets.std()), 1e-12)
    standard = torch.tensor((targets - mean) / unit).float()
    steps = 1 + len(NOISES) * (noise is None)
    if noise is None:
        order = torch.from_numpy(rng.permutation(len(tokens)))
        fit, other = order[: min(TRIAL_ROWS, len(order) * 3 // 4)], order[-(len(order) // 4) :]
        other = other[:TRIAL_ROWS]
        kernel = _kernel(space, tokens[fit.numpy()], tokens[fit.numpy()])
        cross = _kernel(space, tokens[other.numpy()], tokens[fit.numpy()])
        errors = []
        for done, trial in enumerate(NOISES, 1):
            weights, _ = _solve(kernel.clone(), standard[fit], trial)
            errors.append(float((cross @ weights - standard[other]).square().mean()))
            progress(done, steps)
        noise = NOISES[int(np.argmin(errors))]
    kernel = _kernel(space, tokens, tokens)
    weights, factor = _solve(kernel, standard, noise)
    progress(steps, steps)
    return GaussianProcess(space, tokens, weights, mean, unit, noise, factor)


def rows_used(rows: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Indices of the rows that a fit takes: all, or so many that the kernel fits into memory."""
    if rows <= MOST_ROWS:
        return np.arange(rows)
    first = rng.permutation(rows - LAST_ROWS)[: MOST_ROWS - LAST_ROWS]
    return np.concatenate([np.sort(first), np.arange(rows - LAST_ROWS, rows)])


def _solve(kernel: Tensor, targets: Tensor, noise: float) -> tuple[Tensor, Tensor]:
    """(N,) weights and the (N, N) factor; overwrites `kernel`'s diagonal."""
    kernel.diagonal().add_(noise)
    factor = torch.linalg.cholesky(kernel)
    return torch.cholesky_solve(targets[:, None], factor)[:, 0], factor
