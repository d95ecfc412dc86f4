"""The stages of a run, each of which reads and writes files of the run directory."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from rich.markup import escape
from torch import nn

from pnag.cost.front_calibration import fit_front_calibration
from pnag.cost.latency_model import check_latency_model, fit_latency_model
from pnag.cost.latency_table import LatencyTable
from pnag.cost.measure import measure_device
from pnag.deploy.export import export_checked
from pnag.deploy.zoo import KNOWN_NETWORKS
from pnag.errors import PnagError
from pnag.files import (
    file_fingerprint,
    read_json,
    write_bytes,
    write_json,
    write_text,
    writing,
)
from pnag.imagenet import AT_224, AT_OTHERS
from pnag.run.display import Display
from pnag.run.further_costs import further_files, keep_further_costs
from pnag.run.margin import answer_with_margin, margin_of
from pnag.run.own_labels import as_json, fit_labels, refuse_unknown_cost, tell_errors
from pnag.run.own_space import asked_rows, space_of_run, space_of_table
from pnag.run.published import published_to_time
from pnag.run.published_networks import file_stem, imagenet_networks, weights_of
from pnag.run.recipe import Recipe, TableRecipe
from pnag.run.run_directory import RunDirectory, answer_name
from pnag.run.size import Size
from pnag.run.tables import add_rounds, architecture_table, read_table, user_table, write_table
from pnag.run.timing import (
    runtime_of,
    steadiness_of_ladder,
    steadiness_of_proof,
    steadiness_of_table,
    time_in_turns,
)
from pnag.run.trained import (
    Answer,
    load_calibrated_front,
    load_front,
    load_gaussian_process,
    load_labels,
    save_gaussian_process,
)
from pnag.search.front import Front, pareto_front
from pnag.search.gaussian_process import fit_gaussian_process
from pnag.search.rounds import propose
from pnag.space import SearchSpace, Tokens
from pnag.space.choices import ChoiceSpace

DEFAULT_BUDGETS = 5
LADDER = 12


def latency_stage(run: RunDirectory, recipe: Recipe, size: Size, display: Display) -> None:
    """Measure this machine, fit the latency model, check it on unseen networks."""
    runtime = runtime_of(recipe)
    # without the phone's number: the runtime's identity tells what phone it is
    settings = recipe.latency.model_dump(exclude={"adb"}) | size.identity() | {"seed": recipe.seed}
    settings |= runtime.identity()

    def work() -> None:
        _change_latency_table(run, settings, display)
        with display.bar("measuring this machine") as bar:
            table = measure_device(
                runtime,
                size.of,
                run.latency_table,
                resolution=size.resolution,
                num_classes=size.num_classes,
                rounds=recipe.latency.rounds,
                calibration=recipe.latency.calibration,
                check=recipe.latency.check,
                seed=recipe.seed,
                progress=lambda what, done, total: bar.update(done, total, what),
            )
        model = fit_latency_model(table)
        model.save(run.latency_model)
        error = check_latency_model(model, table)
        drift = {
            "reference_ms": table.reference_ms,
            "spread": table.drift.spread,
            "levels": len(table.drift.levels),
            "remeasured": table.drift.remeasured,
            "unsteady": table.drift.unsteady,
            "clocks": table.drift.clocks,
        }
        write_json(run.latency_error, {**asdict(error), "drift": drift})

    outputs = [run.latency_table, run.latency_model, run.latency_error]
    run.stage("latency", settings, outputs, work, display.reused)
    error = read_json(run.latency_error)
    display.note(
        f"  latency model on {error['networks']} unseen networks: "
        f"{error['mape']:.1%} mean error, {error['within_5']:.0%} within 5 %, "
        f"tau {error['tau']:.3f}; machine speed ±{error['drift']['spread']:.1%}, "
        f"{error['drift']['remeasured']} disturbed turn(s) taken again"
    )
    steadiness_of_table(run).tell(display)


def _change_latency_table(run: RunDirectory, settings: dict[str, Any], display: Display) -> None:
    """Put what was measured with other settings aside, and back what was measured with these."""
    table = run.latency_table
    kept = run.kept_latency_table(settings)
    with writing(table, "choose another directory with --out"):
        if table.exists():
            try:
                identity = LatencyTable.load(table).identity
            except PnagError:
                table.unlink()
                display.note("the latency table cannot be read: removed")
            else:
                if identity == settings:
                    return
                aside = run.kept_latency_table(identity)
                table.replace(aside)
                display.note(
                    "the latency table is of another device or setting: kept as "
                    f"{escape(str(aside))}"
                )
        if kept.exists():
            kept.replace(table)
            display.note("the latency table of this device and setting was kept: taken back")


def imagenet_table_stage(run: RunDirectory, recipe: Recipe, size: Size, display: Display) -> None:
    """Sample architectures; predict their ImageNet accuracy and their latency here."""
    inputs = {
        "weights": [file_fingerprint(AT_224), file_fingerprint(AT_OTHERS)],
        "latency": file_fingerprint(run.latency_model),
        "architectures": recipe.architectures,
        "resolutions": recipe.resolutions,
        "seed": recipe.seed,
    }

    def work() -> None:
        write_bytes(run.accuracy_predictor, AT_224.read_bytes())
        space = size.of.space
        tokens = space.sample_unique(recipe.architectures, np.random.default_rng(recipe.seed))
        accuracy, cost = load_labels(run, space).label(tokens)
        write_table(architecture_table(tokens, accuracy, cost, size), run.table)
        display.note(f"[green]✓[/green] table of {len(tokens):,} architectures")

    run.stage("table", inputs, [run.accuracy_predictor, run.table], work, display.reused)


def user_table_stage(
    run: RunDirectory, recipe: Recipe, table: TableRecipe, display: Display
) -> int:
    """Check the user's table and fit the two predictors to it and to the rounds filled in.

    Returns:
        How many rounds those are.
    """
    space = space_of_table(recipe, table)
    further = table.further_costs
    frame, notes = user_table(table.path, table.accuracy, table.cost, space, further)
    for note in notes:
        display.warn(note)
    files = run.round_files()
    if files and read_json(run.rounds_table) != _asked_for(table):
        raise PnagError(
            f"the rounds in {run.rounds_table.parent} were asked for another table or other "
            "columns; move that folder away or choose another directory with --out"
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
        "predictor": asdict(recipe.predictor),
        "seed": recipe.seed,
    }

    def work() -> None:
        # A latency model left from another use of the directory would be taken for the cost.
        run.latency_model.unlink(missing_ok=True)
        write_table(frame, run.table)
        if isinstance(space, ChoiceSpace):
            write_json(run.choices, space.as_json())
        labels = fit_labels(space, frame, recipe.predictor, recipe.seed, display, further)
        labels.cost.save(run.cost_predictor)
        keep_further_costs(run, labels.further)
        save_gaussian_process(labels.accuracy, run.accuracy_predictor)
        write_json(run.prediction_errors, as_json(labels.errors))

    outputs = [run.table, run.accuracy_predictor, run.cost_predictor, run.prediction_errors]
    outputs += further_files(run, further, "safetensors")
    outputs += [run.choices] if table.choices else []
    run.stage("table and predictors", inputs, outputs, work, display.reused)
    errors = read_json(run.prediction_errors)
    columns = {"cost": table.cost} | {name: name for name in further}
    tell_errors(errors, {"accuracy": table.accuracy, **columns}, display)
    for name, column in columns.items():
        refuse_unknown_cost(errors, column, str(table.path), name)
    return done


def _asked_for(table: TableRecipe) -> dict[str, Any]:
    """What a run's rounds belong to. The table itself may grow."""
    further = {"further": list(table.further_costs)} if table.further_costs else {}
    return {
        "table": str(table.path.resolve()),
        "accuracy": table.accuracy,
        "cost": table.cost,
    } | further


def ask_stage(
    run: RunDirectory, recipe: Recipe, table: TableRecipe, done: int, display: Display
) -> None:
    """Write the next round's file, in which the user fills in accuracies and costs."""
    path = run.round_file(done + 1)
    space = space_of_run(run, recipe)

    if not path.exists():  # what stands there may be half filled in
        frame = read_table(run.table)
        tokens = space.encode(frame["arch"])
        noise = load_gaussian_process(run.accuracy_predictor, space).noise
        with display.bar("choosing what to ask for") as bar:
            process = fit_gaussian_process(
                space,
                tokens,
                frame["accuracy"].to_numpy(),
                noise=noise,
                seed=recipe.seed,
                progress=bar.update,
            )
            asked = propose(
                space,
                process,
                tokens,
                load_front(run.front, space),
                load_labels(run, space).cost.predict,
                recipe.per_round,
                recipe.seed + done,
            )
        asked_for = (table.accuracy, table.cost, *table.further_costs)
        empty = asked_rows(space, asked).assign(**dict.fromkeys(asked_for, ""))
        write_json(run.rounds_table, _asked_for(table))
        write_text(path, empty.to_csv(index=False))

    display.note(
        f"round {done + 1} of {recipe.rounds}: fill in [bold]{escape(table.accuracy)}[/bold] and "
        f"[bold]{escape(table.cost)}[/bold] in {escape(str(path))}, then give the same command "
        "again"
    )


def best_of_table(space: SearchSpace, frame: pd.DataFrame) -> Tokens:
    """(S, T) the architectures of a table that no other row dominates."""
    tokens = space.encode(frame["arch"])
    accuracy, cost = (frame[name].to_numpy(dtype=float) for name in ("accuracy", "cost"))
    return pareto_front(tokens, accuracy, cost).tokens


def front_calibration_stage(
    run: RunDirectory, recipe: Recipe, size: Size, display: Display
) -> None:
    """Time a ladder of the front's networks; correct the predicted latencies by it."""
    inputs = {
        "latency": file_fingerprint(run.latency_table),
        "front": file_fingerprint(run.front),
        "ladder": LADDER,
    }

    def work() -> None:
        front = load_front(run.front, size.of.space)
        wanted = np.linspace(front.cost[0], front.cost[-1], LADDER)
        rungs = np.unique(np.searchsorted(front.cost, wanted).clip(0, len(front.cost) - 1))
        texts = size.of.space.text(front.tokens[rungs])
        torch.manual_seed(recipe.seed)
        networks = {text: size.build(text) for text in texts}
        pixels = {text: size.pixels(text) for text in texts}
        proof = time_in_turns(run, recipe, networks, pixels, "timing the front", display)
        measured = np.array([proof.networks[text].milliseconds for text in texts])
        fitted = fit_front_calibration(front.cost[rungs], measured)
        replace(fitted, unsteady=proof.unsteady, spread=proof.drift).save(run.front_calibration)

    run.stage("front calibration", inputs, [run.front_calibration], work, display.reused)
    steadiness_of_ladder(run).tell(display)


def spread_budgets(front: Front, n: int = DEFAULT_BUDGETS) -> list[float]:
    """n round budgets evenly over the front, from a little above its cheap end to its dear end."""
    low, high = float(front.cost[0]), float(front.cost[-1])
    budgets = [low + (high - low) * (i + 1) / n for i in range(n)]
    digits = max(0, 2 - int(np.floor(np.log10(max(high - low, 1e-9)))))
    return [float(np.ceil(b * 10**digits) / 10**digits) for b in budgets]


def answer_stage(
    run: RunDirectory, recipe: Recipe, size: Size | None, display: Display
) -> list[Answer]:
    """Answer each budget and write `architectures.json`.

    Args:
        size: of the networks; None where there is a table only, in a unit that is not known.
    """
    unit = " ms" if size else ""
    space = space_of_run(run, recipe)
    front = load_calibrated_front(run, space)
    budgets = list(recipe.budgets) or spread_budgets(front)
    margin = margin_of(run, recipe)
    answers = [answer_with_margin(front, space, budget, margin, unit) for budget in sorted(budgets)]
    if margin:
        display.note(f"  answers leave {margin:.1%} for the prediction's error (--margin)")
    for a in answers:
        display.warn(a.note)
    values = [a.as_json() for a in answers]
    if size:
        for value in values:
            counts = size.count(value["arch"])
            value |= {"params": counts.params, "macs": counts.macs}
    write_json(run.answers, values)
    return answers


def proof_stage(
    run: RunDirectory,
    recipe: Recipe,
    size: Size,
    answers: list[Answer],
    tuned: Mapping[str, nn.Module] | None,
    display: Display,
) -> None:
    """Export and time the answers, on ImageNet together with the networks people know.

    Args:
        tuned: the answers' networks by architecture; None for ImageNet's, whose weights are
            published.
    """
    # Their published accuracies say nothing about other images.
    known = () if tuned else KNOWN_NETWORKS
    todays = [] if tuned else published_to_time(run, [a.budget for a in answers], recipe.compare)
    weights = weights_of(recipe, display)
    inputs = {
        "latency": file_fingerprint(run.latency_table),
        "published": [network.key for network in todays],
        "answers": [[a.budget, a.arch] for a in answers],
        "weights": file_fingerprint(run.judged) if tuned else weights,
        "version": 2,  # 2: the proof says which files and weights there are
        "seed": recipe.seed,
    }
    stems = {model_name(a): file_stem(model_name(a), weights) for a in answers}
    models = {name: run.models / f"{stem}.onnx" for name, stem in stems.items()}

    def work() -> None:
        archs = dict.fromkeys(a.arch for a in answers)
        made = tuned or imagenet_networks(archs, size, weights, recipe.seed)
        networks = {model_name(a): made[a.arch] for a in answers}
        if run.models.is_dir():  # what other budgets have left
            for path in run.models.glob("pnag-*"):
                if path.stem not in stems.values():
                    path.unlink()
        pixels = {model_name(a): size.pixels(a.arch) for a in answers}
        differences = {}
        with display.bar("exporting") as bar:
            for done, (name, network) in enumerate(networks.items(), 1):
                differences[name] = export_checked(network, models[name], pixels[name])
                bar.update(done, len(networks), name)
        others = {n.name: n for n in known} | {n.key: n for n in todays}
        networks |= {name: network.build() for name, network in others.items()}
        proof = time_in_turns(
            run,
            recipe,
            networks,
            pixels | {name: network.resolution for name, network in others.items()},
            "timing the answers",
            display,
            may_leave_out={network.key for network in todays},
        )
        for name, why in proof.left_out.items():
            display.note(f"  {name} does not run on this runtime and is not timed: {escape(why)}")
        write_json(
            run.proof,
            {
                **asdict(proof),
                "onnx_difference": differences,
                "weights": weights,
                "files": {name: models[name].name for name in networks if name in models},
                "measured_at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            },
        )

    run.stage("proof", inputs, [run.proof, *models.values()], work, display.reused)
    steadiness_of_proof(run).tell(display)


def model_name(a: Answer) -> str:
    """Name of an answer's files."""
    return answer_name(a.budget)
