"""Rows of rounds correct what many uniform rows say about the neighbourhood of the front.

The best architectures differ in a third of their choices from all of 16,000 uniform rows, and at
high budgets a smooth process is off there by more than five of its own standard deviations
(`benchmarks/README.md`). Rounds ask for rows there. What the process leaves of them is learnt by a
second one, which finds out how alike choices are; its spread, not that of the first, then says what
is unknown near the front.

Few uniform rows leave too much to be learnt: there one process of all rows is ahead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from pnag.search.additive import Floats
from pnag.search.gaussian_process import GaussianProcess
from pnag.search.labels import Predicts
from pnag.search.learnt_kernel import LearntProcess, fit_learnt
from pnag.space import SearchSpace, Tokens

MANY = 1000  # uniform rows, from which on others correct them
# Rows that correct: fewer do not show how alike choices are, more take minutes.
LEAST, MOST = 20, 2000


class Process(Predicts, Protocol):
    """What rounds need of a predictor."""

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
        uniform: of at least MANY rows, with its factor.
        tokens: (n, T), targets: (n,), the latest last. Fewer than LEAST only extend `uniform`; of
            more than MOST the last ones are used.
    """
    if not len(tokens):
        return uniform
    if len(tokens) < LEAST:
        return uniform.extended(tokens, targets)
    tokens, targets = tokens[-MOST:], targets[-MOST:]
    left = fit_learnt(space, tokens, targets - uniform.predict(tokens))
    return CorrectedProcess(uniform, left)
