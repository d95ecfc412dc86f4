"""In which order a supernet learns its choices.

**Progressive shrinking** (Once-for-All, https://arxiv.org/abs/1908.09791): the largest network
first, then smaller and smaller ones beside it, taught by what the largest had become. In
Once-for-All these are five runs that are started by hand; here they are the phases of one.

**The sandwich rule** (BigNAS, https://arxiv.org/abs/2003.11142): one phase in which every step
trains the largest, the smallest and some random networks, taught by the largest as it is then.

**Transfer** (after Neural Architecture Transfer, https://arxiv.org/abs/2005.05859), from trained
weights: the largest network learns the new classes at the middle resolution, its channels are
sorted by importance, then the sandwich rule teaches smaller networks at all resolutions. Shares and
rates: `benchmarks/README.md`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from pnag.space import SearchSpace
from pnag.space.search_space import What
from pnag.supernet.settings import Method


@dataclass(frozen=True)
class Phase:
    """Which networks are trained, and for how long.

    Attributes:
        depths, widths, kernels: how many of the greatest choices of each of these random networks
            of the phase may take; all if None.
        epochs: share of all epochs. rate: of the recipe's learning rate.
        random: networks drawn for each step; without any it is the largest one.
        sandwich: whether the largest and the smallest network join them at each step.
        middle: whether all steps are at the resolution nearest to the geometric mean of the least
            and the greatest: few steps at one are worth more than a share of them at each, and from
            there it is not far to the others.
        solve: whether the classifier is solved for first.
        sort: how many of the greatest widths are trained so far, if channels are to be sorted by
            importance first.
    """

    name: str
    epochs: float
    rate: float
    depths: int | None = 1
    widths: int | None = 1
    kernels: int | None = 1
    random: int = 1
    sandwich: bool = False
    sort: int = 0
    middle: bool = False
    solve: bool = False

    def drawn_resolutions(self, space: SearchSpace) -> tuple[int, ...]:
        """Resolutions of which each step draws one."""
        found = space.resolutions
        if not (self.middle and found):
            return found
        mean = math.sqrt(found[0] * found[-1])
        # The greater one of two that are as near.
        return (min(found, key=lambda r: (round(abs(math.log(r / mean)), 9), -r)),)

    def _least(self, space: SearchSpace) -> Any:
        """(T,) the least index of each token that the phase may take."""
        most: dict[What | None, int | None] = {
            "depth": self.depths, "width": self.widths, "kernel": self.kernels
        }  # fmt: skip
        free = [most.get(token.what) or len(token.choices) for token in space.tokens]
        return np.maximum(0, space.choices_per_token - free)

    def sample(self, space: SearchSpace, rng: np.random.Generator) -> Any:
        """A random architecture of the phase: every setting uniform over its choices."""
        tokens = rng.integers(self._least(space), space.choices_per_token)
        return space.decode(space.canonical(tokens[None].astype(np.int8)))[0]

    def smallest(self, space: SearchSpace) -> Any:
        """Every choice at its least."""
        tokens = self._least(space)
        return space.decode(space.canonical(tokens[None].astype(np.int8)))[0]


LARGEST_ALONE = Phase("largest", 0.85, 1.0, random=0, middle=True, solve=True)

# Of Once-for-All's 180 + 125 + 25 + 120 + 25 + 120 epochs the last four have two (depth) and four
# (width) networks a step. The same order and the same low rates after a change; shares of epochs
# that leave half of the time, not a third, to the largest network: with few epochs it is what all
# others learn from.
PHASES: dict[Method, tuple[Phase, ...]] = {
    "progressive": (
        Phase("full", 0.40, 1.0, random=0),
        Phase("kernel", 0.15, 0.3, kernels=None),
        Phase("depth 3", 0.05, 0.1, depths=2, kernels=None),
        Phase("depth 2", 0.15, 0.3, depths=None, kernels=None),
        Phase("width 4", 0.05, 0.1, None, 2, None, sort=1),
        Phase("width 3", 0.20, 0.3, None, None, None, random=2, sort=2),
    ),
    "sandwich": (Phase("sandwich", 1.0, 1.0, None, None, None, random=2, sandwich=True),),
    "transfer": (
        LARGEST_ALONE,
        Phase("all", 0.15, 0.5, None, None, None, random=1, sandwich=True, sort=1),
    ),
}
