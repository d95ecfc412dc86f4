"""Single architectures: `pnag generate`, `pnag count`, `pnag export`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from pnag.commands.options import (
    Batch,
    Classes,
    DynamicBatch,
    FamilyName,
    FinishedRun,
    Json,
    MaxMegapixels,
    NumClasses,
    Resolution,
    Seed,
    SizedWidthMult,
    asked_batch,
    finite,
    look_for,
    only_given,
    parse_budget,
    parse_named_budgets,
)
from pnag.consoles import make_console
from pnag.errors import PnagError

Budgets = Annotated[
    list[str],
    typer.Option(
        metavar="[NAME=]NUMBER",
        help="Milliseconds, or the unit of the run's own cost. Repeat it for each further cost: "
        "params=6M, macs=300M, memory=2MB (activations), a column of --cost, or NAME=MS with "
        "--device NAME=FILE.",
    ),
]
Devices = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[NAME=]FILE",
        help="Another device to generate for: a table of `pnag measure`, of operators "
        "or blocks; or params, macs or memory. It replaces the run's own cost; with NAME= it adds "
        "a cost. A generator is trained once for all devices of a command, and kept.",
    ),
]
TableWidthMult = Annotated[
    float | None,
    typer.Option(
        min=0.1, callback=finite, help="Width multiplier of a --table run's networks. [default: 1]"
    ),
]
TableResolution = Annotated[
    int | None, typer.Option(min=32, help="Image size of a --table run's networks. [default: 224]")
]
TableNumClasses = Annotated[
    int | None, typer.Option(min=1, help="Classes of a --table run's networks. [default: 1000]")
]
Greedy = Annotated[
    bool, typer.Option(help="Give the generator's single most likely architecture instead.")
]
Thorough = Annotated[
    bool,
    typer.Option(
        help="Search for half a minute, instead of answering several budgets at once from the "
        "generator's draws, the run's table and a short search. Nothing is trained for a device "
        "with NAME=."
    ),
]


def generate(
    run_directory: FinishedRun,
    budget: Budgets,
    device: Devices = None,
    width_mult: TableWidthMult = None,
    resolution: TableResolution = None,
    num_classes: TableNumClasses = None,
    greedy: Greedy = False,
    thorough: Thorough = False,
    as_json: Json = False,
) -> None:
    """Answer any other budget at once, from a finished run.

    Several budgets: the best network that is within all of them. At once for those of the run's own
    costs; a budget of another cost takes the long search of --thorough.

    Other devices: their costs and the run's accuracies make a new generator, in minutes and without
    images. It is kept in RUN/devices, and answers at once all further budgets of these devices, of
    the run's further costs, and of params, macs and memory.
    """
    from pnag.commands.bodies.export_command import export_command
    from pnag.commands.bodies.generate import generate_for
    from pnag.commands.bodies.several import SeveralAnswer
    from pnag.run.amounts import amount
    from pnag.run.display import Display

    size = only_given(
        {"width_mult": width_mult, "resolution": resolution, "num_classes": num_classes}
    )
    result = generate_for(
        run_directory,
        parse_named_budgets(budget),
        device or [],
        size,
        greedy=greedy,
        thorough=thorough,
        display=Display(make_console(stderr=as_json)),
    )
    if as_json:
        typer.echo(json.dumps(result.as_json()))
        return
    console = make_console(soft_wrap=True)
    console.print(f"[bold]{escape(result.arch)}[/bold]", highlight=False)
    if isinstance(result, SeveralAnswer):
        costs = ", ".join(f"{name} {amount(value)}" for name, value in result.costs.items())
        console.print(f"predicted accuracy {result.accuracy:.4f}, {escape(costs)}")
    else:
        console.print(f"predicted accuracy {result.accuracy:.4f}, cost {result.cost:.4g}")
        if result.note:
            console.print(f"[yellow]note:[/yellow] {escape(result.note)}")
    if result.source:
        console.print(f"[dim]comes from: {result.source}[/dim]")
    if result.arch.startswith("{"):  # choices, which are no network
        return
    command = export_command(run_directory, result, size)
    console.print(f"[dim]export it: {escape(command)}[/dim]")


def count(
    arch: Annotated[
        str,
        typer.Argument(
            metavar="ARCH",
            help="Text form d:k:e, the JSON of its ks, e and d, or a file with either.",
        ),
    ],
    family: FamilyName = None,
    width_mult: SizedWidthMult = None,
    resolution: Resolution = 224,
    num_classes: NumClasses = 1000,
    as_json: Json = False,
) -> None:
    """Count an architecture's parameters, multiply-adds and peak memory, without building it."""
    from dataclasses import asdict

    from pnag.commands.bodies.given_architecture import given_architecture, unlike
    from pnag.run.named_family import named_family
    from pnag.run.size import Size

    of = named_family(family, width_mult)
    given = given_architecture(arch, of)
    size = Size(resolution, of.name, num_classes)
    for note in unlike(given[1], size) if given else []:
        typer.echo(f"note: {note}", err=True)
    counts = size.count(str(given[0]) if given else arch)
    if as_json:
        typer.echo(json.dumps(asdict(counts)))
        return
    typer.echo(f"params     {counts.params:>13,}")
    typer.echo(f"MAdds      {counts.macs:>13,}")
    typer.echo(f"conv MAdds {counts.conv_macs:>13,}  (what the paper counts)")
    typer.echo(f"memory     {counts.memory:>13,}  (bytes of activations at the peak, one image)")


What = Annotated[
    str,
    typer.Argument(
        metavar="ARCH_OR_RUN",
        help="Text form d:k:e, the JSON of its ks, e and d, or a file with either; or the "
        "directory of a finished run.",
    ),
]
To = Annotated[
    str,
    typer.Option(
        help="Format: onnx, openvino, executorch, coreml, litert, mnn, ncnn, torchscript or timm."
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(help="Output file; for a RUN, a folder. [default: pnag.SUFFIX; RUN/exports]"),
]
OneBudget = Annotated[
    str | None, typer.Option(help="From a RUN, export only the best answer within this cost.")
]
Weights = Annotated[
    str | None,
    typer.Option(
        metavar="SUPERNET",
        help="Take the weights from this supernet: a run's supernet.safetensors, a checkpoint, or "
        "`published`.",
    ),
]
ImagesToMeasureOn = Annotated[
    str | None,
    typer.Option(
        help="Images to measure the batch norms of a subnet of --weights on, named as for `pnag "
        "run --images`; they also calibrate --int8."
    ),
]
Int8 = Annotated[bool, typer.Option("--int8", help="8-bit weights and activations (openvino).")]
OwnWidthMult = Annotated[
    float | None,
    typer.Option(min=0.1, callback=finite, help="Width multiplier. [default: 1]"),
]
OwnResolution = Annotated[
    int | None, typer.Option(min=32, help="Height and width of the images. [default: 224]")
]
OwnNumClasses = Annotated[int | None, typer.Option(min=1, help="Classes. [default: 1000]")]


def export(
    what: What,
    to: To = "onnx",
    out: Out = None,
    budget: OneBudget = None,
    weights: Weights = None,
    images: ImagesToMeasureOn = None,
    classes: Classes = None,
    max_megapixels: MaxMegapixels = None,
    int8: Int8 = False,
    family: FamilyName = None,
    width_mult: OwnWidthMult = None,
    resolution: OwnResolution = None,
    num_classes: OwnNumClasses = None,
    batch: Batch = None,
    dynamic_batch: DynamicBatch = False,
    seed: Seed = None,
) -> None:
    """Write networks in a format that other runtimes load, checked there against torch.

    A run on images exports its fine-tuned answers. Any other run, or an architecture, exports
    networks with fresh weights or those of --weights. Each network gets a description of its input
    and classes, and all of them an example that loads them.
    """
    look_for(images)
    from pnag.commands.bodies.export import Asked, export_all
    from pnag.deploy.formats import load_converter

    images_at_a_time = asked_batch(to, batch, dynamic=dynamic_batch)
    if int8 and to != "openvino":
        raise PnagError(f"--int8 goes with --to openvino, not {to}")
    load_converter(to)  # a missing package costs no time
    console = make_console(soft_wrap=True)
    asked = Asked(
        to, out, parse_budget(budget), weights, images, classes, int8, family, width_mult,
        resolution,
        num_classes, seed or 0, max_megapixels, images_at_a_time,
    )  # fmt: skip
    for line in export_all(what, asked):
        console.print(line, highlight=False)
