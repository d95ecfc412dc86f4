"""The stage that answers a run's budgets, and what its answers' files are called."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pnag.files import read_json, write_json
from pnag.run.display import Display
from pnag.run.doubt import ERRORS, Largest
from pnag.run.margin import answer_with_margin
from pnag.run.run_directory import RunDirectory, answer_name
from pnag.run.size import Size
from pnag.run.trained import Answer, load_calibrated_front
from pnag.search.front import Front
from pnag.space import SearchSpace

DEFAULT_BUDGETS = 5


def spread_budgets(front: Front, n: int = DEFAULT_BUDGETS) -> list[float]:
    """n round budgets, evenly over the front, from a little above its cheapest to its last cost."""
    low, high = float(front.cost[0]), float(front.cost[-1])
    budgets = [low + (high - low) * (i + 1) / n for i in range(n)]
    digits = 2 - int(np.floor(np.log10(max(high - low, 1e-9))))  # below 0: of whole thousands
    up, down = 10 ** max(0, digits), 10 ** max(0, -digits)
    return [float(np.ceil(b * up / down) / up * down) for b in budgets]


def answer_stage(
    run: RunDirectory,
    space: SearchSpace,
    budgets: Sequence[float],
    margin: float,
    size: Size | None,
    display: Display,
    largest: Largest | None,
) -> list[Answer]:
    """Answer each budget and write `architectures.json`.

    Args:
        budgets: those over the front if there are none.
        margin: how much longer than predicted answers may take and still hold their budget.
        size: of the networks; None where there is a table only, in a unit that is not known.
        largest: what answers are unless another network is surely better, if not None.
    """
    unit = " ms" if size else ""
    front = load_calibrated_front(run, space)
    asked = sorted(budgets or spread_budgets(front))
    answers = [answer_with_margin(front, space, budget, margin, unit) for budget in asked]
    if largest:
        answers = [largest.unless_better(each, margin) for each in answers]
        display.note(
            f"  answers are the largest network that fits, unless another is ahead by {ERRORS:g} "
            f"standard errors of {largest.images:,} images"
        )
    if margin:
        display.note(f"  answers leave {margin:.1%} for the prediction's error (--margin)")
    for a in answers:
        display.warn(a.note)
    values = [a.as_json() for a in answers]
    if size:
        for value in values:
            counts = size.count(value["arch"])
            value |= {"params": counts.params, "macs": counts.macs}
    if not run.answers.exists() or read_json(run.answers) != values:
        run.begin_stage()
        write_json(run.answers, values)
    return answers


def model_name(a: Answer) -> str:
    """Name of an answer's files."""
    return answer_name(a.budget)
