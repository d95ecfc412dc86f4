"""`pnag run` and `pnag train`: from options to a recipe, and what is printed of a finished run."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape

from pnag.commands.bodies.asked_recipe import OF_DEVICE, asked_values
from pnag.commands.bodies.export_command import found_anywhere
from pnag.consoles import make_console
from pnag.errors import PnagError
from pnag.report.best_of_all import best_of_all_tables
from pnag.report.cells import what_accuracy_means
from pnag.report.terminal import answers_table, architecture_lines, known_table
from pnag.report.tuned_published import tuned_tables
from pnag.run.display import Display
from pnag.run.recipe import Recipe, load_recipe, make_recipe
from pnag.run.run import run_pipeline, train_only
from pnag.run.run_directory import RunDirectory

FILES = (".csv", ".tsv", ".txt", ".json", ".parquet", ".pq")  # what tables and images end in


def run_asked(given: Mapping[str, Any], as_json: bool) -> None:
    """Do what `pnag run` is asked for, and print the metrics.

    Args:
        given: what was given of its options, by their names.

    Raises:
        PnagError: for anything that the user can fix.
    """
    recipe = make_recipe(asked_values(given))
    out = given.get("out")
    if out is None:
        out = default_out(_path_of(recipe))
        _check_source(out, recipe)
    console = make_console(stderr=as_json)
    metrics = run_pipeline(
        recipe, out, Display(console), given.get("ray_address"),
        time_again=given.get("time_again", False),
    )  # fmt: skip
    if as_json:
        typer.echo(json.dumps(metrics, indent=1))
    else:
        _print_metrics(metrics, recipe, out, console)


def train_asked(given: Mapping[str, Any], out: Path) -> None:
    """Train the supernet that `pnag train` is asked for.

    Args:
        given: what was given of its options, by their names.

    Raises:
        PnagError: for anything that the user can fix.
    """
    values = asked_values(given)
    for name in OF_DEVICE:
        if name in given and not values.get("budgets"):
            raise PnagError(
                f"--{name} says where networks for --budgets run, but --budgets is not given"
            )
    train_only(make_recipe(values), out, Display())


def _print_metrics(metrics: dict[str, Any], recipe: Recipe, out: Path, console: Console) -> None:
    console.print()
    console.print(answers_table(metrics))
    for line in architecture_lines(metrics):
        console.print(line, highlight=False, soft_wrap=True)
    if metrics.get("known"):
        console.print(known_table(metrics))
        for part in best_of_all_tables(metrics):
            console.print(part)
    for part in tuned_tables(metrics):
        console.print(part)
    console.print(f"[dim]{what_accuracy_means(metrics)}[/dim]")
    console.print(f"answers [bold]{escape(str(out / 'architectures.json'))}[/bold]")
    console.print(f"report  [bold]{escape(str(out / 'report.html'))}[/bold]")
    budgets = [a["budget"] for a in metrics["answers"]]
    command = f"pnag generate {shlex.quote(str(out))} --budget {sum(budgets) / len(budgets):.4g}"
    console.print(f"any other budget: [bold]{escape(command)}[/bold]")


def _path_of(recipe: Recipe) -> Path | str | None:
    """The table or the images of a run, whether options or a file of --recipe name them."""
    if recipe.table is not None:
        return recipe.table.path
    return recipe.images.source if recipe.images is not None else None


def default_out(source: Path | str | None) -> Path:
    """Where a run of a table or of images goes by default, next to that of this machine."""
    if source is None:
        return Path("runs/this-machine")
    path = Path(source).resolve()  # of ".", too
    is_file = path.suffix.lower() in FILES and not path.is_dir()
    name = path.stem if is_file else path.name
    if not name:
        raise PnagError(f"{source} has no name to call the run by; give a directory with --out")
    return Path("runs") / name


def _check_source(out: Path, recipe: Recipe) -> None:
    """Refuse a directory that was not asked for and has the results of another source.

    Raises:
        PnagError: names both sources.
    """
    try:
        before = make_recipe(load_recipe(RunDirectory(out, reading=True).recipe))
    except PnagError:  # there is none, or it says nothing
        return
    (there, its_path), (here, path) = _source_of(before), _source_of(recipe)
    if path != its_path:
        copied = recipe.images is not None and before.images is not None
        same = f", or --out {out} if they are the same images elsewhere" if copied else ""
        raise PnagError(
            f"{out} has the results of {there}, but this run is of {here}; give it a directory "
            f"of its own with --out{same}"
        )


def _source_of(recipe: Recipe) -> tuple[str, str]:
    """The source of a run, for people to read and for runs to be compared by."""
    if recipe.table is not None:
        return f"the table {recipe.table.path}", str(recipe.table.path.resolve())
    if recipe.images is not None:
        return f"the images {recipe.images.source}", found_anywhere(recipe.images.source)
    return "this machine with ImageNet's accuracies", ""
