"""In which order a supernet learns its choices.

**Progressive shrinking** (Once-for-All, https://arxiv.org/abs/1908.09791): the largest network
first, then smaller and smaller ones beside it, taught by what the largest had become. In
Once-for-All these are five runs that are started by hand; here they are the phases of one.

**The sandwich rule** (BigNAS, https://arxiv.org/abs/2003.11142): one phase in which every step
trains the largest, the smallest and some random networks, taught by the largest as it is then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from pnag.space import Architecture
from pnag.space.architecture import DEPTHS, KERNELS, MAX_DEPTH, UNITS, WIDTHS

Method = Literal["progressive", "sandwich"]


@dataclass(frozen=True)
class Phase:
    """Which networks are trained, and for how long.

    Attributes:
        depths, widths, kernels: that random networks of the phase may have.
        epochs: share of all epochs. rate: of the recipe's learning rate.
        random: networks drawn for each step; without any it is the largest one.
        sandwich: whether the largest and the smallest network join them at each step.
        sort: widths trained so far, if channels are to be sorted by importance first.
    """

    name: str
    epochs: float
    rate: float
    depths: tuple[int, ...] = (max(DEPTHS),)
    widths: tuple[int, ...] = (max(WIDTHS),)
    kernels: tuple[int, ...] = (max(KERNELS),)
    random: int = 1
    sandwich: bool = False
    sort: tuple[int, ...] = ()

    def sample(self, rng: np.random.Generator) -> Architecture:
        """A random network of the phase: every setting uniform over its choices."""
        depths = tuple(int(d) for d in rng.choice(self.depths, UNITS))
        exists = [layer < depths[unit] for unit in range(UNITS) for layer in range(MAX_DEPTH)]
        kernels = rng.choice(self.kernels, len(exists)) * exists
        widths = rng.choice(self.widths, len(exists)) * exists
        return Architecture(depths, tuple(map(int, kernels)), tuple(map(int, widths)))

    @property
    def smallest(self) -> Architecture:
        """Every choice at its least."""
        depth, width, kernel = min(self.depths), min(self.widths), min(self.kernels)
        exists = [layer < depth for _ in range(UNITS) for layer in range(MAX_DEPTH)]
        return Architecture(
            (depth,) * UNITS,
            tuple(kernel * e for e in exists),
            tuple(width * e for e in exists),
        )


# Of Once-for-All's 180 + 125 + 25 + 120 + 25 + 120 epochs the last four have two (depth) and four
# (width) networks a step. The same order and the same low rates after a change; shares of epochs
# that leave half of the time, not a third, to the largest network: with few epochs it is what all
# others learn from.
PHASES: dict[Method, tuple[Phase, ...]] = {
    "progressive": (
        Phase("full", 0.40, 1.0, random=0),
        Phase("kernel", 0.15, 0.3, kernels=KERNELS),
        Phase("depth 3", 0.05, 0.1, depths=(3, 4), kernels=KERNELS),
        Phase("depth 2", 0.15, 0.3, depths=DEPTHS, kernels=KERNELS),
        Phase("width 4", 0.05, 0.1, DEPTHS, (4, 6), KERNELS, sort=(6,)),
        Phase("width 3", 0.20, 0.3, DEPTHS, WIDTHS, KERNELS, random=2, sort=(4, 6)),
    ),
    "sandwich": (Phase("sandwich", 1.0, 1.0, DEPTHS, WIDTHS, KERNELS, random=2, sandwich=True),),
}
