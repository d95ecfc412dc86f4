"""The answer where judging subnets leaves doubt: the largest network.

Answers from trained weights are fine-tuned, but chosen before. Subnets are judged with weights that
have mostly served the largest network, at the middle resolution, and on a few hundred to a few
thousand images. Tuned by itself, a network at another resolution gains more than it does at that
one. It is given that gain before resolutions are compared (`benchmarks/README.md`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pnag.families.base import Family
from pnag.run.run_directory import RunDirectory
from pnag.run.trained import Answer, load_front_calibration, load_labels
from pnag.run.tuning_order import resolution_of, trained_at
from pnag.search.sources import SOURCES, TABLE
from pnag.space.at_resolutions import at_each_resolution

ERRORS = 2.0  # standard errors that leave no doubt
# Accuracy that tuning adds at another resolution, beyond what it adds at the one trained at. Above,
# it is 2.5 to 2.6 points at 128 pixels after 96, on three sets of images. What a network loses
# there before it is tuned grows with the square of the octaves, so this does, too. Below, it is
# 2.4 to 4.8 points of four.
GAIN_ABOVE, GAIN_BELOW = 0.14, 0.018


def after_tuning(arch: str, accuracy: float, trained_at: int) -> float:
    """A network's judged accuracy with what tuning adds to it at its resolution, beyond the usual.

    Of 20 random subnets these rank as the tuned networks do with a tau of 0.80, the judged ones
    with 0.40 (`benchmarks/rank_after_tuning.py`).

    Args:
        arch: text form. trained_at: the largest network's resolution; 0 where none is chosen.
    """
    pixels = resolution_of(arch)
    if pixels > trained_at:
        return accuracy + GAIN_ABOVE * math.log2(pixels / trained_at) ** 2
    return accuracy + (GAIN_BELOW if pixels < trained_at else 0.0)


@dataclass(frozen=True)
class Largest:
    """The largest network at each resolution, from the smallest resolution to the greatest.

    Attributes:
        archs: text forms. accuracy, cost: predicted, as of answers.
        images: that subnets are judged on. trained_at: the resolution that it was trained at.
    """

    archs: Sequence[str]
    accuracy: Sequence[float]
    cost: Sequence[float]
    images: int
    trained_at: int

    def unless_better(self, answer: Answer, margin: float) -> Answer:
        """The largest network within the answer's budget, unless the answer is better for sure.

        Of several resolutions it is at the greatest one, unless a smaller one is better for sure.

        Args:
            margin: how much longer than predicted the network may take and still hold its budget.
        """
        limit = answer.budget / (1 + margin)
        best: int | None = None
        tuned = list(map(self._tuned, self.archs, self.accuracy))
        for place, cost in enumerate(self.cost):
            if cost > limit:
                continue
            if best is None or not self._surely(tuned[best], tuned[place]):
                best = place
        if best is None or self._surely(self._tuned(answer.arch, answer.accuracy), tuned[best]):
            return answer
        return Answer(
            answer.budget, self.archs[best], self.accuracy[best], self.cost[best],
            "", SOURCES[TABLE],
        )  # fmt: skip

    def _tuned(self, arch: str, accuracy: float) -> float:
        return after_tuning(arch, accuracy, self.trained_at)

    def _surely(self, one: float, other: float) -> bool:
        """Whether one accuracy is above another beyond doubt.

        Two networks are judged on the same images, and agree on about half of what either gets
        wrong, so the difference's standard error is about that of one accuracy.
        """
        error = math.sqrt(other * (1 - other) / self.images)
        return one - other > ERRORS * error


def largest_of(run: RunDirectory, of: Family, images: int) -> Largest:
    """Those of a run whose accuracies and costs are predicted.

    Args:
        images: that subnets are judged on.
    """
    space = of.space
    tokens = at_each_resolution(space, [of.largest])
    accuracy, predicted = load_labels(run, space).label(tokens)
    cost = load_front_calibration(run)(predicted)
    return Largest(space.text(tokens), accuracy.tolist(), cost.tolist(), images, trained_at(of))
