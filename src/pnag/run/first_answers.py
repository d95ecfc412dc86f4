"""Answers first, from the table alone; then R, f and the fronts, which may find better ones."""

from __future__ import annotations

from pnag.files import write_json
from pnag.run.answer_stage import spread_budgets
from pnag.run.display import Display
from pnag.run.own_space import space_of_run
from pnag.run.recipe import Recipe
from pnag.run.run_directory import RunDirectory
from pnag.run.search_stages import first_front_stage, search_stages
from pnag.run.trained import answer, load_front


def answer_and_search(run: RunDirectory, recipe: Recipe, unit: str, display: Display) -> None:
    """First answers, where they are not there yet, then the search.

    Args:
        unit: behind a budget; empty where a table does not tell.
    """
    if first_front_stage(run, recipe, display):
        first_answers(run, recipe, unit, display)
    search_stages(run, recipe, display)


def first_answers(run: RunDirectory, recipe: Recipe, unit: str, display: Display) -> None:
    """Tell and keep answers of the first front; those after f take their place.

    Args:
        unit: behind a budget; empty where a table does not tell.
    """
    space = space_of_run(run, recipe)
    front = load_front(run.first_front, space)
    budgets = [b for b in recipe.budgets or spread_budgets(front) if front.best(b) is not None]
    answers = [answer(front, space, budget, unit) for budget in sorted(budgets)]
    write_json(run.answers, [a.as_json() for a in answers])
    display.note("first answers, from the table alone; f is trained now and may find better ones:")
    for a in answers:
        display.note(f"  {a.budget:g}{unit}: accuracy {a.accuracy:.4f}, cost {a.cost:.4g}")
