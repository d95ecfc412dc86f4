"""Devices: `pnag measure`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from pnag.commands.options import (
    Adb,
    FamilyName,
    Json,
    NumClasses,
    Resolution,
    Seed,
    SizedWidthMult,
    Threads,
)
from pnag.consoles import make_console
from pnag.errors import PnagError

Out = Annotated[
    Path | None,
    typer.Option(
        help="File of the latency table, completed if it exists; with several runtimes a "
        "folder of such files."
    ),
]
Runtimes = Annotated[
    str | None,
    typer.Option(help="A runtime from --list, or a comma list of them. [default: onnxruntime]"),
]
ListRuntimes = Annotated[
    bool, typer.Option("--list", help="Show the runtimes, and which can be used here.")
]
Rounds = Annotated[
    int,
    typer.Option(
        min=3, help="Turns of every block and network; half as many with several resolutions."
    ),
]
Calibration = Annotated[
    int | None,
    typer.Option(
        min=3, help="Whole networks to fit the latency model to. [default: 48; --quick: 20]"
    ),
]
Check = Annotated[
    int | None,
    typer.Option(min=2, help="Other whole networks to check it on. [default: 50; --quick: none]"),
]
Quick = Annotated[
    bool,
    typer.Option(
        "--quick",
        help="Time 20 whole networks and no blocks; --out is a CSV of blocks, for --device. "
        "The rest comes from other devices (--known).",
    ),
]
Known = Annotated[
    str | None,
    typer.Option(
        help="Comma list of other devices' files, as --device takes them, for --quick. "
        "[default: multiply-adds and layers alone]"
    ),
]


def measure(
    out: Out = None,
    family: FamilyName = None,
    width_mult: SizedWidthMult = None,
    resolution: Resolution = 224,
    num_classes: NumClasses = 1000,
    runtime: Runtimes = None,
    list_runtimes: ListRuntimes = False,
    threads: Threads = None,
    adb: Adb = None,
    rounds: Rounds = 24,
    calibration: Calibration = None,
    check: Check = None,
    quick: Quick = False,
    known: Known = None,
    seed: Seed = None,
    as_json: Json = False,
) -> None:
    """Time every block and some whole networks here; print the latency model's error.

    With --quick only 20 whole networks, so the error is larger; it is reported too, by predicting
    each of them from the others.
    """
    if list_runtimes:
        _list_runtimes(as_json)
        return
    if out is None:
        raise PnagError("give --out FILE for the latency table")
    if known is not None and not quick:
        raise PnagError("--known goes with --quick; add that, or leave --known out")
    if check is not None and quick:
        raise PnagError("--check goes without --quick; leave one of them out")
    from pnag.commands.bodies.measure import Asked, measure_asked
    from pnag.commands.bodies.quick import measure_quickly_asked
    from pnag.cost.runtimes import DEFAULT
    from pnag.run.named_family import named_family
    from pnag.run.size import Size

    size = Size(resolution, named_family(family, width_mult).name, num_classes)
    asked = Asked(
        out, size, runtime or DEFAULT, threads or 1, adb, rounds, calibration, check, seed or 0
    )
    if quick:
        measure_quickly_asked(asked, known, as_json)
    else:
        measure_asked(asked, as_json)


def _list_runtimes(as_json: bool) -> None:
    from pnag.cost.runtimes import RUNTIMES, why_not

    rows = [
        {"runtime": name, "about": entry.about, "missing": why_not(name)}
        for name, entry in RUNTIMES.items()
    ]
    if as_json:
        typer.echo(json.dumps(rows))
        return
    console = make_console(soft_wrap=True)
    for row in rows:
        mark = "[yellow]no [/yellow]" if row["missing"] else "[green]yes[/green]"
        reason = f"  [dim]{escape(row['missing'])}[/dim]" if row["missing"] else ""
        console.print(f"{mark} [bold]{row['runtime']:14}[/bold] {row['about']}{reason}")
