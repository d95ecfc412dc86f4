"""Rows of rounds correct what many uniform rows say about the neighbourhood of the front.

The best architectures differ in a third of their choices from all of 16,000 uniform rows, and there
a smooth process is off by six of its own standard deviations (`benchmarks/README.md`). Rounds ask
for rows there. What the process leaves of them is learnt by a second one, which finds out how alike
choices are; its spread, not that of the first, then says what is unknown near the front.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from pnag.search.additive import Floats
from pnag.search.gaussian_process import GaussianProcess
from pnag.search.learnt_kernel import LearntProcess, fit_learnt
from pnag.space import SearchSpace, Tokens

MANY = 1000  # uniform rows
# Rows that correct: fewer do not show how alike choices are, more take minutes.
LEAST, MOST = 20, 2000


class Process(Protocol):
    """What rounds need of a predictor."""

    def predict(self, tokens: Tokens) -> Floats:
        """(N,) posterior means of (N, T) tokens."""
        ...

    def spread(self, tokens: Tokens) -> Floats:
        """(N,) posterior standard deviations."""
        ...


@dataclass(frozen=True)
class CorrectedProcess:
    """A process of uniform rows, and one of what it leaves of the rows that rounds asked for."""

    uniform: GaussianProcess
    left: LearntProcess

    def predict(self, tokens: Tokens) -> Floats:
        """(N,) posterior means of (N, T) tokens."""
        corrected: Floats = self.uniform.predict(tokens) + self.left.predict(tokens)
        return corrected

    def spread(self, tokens: Tokens) -> Floats:
        """(N,) posterior standard deviations of what is left."""
        return self.left.spread(tokens)


def corrected(
    space: SearchSpace, uniform: GaussianProcess, tokens: Tokens, targets: Floats
) -> Process:
    """A process that knows n rows near the front beside those of `uniform`.

    Args:
        tokens: (n, T), targets: (n,), the latest last. Fewer than LEAST only extend `uniform`, and
            so do all before the last MOST, and any where `uniform` has less than MANY.
    """
    few = len(tokens) < LEAST or len(uniform.tokens) < MANY
    earlier = len(tokens) if few else max(0, len(tokens) - MOST)
    if earlier:
        uniform = uniform.extended(tokens[:earlier], targets[:earlier])
    tokens, targets = tokens[earlier:], targets[earlier:]
    if not len(tokens):
        return uniform
    return CorrectedProcess(uniform, fit_learnt(space, tokens, targets - uniform.predict(tokens)))
