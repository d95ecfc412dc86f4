"""The space of a run's architectures: its family's, or that of a table's own columns."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from pnag.errors import PnagError
from pnag.families.registry import DEFAULT, family
from pnag.files import read_json
from pnag.run.recipe import Recipe, TableRecipe
from pnag.run.run_directory import RunDirectory
from pnag.run.size import family_of_recipe
from pnag.run.tables import read_columns
from pnag.space import SearchSpace, Tokens
from pnag.space.choices import ChoiceSpace, rows_of, space_of_rows


def space_of_run(run: RunDirectory, recipe: Recipe) -> SearchSpace:
    """The space that a run searches, once its table is read.

    Raises:
        PnagError: if the run's file of its choices is missing or damaged.
    """
    if not of_choices(recipe):
        return family_of_recipe(recipe).space
    try:
        return ChoiceSpace.from_json(read_json(run.choices))
    except (KeyError, TypeError, ValueError) as error:
        raise PnagError(
            f"{run.choices} does not hold the choices of a table; run `pnag run` again"
        ) from error


def of_choices(recipe: Recipe) -> bool:
    """Whether a run's architectures are rows of a table's own choices."""
    return bool(recipe.table and recipe.table.choices)


def refuse_choices(recipe: Recipe, path: Path) -> None:
    """For what needs networks.

    Raises:
        PnagError: if the run's architectures are rows of a table's own choices.
    """
    if of_choices(recipe):
        raise PnagError(
            f"{path} is a run on a table's own choices, which are not networks to export or to "
            f"draw; its answers are in {path / 'architectures.json'} and {path / 'report.html'}"
        )


def space_of_table(table: TableRecipe) -> SearchSpace:
    """The space of a table that is about to be read: its family's, or of its columns.

    Raises:
        PnagError: for a column of --choices that is not there or cannot be one.
    """
    if not table.choices:
        return family(table.family or DEFAULT).space
    return _space_of(table.path, table.choices)


def _space_of(path: Path, columns: tuple[str, ...]) -> ChoiceSpace:
    frame = read_columns(path, columns)
    try:
        return space_of_rows(rows_of(frame, columns), columns)
    except ValueError as error:
        raise PnagError(f"{path}: {error}") from error


def asked_rows(space: SearchSpace, tokens: Tokens) -> pd.DataFrame:
    """(N, T) architectures as a round asks for them: a column `arch`, or the choices' columns."""
    if isinstance(space, ChoiceSpace):
        return pd.DataFrame(space.decode(tokens), columns=list(space.order), dtype=object)
    return pd.DataFrame({"arch": space.text(tokens)})
