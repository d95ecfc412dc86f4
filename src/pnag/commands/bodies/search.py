"""`pnag search`: one search method on one table."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from pnag.run.display import Display
from pnag.run.own_labels import as_json, fit_labels, refuse_unknown_cost, tell_errors
from pnag.run.own_space import space_of_table
from pnag.run.recipe import TableRecipe, make_recipe
from pnag.run.tables import user_table
from pnag.run.trained import Answer
from pnag.search.labels import Labels
from pnag.search.methods import Problem, get_method


def asked_table(
    path: Path, accuracy: str, cost: str, family: str | None, choices: list[str]
) -> TableRecipe:
    """The table of the options, checked as `pnag run` checks it.

    Args:
        family: of the table's architectures; the default one if None.
        choices: columns that are the architectures, of no family; none if empty.

    Raises:
        PnagError: for a column that is named twice, or choices of a family.
    """
    table = {"path": path, "accuracy": accuracy, "cost": cost, "family": family, "choices": choices}
    found = make_recipe({"source": "table", "table": table}).table
    assert found is not None
    return found


def search_table(
    table: TableRecipe, method: str, budgets: list[float], seed: int, display: Display
) -> list[Answer]:
    """Fit the predictors that all methods share, then answer each budget by the method.

    Raises:
        PnagError: for a bad table, one whose cost cannot be predicted, an unknown method or an
            infeasible budget.
    """
    train = get_method(method)
    space = space_of_table(table)
    frame, notes = user_table(table.path, table.accuracy, table.cost, space)
    for note in notes:
        display.warn(note)
    fitted = fit_labels(space, frame, make_recipe({}).predictor, seed, display)
    errors = as_json(fitted.errors)
    tell_errors(errors, {"accuracy": table.accuracy, "cost": table.cost}, display)
    refuse_unknown_cost(errors, table.cost, str(table.path))
    labels = Labels(space, fitted.accuracy, fitted.cost)
    problem = problem_of(frame, labels)
    with display.bar(method) as bar:
        searcher = train(problem, seed, bar.update)
        answers = []
        for budget in sorted(budgets):
            tokens = searcher.answer(budget)
            value, price = labels.label(tokens)
            note = "predicted to cost more than the budget" if price[0] > budget else ""
            answers.append(
                Answer(budget, space.text(tokens)[0], float(value[0]), float(price[0]), note)
            )
    return answers


def problem_of(frame: pd.DataFrame, labels: Labels) -> Problem:
    """What search methods get of a table with `arch`, `accuracy` and `cost`, and its predictors."""
    accuracy, cost = (frame[name].to_numpy(dtype=float) for name in ("accuracy", "cost"))
    space = labels.space
    return Problem(space, space.encode(frame["arch"]), accuracy, cost, labels)
