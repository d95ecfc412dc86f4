"""Where judging leaves doubt an answer is the largest network that fits."""

from __future__ import annotations

import pytest

from pnag.run.doubt import Largest
from pnag.run.trained import Answer

# As `pnag run` has judged them on 1,000 photos: one standard error is 1.3 points.
LARGEST = Largest(("l@64", "l@80", "l@96", "l@128"), (0.735, 0.771, 0.801, 0.784),
                  (0.82, 1.39, 1.84, 3.15), 1000)  # fmt: skip


def answer(budget: float, accuracy: float) -> Answer:
    return Answer(budget, "small@96", accuracy, 0.99 * budget, "a note", "f")


@pytest.mark.parametrize(
    ("budget", "accuracy", "expected"),
    [
        (0.97, 0.740, "l@64"),  # ahead by less than chance may give
        (0.97, 0.770, "small@96"),
        (1.51, 0.777, "l@80"),
        (3.24, 0.801, "l@128"),  # itself not surely behind the one at 96
        (3.24, 0.840, "small@96"),
        (0.80, 0.500, "small@96"),  # none fits
    ],
)
def test_an_answer_is_the_largest_network_unless_another_is_surely_better(
    budget: float, accuracy: float, expected: str
) -> None:
    found = LARGEST.unless_better(answer(budget, accuracy), 0.0)
    assert found.arch == expected and found.budget == budget
    # What a note says of the front's best is not true of another network.
    assert found.note == ("a note" if expected == "small@96" else "")
    assert found.cost <= budget and found.source == ("f" if expected == "small@96" else "table")


def test_more_images_leave_less_doubt_and_a_margin_is_kept() -> None:
    many = Largest(LARGEST.archs, LARGEST.accuracy, LARGEST.cost, 10_000)
    assert many.unless_better(answer(3.24, 0.801), 0.0).arch == "l@96"
    assert LARGEST.unless_better(answer(3.24, 0.801), 0.05).arch == "l@96"
