"""Where judging leaves doubt an answer is the largest network that fits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pnag.run.doubt import Largest
from pnag.run.trained import Answer

# As `pnag run` has judged them on 1,000 photos: one standard error is 1.3 points.
L64, L80, L96, L128 = (f"2:3,3:6,6@{pixels}" for pixels in (64, 80, 96, 128))
SMALL = "1:3,0:6,0@96"
LARGEST = Largest((L64, L80, L96, L128), (0.735, 0.771, 0.801, 0.784),
                  (0.82, 1.39, 1.84, 3.15), images=1000, trained_at=96)  # fmt: skip


def answer(budget: float, accuracy: float) -> Answer:
    return Answer(budget, SMALL, accuracy, 0.99 * budget, "a note", "f")


@pytest.mark.parametrize(
    ("budget", "accuracy", "expected"),
    [
        (0.97, 0.740, L64),  # ahead by less than chance may give
        (0.97, 0.790, SMALL),
        (1.51, 0.777, L80),
        (3.24, 0.801, L128),  # itself not surely behind the one at 96
        (3.24, 0.840, SMALL),
        (0.80, 0.500, SMALL),  # none fits
    ],
)
def test_an_answer_is_the_largest_network_unless_another_is_surely_better(
    budget: float, accuracy: float, expected: str
) -> None:
    found = LARGEST.unless_better(answer(budget, accuracy), 0.0)
    assert found.arch == expected and found.budget == budget
    # What a note says of the front's best is not true of another network.
    assert found.note == ("a note" if expected == SMALL else "")
    assert found.cost <= budget and found.source == ("f" if expected == SMALL else "table")


def test_more_images_leave_less_doubt_and_a_margin_is_kept() -> None:
    behind = replace(LARGEST, accuracy=(0.735, 0.771, 0.801, 0.765))
    assert behind.unless_better(answer(3.24, 0.801), 0.0).arch == L128
    assert replace(behind, images=10_000).unless_better(answer(3.24, 0.801), 0.0).arch == L96
    assert LARGEST.unless_better(answer(3.24, 0.801), 0.05).arch == L96


def test_what_tuning_adds_elsewhere_is_counted_before_resolutions_are_compared() -> None:
    # Judged with 5,000 of CIFAR-10's images: surely behind, but not once both are tuned.
    judged = Largest((L64, L96, L128), (0.838, 0.881, 0.862), (0.5, 1.2, 2.3), 5000, trained_at=96)
    itself = Answer(2.4, L96, 0.881, 1.2, "", "table")
    assert judged.unless_better(itself, 0.0).arch == L128
    elsewhere = replace(judged, trained_at=128)
    assert elsewhere.unless_better(itself, 0.0).arch == L96
    # An answer at another resolution gains as much.
    smaller = Answer(0.6, "1:3,0:6,0@128", 0.850, 0.6, "", "f")
    assert judged.unless_better(smaller, 0.0).arch == smaller.arch


def test_a_resolution_further_away_gains_more() -> None:
    # As 20 minutes with 5,000 of CIFAR-10's images judged them: 160 pixels, tuned, are ahead.
    l160 = "2:3,3:6,6@160"
    judged = Largest((L96, L128, l160), (0.805, 0.773, 0.725), (0.9, 1.6, 2.6), 1000, trained_at=96)
    assert judged.unless_better(Answer(2.7, L96, 0.805, 0.9, "", "table"), 0.0).arch == l160
    far_behind = replace(judged, accuracy=(0.805, 0.773, 0.690))
    assert far_behind.unless_better(Answer(2.7, L96, 0.805, 0.9, "", "table"), 0.0).arch == L128


def test_where_no_resolution_is_chosen_nothing_is_added() -> None:
    alone = Largest(("2:3,3:6,6",), (0.80,), (1.0,), 1000, trained_at=0)
    assert (
        alone.unless_better(Answer(1.1, "1:3,0:6,0", 0.81, 0.9, "", "f"), 0.0).arch == "2:3,3:6,6"
    )
