"""`pnag`: one command a stage, and `run` for all of them."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.markup import escape

from pnag.errors import PnagError

app = typer.Typer(
    name="pnag",
    help="Give it a device and a latency budget, it hands you the best network for it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
errors = Console(stderr=True)
F = TypeVar("F", bound=Callable[..., Any])


def mistakes_are_messages(command: F) -> F:
    """Print a user's mistake as one line and exit with 2; Ctrl-C exits with 130."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except (PnagError, ValueError) as error:
            if isinstance(error, ValueError) and not _is_users(error):
                raise
            errors.print(f"[red]error:[/red] {escape(str(error))}", highlight=False, soft_wrap=True)
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            errors.print("stopped; `pnag run` and `pnag measure` go on where they were")
            raise typer.Exit(130) from None

    return wrapped  # type: ignore[return-value]


def _is_users(error: ValueError) -> bool:
    """Whether a ValueError comes from reading an architecture that the user gave."""
    return str(error).startswith("architecture ") or "needs a" in str(error)


def parse_budgets(text: str | None) -> list[float]:
    """`25,27.5,33` to numbers.

    Raises:
        PnagError: for anything that is not a list of positive numbers.
    """
    if text is None:
        return []
    budgets = []
    for part in text.split(","):
        try:
            value = float(part)
        except ValueError:
            value = float("nan")
        if not 0 < value < float("inf"):
            raise PnagError(
                f"--budgets has {part.strip()!r}, needs positive numbers such as 25,27.5,33"
            )
        budgets.append(value)
    return budgets


Json = Annotated[bool, typer.Option("--json", help="Print JSON for a script instead of tables.")]
Seed = Annotated[
    int | None,
    typer.Option(min=0, max=2**32 - 1, help="Seed of everything that is drawn. [default: 0]"),
]
Threads = Annotated[
    int | None, typer.Option(min=1, help="Threads of the measured runtime. [default: 1]")
]
Images = Annotated[
    str | None,
    typer.Option(
        help="Your own images: a folder of class folders, Parquet files, a name on the Hugging "
        "Face hub, or `digits` to try it out."
    ),
]
Classes = Annotated[
    int | None, typer.Option(min=2, help="Take this many classes of --images, drawn by the seed.")
]
OnCorrupt = Annotated[
    str | None, typer.Option(help="Images that cannot be read: refuse or skip. [default: refuse]")
]
Cache = Annotated[
    Path | None,
    typer.Option(help="Folder for the decoded images. [default: `images` in the run directory]"),
]
Minutes = Annotated[
    float | None,
    typer.Option(min=0.1, help="Time that a run on --images is made to suit. [default: 120]"),
]
ImageResolution = Annotated[
    int | None, typer.Option(min=32, help="Of --images in pixels. [default: their own, to 224]")
]
WidthMult = Annotated[
    float | None, typer.Option(min=0.1, help="Of the supernet. [default: by --minutes]")
]
Epochs = Annotated[
    int | None, typer.Option(min=1, help="Of the supernet, all phases. [default: by --minutes]")
]
TrainMethod = Annotated[
    str | None,
    typer.Option(help="Of the supernet: progressive or sandwich. [default: progressive]"),
]
Resolution = Annotated[int, typer.Option(min=32, help="Height and width of the images.")]


@app.command()
@mistakes_are_messages
def run(
    out: Annotated[
        Path | None,
        typer.Option(
            help="Run directory: results, and what a rerun reuses. [default: runs/this-machine, or "
            "runs/NAME of the table or images]"
        ),
    ] = None,
    budgets: Annotated[
        str | None,
        typer.Option(help="Comma list; ms, or the cost's unit. [default: five over the range]"),
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(help="Your own CSV or Parquet table: column `arch`, an accuracy, a cost."),
    ] = None,
    accuracy: Annotated[str | None, typer.Option(help="Accuracy column of --table.")] = None,
    cost: Annotated[str | None, typer.Option(help="Cost column of --table.")] = None,
    images: Images = None,
    classes: Classes = None,
    on_corrupt: OnCorrupt = None,
    cache: Cache = None,
    minutes: Minutes = None,
    resolution: ImageResolution = None,
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
    threads: Threads = None,
    seed: Seed = None,
    recipe: Annotated[
        Path | None, typer.Option(help="YAML with any of recipe.yaml's options.")
    ] = None,
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
    from pnag.pipeline.display import Display
    from pnag.pipeline.recipe import load_recipe, make_recipe
    from pnag.pipeline.run import run_pipeline
    from pnag.report.cells import what_accuracy_means
    from pnag.report.terminal import answers_table, architecture_lines, known_table

    values: dict[str, Any] = load_recipe(recipe) if recipe else {}
    if (table is None) and (accuracy or cost):
        raise PnagError("--accuracy and --cost name columns of --table, which is not given")
    if table is not None:
        if not accuracy or not cost:
            raise PnagError("--table needs --accuracy COLUMN and --cost COLUMN")
        values |= {
            "source": "table",
            "table": {"path": table, "accuracy": accuracy, "cost": cost},
        }
    if images is not None and table is not None:
        raise PnagError("--images and --table are two ways to start; give one of them")
    _image_values(
        values,
        images,
        train_method,
        classes=classes,
        on_corrupt=on_corrupt,
        cache=cache,
        minutes=minutes,
        resolution=resolution,
        width_mult=width_mult,
        epochs=epochs,
        finetune_epochs=finetune_epochs,
    )
    if budgets is not None:
        values["budgets"] = parse_budgets(budgets)
    if architectures is not None:
        place = values["images"] if values.get("source") == "images" else values
        place["architectures"] = architectures
    if rounds is not None:
        values["rounds"] = rounds
    if per_round is not None:
        values["per_round"] = per_round
    if seed is not None:
        values["seed"] = seed
    if threads is not None:
        values["latency"] = _section(values, "latency") | {"threads": threads}
    console = Console(stderr=as_json)
    if out is None:
        source = table or images
        out = Path("runs") / (Path(source).stem if source else "this-machine")
    metrics = run_pipeline(make_recipe(values), out, Display(console))
    if as_json:
        typer.echo(json.dumps(metrics, indent=1))
        return
    console.print()
    console.print(answers_table(metrics))
    for line in architecture_lines(metrics):
        console.print(line, highlight=False, soft_wrap=True)
    if metrics.get("known"):
        console.print(known_table(metrics))
    console.print(f"[dim]{what_accuracy_means(metrics)}[/dim]")
    console.print(f"answers [bold]{out / 'architectures.json'}[/bold]")
    console.print(f"report  [bold]{out / 'report.html'}[/bold]")
    console.print(
        f"any other budget: [bold]pnag generate {out} --budget {_example(metrics)}[/bold]"
    )


def _section(values: dict[str, Any], name: str) -> dict[str, Any]:
    """A part of a recipe that options complete."""
    section = values.get(name) or {}
    if not isinstance(section, dict):
        raise PnagError(f"{name} in the recipe is {section!r}, needs options such as `name: value`")
    return dict(section)


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
        if given or train_method:
            first = next(iter(given), "train_method").replace("_", "-")
            raise PnagError(f"--{first} goes with --images, which is not given")
        return
    values["images"] = _section(values, "images") | given
    if train_method is not None:
        values["supernet"] = _section(values, "supernet") | {"method": train_method}
    values.setdefault("rounds", 4)
    values.setdefault("per_round", 50)


@app.command()
@mistakes_are_messages
def train(
    images: Images,
    out: Annotated[Path, typer.Option(help="Run directory, for `pnag run` to go on in.")],
    classes: Classes = None,
    on_corrupt: OnCorrupt = None,
    cache: Cache = None,
    minutes: Minutes = None,
    resolution: ImageResolution = None,
    width_mult: WidthMult = None,
    epochs: Epochs = None,
    train_method: TrainMethod = None,
    seed: Seed = None,
    recipe: Annotated[
        Path | None, typer.Option(help="YAML with any of recipe.yaml's options.")
    ] = None,
) -> None:
    """The supernet only: the part of `pnag run --images` that several processes can share.

    Several GPUs: accelerate launch --multi_gpu -m pnag train --images ... --out RUN

    Several CPU processes: torchrun --nproc_per_node 2 -m pnag train --images ... --out RUN

    Then give `pnag run` the same options.
    """
    from pnag.pipeline.display import Display
    from pnag.pipeline.recipe import load_recipe, make_recipe
    from pnag.pipeline.run import train_only

    values: dict[str, Any] = load_recipe(recipe) if recipe else {}
    _image_values(
        values,
        images,
        train_method,
        classes=classes,
        on_corrupt=on_corrupt,
        cache=cache,
        minutes=minutes,
        resolution=resolution,
        width_mult=width_mult,
        epochs=epochs,
    )
    if seed is not None:
        values["seed"] = seed
    train_only(make_recipe(values), out, Display())


def _example(metrics: dict[str, Any]) -> str:
    budgets = [a["budget"] for a in metrics["answers"]]
    return f"{sum(budgets) / len(budgets):.4g}"


@app.command()
@mistakes_are_messages
def collect(
    supernet: Annotated[
        Path, typer.Option(help="Weights: a run's supernet.safetensors, or a published checkpoint.")
    ],
    images: Annotated[str, typer.Option(help="As in `pnag run`; the validation part judges.")],
    out: Annotated[Path, typer.Option(help="CSV that rows are added to; a rerun goes on.")],
    architectures: Annotated[int, typer.Option(min=1, help="Subnets to judge.")] = 1000,
    validation: Annotated[int, typer.Option(min=2, help="Images to judge each on.")] = 2000,
    classes: Classes = None,
    resolution: ImageResolution = None,
    cache: Cache = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes, or Ray's actors.")] = 1,
    ray_address: Annotated[
        str | None, typer.Option(help="Of a Ray cluster, or `local`. Needs the extra `ray`.")
    ] = None,
    seed: Seed = None,
) -> None:
    """A table of accuracies: judge sampled subnets of a supernet, batch norms recalibrated."""
    from pnag.pipeline.collect_table import collect_table
    from pnag.pipeline.display import Display

    collect_table(
        supernet,
        images,
        out,
        resolution=resolution,
        cache=cache or out.parent / "images",
        classes=classes,
        architectures=architectures,
        validation=validation,
        workers=workers,
        ray_address=ray_address,
        seed=seed or 0,
        display=Display(),
    )


@app.command()
@mistakes_are_messages
def generate(
    run_directory: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run.")],
    budget: Annotated[float, typer.Option(help="Milliseconds, or the cost's unit.")],
    greedy: Annotated[
        bool, typer.Option(help="The generator's single most likely architecture instead.")
    ] = False,
    as_json: Json = False,
) -> None:
    """The best network for any other budget, from a finished run, at once."""
    from pnag.pipeline.run_directory import RunDirectory
    from pnag.pipeline.trained import answer, load_calibrated_front, most_likely
    from pnag.space import SearchSpace

    if not run_directory.is_dir():
        raise PnagError(f"there is no run directory {run_directory}; make one with `pnag run`")
    files = RunDirectory(run_directory)
    if not files.front.exists():
        raise PnagError(f"{run_directory} is not a finished run; finish it with `pnag run --out`")
    space = SearchSpace()
    result = answer(load_calibrated_front(files, space), space, budget)
    if greedy:
        result = most_likely(files, space, budget)
    if as_json:
        typer.echo(json.dumps(result.as_json()))
        return
    console = Console(soft_wrap=True)
    console.print(f"[bold]{result.arch}[/bold]", highlight=False)
    console.print(f"predicted accuracy {result.accuracy:.4f}, cost {result.cost:.4g}")
    if result.note:
        console.print(f"[yellow]note:[/yellow] {result.note}")
    console.print(f"[dim]export it: pnag export {result.arch} --to onnx[/dim]")


@app.command()
@mistakes_are_messages
def search(
    table: Annotated[
        Path, typer.Option(help="CSV or Parquet: column `arch`, an accuracy, a cost.")
    ],
    accuracy: Annotated[str, typer.Option(help="Accuracy column.")],
    cost: Annotated[str, typer.Option(help="Cost column.")],
    budgets: Annotated[str, typer.Option(help="Comma list, in the cost's unit.")],
    method: Annotated[
        str, typer.Option(help="pnag, evo, nas-mo, ofa-mo, nsga2 or random.")
    ] = "pnag",
    seed: Seed = None,
    as_json: Json = False,
) -> None:
    """Compare search methods: fit two predictors to a table, let one method answer budgets."""
    from pnag.pipeline.display import Display
    from pnag.pipeline.search_table import search_table

    display = Display(Console(stderr=as_json))
    answers = search_table(
        table, accuracy, cost, method, parse_budgets(budgets), seed or 0, display
    )
    if as_json:
        typer.echo(json.dumps([a.as_json() for a in answers], indent=1))
        return
    for a in answers:
        display.note(f"[bold]{a.budget:g}[/bold]  {a.accuracy:.4f}  {a.cost:.4g}  {a.arch}")
        if a.note:
            display.note(f"  [yellow]note:[/yellow] {a.note}")


@app.command()
@mistakes_are_messages
def measure(
    out: Annotated[Path, typer.Option(help="File of the latency table; completed if it exists.")],
    width_mult: Annotated[float, typer.Option(min=0.1, help="Width multiplier.")] = 1.0,
    resolution: Resolution = 224,
    threads: Threads = None,
    rounds: Annotated[int, typer.Option(min=3, help="Turns of every block and network.")] = 24,
    calibration: Annotated[int, typer.Option(min=3, help="Whole networks to fit to.")] = 48,
    check: Annotated[int, typer.Option(min=2, help="Other whole networks to check on.")] = 50,
    seed: Seed = None,
    as_json: Json = False,
) -> None:
    """Time every block and some whole networks on this CPU; print the latency model's error."""
    from dataclasses import asdict

    from pnag.cost.latency_model import check_latency_model, fit_latency_model
    from pnag.cost.measure import measure_device
    from pnag.cost.onnx_cpu import OnnxCpu
    from pnag.pipeline.display import Display
    from pnag.space import SearchSpace

    display = Display(Console(stderr=as_json))
    space = SearchSpace()
    with display.bar("measuring this machine") as bar:
        table = measure_device(
            OnnxCpu(threads or 1),
            space,
            out,
            width_mult=width_mult,
            resolution=resolution,
            rounds=rounds,
            calibration=calibration,
            check=check,
            seed=seed or 0,
            progress=lambda what, done, total: bar.update(done, total, what),
        )
    error = check_latency_model(space, fit_latency_model(space, table), table)
    if as_json:
        typer.echo(json.dumps({**table.identity, **asdict(error), "drift": table.drift.spread}))
        return
    display.note(
        f"{table.identity['device']}, {table.identity['runtime']} {table.identity['version']}, "
        f"{table.identity['threads']} thread(s), {resolution}x{resolution}\n"
        f"{error.networks} unseen networks: {error.mape:.1%} mean error, "
        f"{error.within_5:.0%} within 5 %, {error.within_10:.0%} within 10 %, tau {error.tau:.3f}\n"
        f"machine speed ±{table.drift.spread:.1%} over {len(table.drift.levels)} readings, "
        f"{table.drift.remeasured} disturbed turns taken again, {table.drift.unsteady} kept"
    )


@app.command()
@mistakes_are_messages
def count(
    arch: Annotated[str, typer.Argument(metavar="ARCH", help="Text form d:k:e.")],
    width_mult: Annotated[float, typer.Option(min=0.1, help="Width multiplier.")] = 1.0,
    resolution: Resolution = 224,
    num_classes: Annotated[int, typer.Option(min=1, help="Classes.")] = 1000,
    as_json: Json = False,
) -> None:
    """Parameters and multiply-adds of an architecture, without building it."""
    from dataclasses import asdict

    from pnag.networks.counts import count as count_one

    counts = count_one(arch, width_mult, resolution, num_classes)
    if as_json:
        typer.echo(json.dumps(asdict(counts)))
        return
    typer.echo(f"params     {counts.params:>13,}")
    typer.echo(f"MAdds      {counts.macs:>13,}")
    typer.echo(f"conv MAdds {counts.conv_macs:>13,}  (what the paper counts)")


@app.command()
@mistakes_are_messages
def export(
    arch: Annotated[str, typer.Argument(metavar="ARCH", help="Text form d:k:e.")],
    to: Annotated[str, typer.Option(help="Format: onnx.")] = "onnx",
    out: Annotated[Path | None, typer.Option(help="File. [default: pnag.onnx]")] = None,
    width_mult: Annotated[float, typer.Option(min=0.1, help="Width multiplier.")] = 1.0,
    resolution: Resolution = 224,
    num_classes: Annotated[int, typer.Option(min=1, help="Classes.")] = 1000,
    seed: Seed = None,
) -> None:
    """Write an architecture as an ONNX file with fresh weights, checked against torch."""
    import torch

    from pnag.deploy.export import export_checked
    from pnag.networks import build

    if to != "onnx":
        raise PnagError(f"--to is {to!r}, allowed: onnx")
    path = out or Path("pnag.onnx")
    torch.manual_seed(seed or 0)
    difference = export_checked(build(arch, width_mult, num_classes), path, resolution)
    typer.echo(f"{path}: outputs equal torch's to {difference:.0e} of the largest")


def main() -> None:
    """Entry point."""
    app()


if __name__ == "__main__":
    main()
