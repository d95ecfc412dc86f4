"""`pnag run` and `pnag train`."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from pnag.commands.options import (
    Adb,
    Budgets,
    Cache,
    Classes,
    Compare,
    Epochs,
    FamilyName,
    ImageResolution,
    ImageResolutions,
    Images,
    Json,
    Margin,
    MaxMegapixels,
    Minutes,
    OnCorrupt,
    RayAddress,
    RecipeFile,
    RuntimeName,
    Seed,
    StartFrom,
    StartWeights,
    Threads,
    TrainMethod,
    WidthMult,
    look_for,
    parse_budgets,
    parse_columns,
    parse_compare,
    parse_resolutions,
)
from pnag.consoles import make_console
from pnag.errors import PnagError

if TYPE_CHECKING:
    from pnag.run.recipe import Recipe

FILES = (".csv", ".tsv", ".txt", ".json", ".parquet", ".pq")  # what tables and images end in


def run(
    out: Annotated[
        Path | None,
        typer.Option(
            help="Run directory: results, and what a rerun reuses. [default: runs/this-machine, or "
            "runs/NAME of the table or images]"
        ),
    ] = None,
    budgets: Budgets = None,
    table: Annotated[
        Path | None,
        typer.Option(
            help="Your own table (CSV, Parquet, JSON): columns `arch`, an accuracy, a cost."
        ),
    ] = None,
    accuracy: Annotated[str | None, typer.Option(help="Accuracy column of --table.")] = None,
    cost: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN[,COLUMN...]",
            help="Cost column of --table. Several, by commas or given again: --budgets are of the "
            "first, and `pnag generate` takes a budget of each, by its column, all at once.",
        ),
    ] = None,
    choices: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN[,COLUMN...]",
            help="Columns of --table that are what is searched, in place of `arch`: numbers or "
            "names, empty where a choice does not exist.",
        ),
    ] = None,
    images: Images = None,
    classes: Classes = None,
    on_corrupt: OnCorrupt = None,
    max_megapixels: MaxMegapixels = None,
    cache: Cache = None,
    minutes: Minutes = None,
    start: StartFrom = None,
    weights: StartWeights = None,
    family: FamilyName = None,
    resolution: ImageResolution = None,
    resolutions: ImageResolutions = None,
    width_mult: WidthMult = None,
    epochs: Epochs = None,
    train_method: TrainMethod = None,
    finetune_epochs: Annotated[
        int | None, typer.Option(min=1, help="Of each answer. [default: by --minutes]")
    ] = None,
    architectures: Annotated[
        int | None,
        typer.Option(
            min=20, help="Architectures M of the table. [default: 16000; --images: by --minutes]"
        ),
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Rounds of asking for the truth about the most promising architectures: the "
            "supernet of --images, or you, in files to fill in. [default: 0; --images: 4]",
        ),
    ] = None,
    per_round: Annotated[
        int | None,
        typer.Option(min=1, help="Architectures a round asks for. [default: 100; --images: 50]"),
    ] = None,
    published: Annotated[
        bool | None,
        typer.Option(
            "--published/--untrained",
            help="Whether ImageNet's answers get Once-for-All's weights, fetched once (30 MB). "
            "[default: published]",
        ),
    ] = None,
    runtime: RuntimeName = None,
    threads: Threads = None,
    adb: Adb = None,
    margin: Margin = None,
    compare: Compare = None,
    ray_address: RayAddress = None,
    seed: Seed = None,
    recipe: RecipeFile = None,
    as_json: Json = False,
) -> None:
    """Everything: from this machine, your images or your table to the best network for each budget.

    With --images: trains a supernet on them, judges its subnets, measures this CPU, searches, then
    fine-tunes and exports the answers. It says how long that will take before it starts.

    With --table: searches in your own table of accuracies and costs.

    With neither: measures this CPU, takes ImageNet accuracies of the published Once-for-All
    supernet (embedded predictor), trains evaluator and generator, answers five budgets, exports the
    networks and times them. Stop it at any moment; the same command goes on.
    """
    look_for(images)
    from pnag.report.best_of_all import best_of_all_tables
    from pnag.report.cells import what_accuracy_means
    from pnag.report.terminal import answers_table, architecture_lines, known_table
    from pnag.run.display import Display
    from pnag.run.recipe import load_recipe, make_recipe
    from pnag.run.run import run_pipeline

    values: dict[str, Any] = load_recipe(recipe) if recipe else {}
    if (table is None) and (accuracy or cost or choices):
        raise PnagError(
            "--accuracy, --cost and --choices name columns of --table, which is not given"
        )
    if table is not None:
        costs = parse_columns(cost)
        if not accuracy or not costs:
            raise PnagError("--table needs --accuracy COLUMN and --cost COLUMN")
        values |= {
            "source": "table",
            "table": {
                "path": table, "accuracy": accuracy, "cost": costs[0],
                "further_costs": costs[1:], "family": family, "choices": parse_columns(choices),
            },
        }  # fmt: skip
        family = None  # of the table
    if images is not None and table is not None:
        raise PnagError("--images and --table are two ways to start; give one of them")
    _image_values(
        values,
        images,
        train_method,
        classes=classes,
        on_corrupt=on_corrupt,
        max_megapixels=max_megapixels,
        cache=cache,
        minutes=minutes,
        start=start,
        weights=weights,
        family=family,
        resolution=resolution,
        resolutions=parse_resolutions(resolutions),
        width_mult=width_mult,
        epochs=epochs,
        finetune_epochs=finetune_epochs,
    )
    if budgets is not None:
        values["budgets"] = parse_budgets(budgets, _section(values, "table").get("cost"))
    if architectures is not None:
        place = values["images"] if values.get("source") == "images" else values
        place["architectures"] = architectures
    if rounds is not None:
        values["rounds"] = rounds
    if per_round is not None:
        values["per_round"] = per_round
    if seed is not None:
        values["seed"] = seed
    if margin is not None:
        values["margin"] = margin
    if published is not None:
        if values.get("source", "imagenet") != "imagenet":
            raise PnagError("--published and --untrained are for runs on ImageNet; leave them out")
        values["published"] = published
    if compare is not None:
        values["compare"] = parse_compare(compare, values.get("source", "imagenet"))
    _latency_values(values, runtime=runtime, threads=threads, adb=adb)
    console = make_console(stderr=as_json)
    made = make_recipe(values)
    if ray_address and made.images is None:
        raise PnagError("--ray-address is for --images, which is not given; leave it out")
    if out is None:
        out = default_out(table or images)
        _check_source(out, made)
    metrics = run_pipeline(made, out, Display(console), ray_address)
    if as_json:
        typer.echo(json.dumps(metrics, indent=1))
        return
    console.print()
    console.print(answers_table(metrics))
    for line in architecture_lines(metrics):
        console.print(line, highlight=False, soft_wrap=True)
    if metrics.get("known"):
        console.print(known_table(metrics))
        for part in best_of_all_tables(metrics):
            console.print(part)
    console.print(f"[dim]{what_accuracy_means(metrics)}[/dim]")
    console.print(f"answers [bold]{escape(str(out / 'architectures.json'))}[/bold]")
    if not (made.table and made.table.choices):
        console.print(f"report  [bold]{escape(str(out / 'report.html'))}[/bold]")
    command = f"pnag generate {shlex.quote(str(out))} --budget {_example(metrics)}"
    console.print(f"any other budget: [bold]{escape(command)}[/bold]")


def default_out(source: Path | str | None) -> Path:
    """Where a run of a table or of images goes that is not told, next to that of this machine."""
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
    from pnag.run.recipe import load_recipe, make_recipe
    from pnag.run.run_directory import RunDirectory

    try:
        before = make_recipe(load_recipe(RunDirectory(out, reading=True).recipe))
    except PnagError:  # there is none, or it tells nothing
        return
    (there, its_path), (here, path) = _source_of(before), _source_of(recipe)
    if path != its_path:
        copied = recipe.images is not None and before.images is not None
        same = f", or --out {out} if they are the same images elsewhere" if copied else ""
        raise PnagError(
            f"{out} has the results of {there}, and this run is of {here}; give it a directory "
            f"of its own with --out{same}"
        )


def _source_of(recipe: Recipe) -> tuple[str, str]:
    """What a run is of, for people, and to compare."""
    from pnag.commands.bodies.export_command import found_anywhere

    if recipe.table is not None:
        return f"the table {recipe.table.path}", str(recipe.table.path.resolve())
    if recipe.images is not None:
        return f"the images {recipe.images.source}", found_anywhere(recipe.images.source)
    return "this machine with ImageNet's accuracies", ""


def _section(values: dict[str, Any], name: str) -> dict[str, Any]:
    """A part of a recipe that options complete."""
    section = values.get(name) or {}
    if not isinstance(section, dict):
        raise PnagError(f"{name} in the recipe is {section!r}, needs options such as `name: value`")
    return dict(section)


def _latency_values(values: dict[str, Any], **options: Any) -> None:
    """Complete a recipe's values by the options that name a device."""
    given = {name: value for name, value in options.items() if value is not None}
    if given and values.get("source") == "table":
        raise PnagError(
            f"--{next(iter(given))} is for measuring a device, and the table has its own costs; "
            "leave it out"
        )
    if given:
        values["latency"] = _section(values, "latency") | given


def _image_values(
    values: dict[str, Any], images: str | None, train_method: str | None, **options: Any
) -> None:
    """Complete a recipe's values by the options that go with --images."""
    given = {name: value for name, value in options.items() if value is not None}
    if images is not None:
        values["source"] = "images"
        if not images.strip():
            raise PnagError("--images is empty; name a folder, Parquet files or a data set")
        values["images"] = _section(values, "images") | {"source": images}
    if values.get("source") != "images":
        if "source" not in _section(values, "images"):
            values.pop("images", None)  # a recipe's defaults for runs on images, which this is not
        if values.get("source", "imagenet") == "imagenet" and "resolutions" in given:
            values["resolutions"] = given.pop("resolutions")
        if given or train_method:
            first = next(iter(given), "train_method").replace("_", "-")
            raise PnagError(f"--{first} goes with --images, which is not given")
        return
    if {"resolution", "resolutions"} <= set(given):
        raise PnagError("--resolution and --resolutions are two answers; give one of them")
    values["images"] = _section(values, "images") | given
    if train_method is not None:
        values["supernet"] = _section(values, "supernet") | {"method": train_method}
    values.setdefault("rounds", 4)
    values.setdefault("per_round", 50)


def train(
    images: Images,
    out: Annotated[Path, typer.Option(help="Run directory, for `pnag run` to go on in.")],
    classes: Classes = None,
    on_corrupt: OnCorrupt = None,
    max_megapixels: MaxMegapixels = None,
    cache: Cache = None,
    minutes: Minutes = None,
    start: StartFrom = None,
    weights: StartWeights = None,
    family: FamilyName = None,
    resolution: ImageResolution = None,
    resolutions: ImageResolutions = None,
    width_mult: WidthMult = None,
    epochs: Epochs = None,
    train_method: TrainMethod = None,
    budgets: Budgets = None,
    runtime: RuntimeName = None,
    threads: Threads = None,
    adb: Adb = None,
    seed: Seed = None,
    recipe: RecipeFile = None,
) -> None:
    """The supernet only: the part of `pnag run --images` that several processes can share.

    Several GPUs: accelerate launch --multi_gpu -m pnag train --images ... --out RUN

    Several CPU processes: torchrun --nproc_per_node 2 -m pnag train --images ... --out RUN

    Then give `pnag run` the same options. With --budgets its resolution and width suit these, by a
    few networks that are timed here: on --runtime, if that is told.
    """
    look_for(images)
    from pnag.run.display import Display
    from pnag.run.recipe import load_recipe, make_recipe
    from pnag.run.run import train_only

    values: dict[str, Any] = load_recipe(recipe) if recipe else {}
    _image_values(
        values,
        images,
        train_method,
        classes=classes,
        on_corrupt=on_corrupt,
        max_megapixels=max_megapixels,
        cache=cache,
        minutes=minutes,
        start=start,
        weights=weights,
        family=family,
        resolution=resolution,
        resolutions=parse_resolutions(resolutions),
        width_mult=width_mult,
        epochs=epochs,
    )
    if budgets is not None:
        values["budgets"] = parse_budgets(budgets)
    device = {"runtime": runtime, "threads": threads, "adb": adb}
    for name, value in device.items():
        if value is not None and not values.get("budgets"):
            raise PnagError(f"--{name} is where networks for --budgets run, which are not given")
    _latency_values(values, **device)
    if seed is not None:
        values["seed"] = seed
    train_only(make_recipe(values), out, Display())


def _example(metrics: dict[str, Any]) -> str:
    budgets = [a["budget"] for a in metrics["answers"]]
    return f"{sum(budgets) / len(budgets):.4g}"
