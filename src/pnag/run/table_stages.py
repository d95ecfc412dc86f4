"""The stages that make a run's table: of ImageNet accuracies, or of a user's own and its rounds."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from rich.markup import escape

from pnag.errors import PnagError
from pnag.files import file_fingerprint, read_json, write_bytes, write_json, write_text
from pnag.imagenet import AT_224, AT_OTHERS
from pnag.run.display import Display
from pnag.run.further_costs import further_files, keep_further_costs
from pnag.run.own_labels import as_json, fit_labels, refuse_unknown_cost, tell_errors
from pnag.run.own_space import asked_rows, space_of_run, space_of_table
from pnag.run.recipe import Recipe, TableRecipe
from pnag.run.run_directory import RunDirectory
from pnag.run.size import Size
from pnag.run.tables import add_rounds, architecture_table, read_table, user_table, write_table
from pnag.run.trained import (
    load_front,
    load_gaussian_process,
    load_labels,
    save_gaussian_process,
)
from pnag.search.predictor_fit import PredictorSettings
from pnag.search.rounds import promising
from pnag.space.choices import ChoiceSpace


def imagenet_table_stage(
    run: RunDirectory, size: Size, architectures: int, seed: int, display: Display
) -> None:
    """Sample so many architectures; predict their ImageNet accuracy and their latency here."""
    space = size.of.space
    inputs = {
        "weights": [file_fingerprint(AT_224), file_fingerprint(AT_OTHERS)],
        "latency": file_fingerprint(run.latency_model),
        "architectures": architectures,
        "resolutions": space.resolutions or (size.resolution,),
        "seed": seed,
    }

    def work() -> None:
        write_bytes(run.accuracy_predictor, AT_224.read_bytes())
        tokens = space.sample_unique(architectures, np.random.default_rng(seed))
        accuracy, cost = load_labels(run, space).label(tokens)
        write_table(architecture_table(tokens, accuracy, cost, size), run.table)
        display.note(f"[green]✓[/green] table of {len(tokens):,} architectures")

    run.stage("table", inputs, [run.accuracy_predictor, run.table], work, display.reused)


def user_table_stage(
    run: RunDirectory,
    table: TableRecipe,
    predictor: PredictorSettings,
    seed: int,
    display: Display,
) -> tuple[int, int]:
    """Check the user's table and fit the two predictors to it and to the rounds filled in.

    Returns:
        How many rounds those are, and how many rows they have, which are the table's last.
    """
    space = space_of_table(table)
    further = table.further_costs
    frame, notes = user_table(table.path, table.accuracy, table.cost, space, further)
    for note in notes:
        display.warn(note)
    files = run.round_files()
    if files and read_json(run.rounds_table) != _asked_for(table):
        raise PnagError(
            f"the rounds in {run.rounds_table.parent} belong to another table or other columns; "
            "choose another directory with --out"
        )
    rows = len(frame)
    frame, done = add_rounds(frame, files, table.accuracy, table.cost, space, further)
    if done:
        display.note(f"with {len(frame) - rows} rows from {done} round(s) that you filled in")
    inputs = {
        "table": file_fingerprint(table.path),
        "rounds": [file_fingerprint(path) for path in files[:done]],
        "columns": [table.accuracy, table.cost, *further],
        "family": table.family,
        **({"choices": space.as_json()} if isinstance(space, ChoiceSpace) else {}),
        **({"version": 2} if space.resolutions else {}),  # 2: a cost has a scale for each of them
        "predictor": asdict(predictor),
        "seed": seed,
    }

    def work() -> None:
        write_table(frame, run.table)
        if isinstance(space, ChoiceSpace):
            write_json(run.choices, space.as_json())
        labels = fit_labels(space, frame, predictor, seed, display, further)
        labels.cost.save(run.cost_predictor)
        keep_further_costs(run, labels.further)
        save_gaussian_process(labels.accuracy, run.accuracy_predictor)
        write_json(run.prediction_errors, as_json(labels.errors))

    outputs = [run.table, run.accuracy_predictor, run.cost_predictor, run.prediction_errors]
    outputs += further_files(run, ["safetensors"] * len(further))
    outputs += [run.choices] if table.choices else []
    # A latency model left from another use of the directory would be taken for the cost.
    run.latency_model.unlink(missing_ok=True)
    run.stage("table and predictors", inputs, outputs, work, display.reused)
    errors = read_json(run.prediction_errors)
    columns = {"cost": table.cost} | {name: name for name in further}
    tell_errors(errors, {"accuracy": table.accuracy, **columns}, display)
    for name, column in columns.items():
        refuse_unknown_cost(errors, column, str(table.path), name)
    return done, len(frame) - rows


def _asked_for(table: TableRecipe) -> dict[str, Any]:
    """What a run's rounds belong to. The table itself may grow."""
    further = {"further": list(table.further_costs)} if table.further_costs else {}
    return {
        "table": str(table.path.resolve()),
        "accuracy": table.accuracy,
        "cost": table.cost,
    } | further


def ask_stage(
    run: RunDirectory,
    recipe: Recipe,
    table: TableRecipe,
    done: int,
    from_rounds: int,
    display: Display,
) -> None:
    """Write the next round's file, in which the user fills in accuracies and costs.

    Args:
        done: rounds that are filled in. from_rounds: their rows, the last of the run's table.
    """
    path = run.round_file(done + 1)
    space = space_of_run(run, recipe)
    asked_for = (table.accuracy, table.cost, *table.further_costs)

    if not path.exists():  # what stands there may be half filled in
        frame = read_table(run.table)
        tokens = space.encode(frame["arch"])
        accuracy, cost = (frame[name].to_numpy(dtype=float) for name in ("accuracy", "cost"))
        noise = load_gaussian_process(run.accuracy_predictor, space).noise
        front, predicted = load_front(run.front, space), load_labels(run, space).cost.predict
        with display.bar("choosing what to ask for") as bar:
            asked = promising(
                space, tokens, accuracy, cost, predicted, recipe.per_round, recipe.seed + done,
                from_rounds=from_rounds, front=front.tokens, noise=noise, progress=bar.update,
            )  # fmt: skip
        if not len(asked):
            display.note(
                f"round {done + 1} of {recipe.rounds} asks for nothing: the table has all "
                "architectures that are near the front"
            )
            return
        empty = asked_rows(space, asked).assign(**dict.fromkeys(asked_for, ""))
        write_json(run.rounds_table, _asked_for(table))
        write_text(path, empty.to_csv(index=False))

    *most, last = (f"[bold]{escape(name)}[/bold]" for name in asked_for)
    display.note(
        f"round {done + 1} of {recipe.rounds}: fill in {', '.join(most)} and {last} in "
        f"{escape(str(path))}, then give the same command again"
    )
