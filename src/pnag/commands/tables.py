"""Tables of accuracies: `pnag collect` makes one, `pnag search` compares methods on one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from pnag.commands.options import (
    Choices,
    Classes,
    FamilyName,
    Json,
    JudgedOn,
    MaxMegapixels,
    OnCorrupt,
    RayAddress,
    Seed,
    look_for,
    parse_budgets,
    parse_columns,
    parse_one_cost,
)
from pnag.consoles import make_console

Supernet = Annotated[
    Path, typer.Option(help="Weights: a run's supernet.safetensors, or a published checkpoint.")
]
ImagesAsInRun = Annotated[str, typer.Option(help="As in `pnag run`.")]
Rows = Annotated[Path, typer.Option(help="A .csv to add rows to; a rerun continues it.")]
Costs = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=FILE",
        help="Add a column NAME to the .parquet with the cost of each architecture on a device, "
        "from a table of `pnag measure`, of operators or of blocks. Repeat it for each further "
        "device; with a finished table it only adds the columns.",
    ),
]
Architectures = Annotated[int, typer.Option(min=1, help="Subnets to judge.")]
Validation = Annotated[int, typer.Option(min=2, help="Images to judge each on.")]
Workers = Annotated[int, typer.Option(min=1, help="Processes, or Ray's actors.")]
JudgedIn = Annotated[
    str | None,
    typer.Option(
        help="Precision in which subnets are judged: float32 or bfloat16. [default: that of the "
        "existing rows, else the fastest here]"
    ),
]
Pixels = Annotated[
    int | None,
    typer.Option(
        min=32,
        help="Resolution of the images in pixels. [default: what the weights were trained at; "
        "where they do not say, the images' own, up to 224]",
    ),
]
CacheBeside = Annotated[
    Path | None,
    typer.Option(help="Folder for the decoded images. [default: `decoded-images` beside --out]"),
]
Shared = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Draw subnets in groups of this size that share their first two units, which are "
        "computed once: this judges more subnets in the same time. 1 draws each on its own, as "
        "the paper does. [default: 8]",
    ),
]


def collect(
    supernet: Supernet,
    images: ImagesAsInRun,
    out: Rows,
    cost: Costs = None,
    part: JudgedOn = None,
    architectures: Architectures = 1000,
    validation: Validation = 5000,
    classes: Classes = None,
    resolution: Pixels = None,
    on_corrupt: OnCorrupt = None,
    max_megapixels: MaxMegapixels = None,
    cache: CacheBeside = None,
    workers: Workers = 1,
    ray_address: RayAddress = None,
    precision: JudgedIn = None,
    shared: Shared = None,
    seed: Seed = None,
) -> None:
    """Make a table of accuracies: judge sampled subnets of a supernet, batch norms recalibrated.

    Weights of `pnag run` say which images they were trained on; given the same ones, these are
    split as they were then, and the validation part judges. All others are judged on the test part.
    """
    given = locals()
    look_for(images)
    from pnag.commands.bodies.collect import Asked, collect_table
    from pnag.run.display import Display

    beside = {
        "cost": cost or [],
        "cache": cache or out.parent / "decoded-images",
        "seed": seed or 0,
    }
    asked = Asked(**given | beside)
    collect_table(asked, Display())


def search(
    table: Annotated[
        Path, typer.Option(help="CSV, Parquet or JSON: column `arch`, an accuracy, a cost.")
    ],
    accuracy: Annotated[str, typer.Option(help="Accuracy column.")],
    cost: Annotated[
        list[str],
        typer.Option(
            metavar="COLUMN",
            help="Cost column, one. For budgets of several costs at once: `pnag run --cost "
            "ms,params`, then `pnag generate RUN --budget 30 --budget params=6M`.",
        ),
    ],
    budgets: Annotated[str, typer.Option(help="Comma list, in the cost's unit.")],
    method: Annotated[
        str, typer.Option(help="pnag, evo, nas-mo, ofa-mo, nsga2 or random.")
    ] = "pnag",
    choices: Choices = None,
    family: FamilyName = None,
    seed: Seed = None,
    as_json: Json = False,
) -> None:
    """Compare search methods: fit two predictors to a table, then let one method answer budgets."""
    from pnag.commands.bodies.search import asked_table, search_table
    from pnag.run.display import Display

    display = Display(make_console(stderr=as_json))
    column = parse_one_cost(cost)
    asked = asked_table(table, accuracy, column, family, parse_columns(choices))
    answers = search_table(asked, method, parse_budgets(budgets, column), seed or 0, display)
    if as_json:
        named = {"family": family} if family else {}  # `pnag compare` reads it
        typer.echo(json.dumps([a.as_json() | named for a in answers], indent=1))
        return
    for a in answers:
        display.note(f"[bold]{a.budget:g}[/bold]  {a.accuracy:.4f}  {a.cost:.4g}  {escape(a.arch)}")
        if a.note:
            display.note(f"  [yellow]note:[/yellow] {escape(a.note)}")
