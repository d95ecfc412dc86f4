"""Answers from the table alone; R, f and the fronts, which take longer, may find better ones."""

from __future__ import annotations

from collections.abc import Sequence

from pnag.files import write_json
from pnag.run.answer_stage import spread_budgets
from pnag.run.display import Display
from pnag.run.run_directory import RunDirectory
from pnag.run.trained import answer, load_front
from pnag.space import SearchSpace


def first_answers(
    run: RunDirectory, space: SearchSpace, budgets: Sequence[float], unit: str, display: Display
) -> None:
    """Print and keep answers of the first front; those after f take their place.

    Args:
        budgets: those over the front if there are none.
        unit: written after a budget; empty where a table does not say.
    """
    front = load_front(run.first_front, space)
    held = [b for b in budgets or spread_budgets(front) if front.best(b) is not None]
    answers = [answer(front, space, budget, unit) for budget in sorted(held)]
    write_json(run.answers, [a.as_json() for a in answers])
    display.note(
        "first answers, from the table alone; f is being trained and may find better ones:"
    )
    for a in answers:
        display.note(f"  {a.budget:g}{unit}: accuracy {a.accuracy:.4f}, cost {a.cost:.4g}")
