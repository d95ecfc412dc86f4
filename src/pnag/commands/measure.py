"""Devices: `pnag measure`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from pnag.commands.options import (
    Adb,
    FamilyName,
    Json,
    Resolution,
    Seed,
    SizedWidthMult,
    Threads,
)
from pnag.consoles import make_console
from pnag.errors import PnagError

if TYPE_CHECKING:
    from pnag.cost.latency_model import ModelError
    from pnag.cost.latency_table import LatencyTable
    from pnag.cost.runtimes import Runtime


def measure(
    out: Annotated[
        Path | None,
        typer.Option(
            help="File of the latency table, completed if it exists; with several runtimes a "
            "folder of such files."
        ),
    ] = None,
    family: FamilyName = None,
    width_mult: SizedWidthMult = None,
    resolution: Resolution = 224,
    num_classes: Annotated[int, typer.Option(min=1, help="Classes.")] = 1000,
    runtime: Annotated[
        str | None,
        typer.Option(help="Of --list, or a comma list of them. [default: onnxruntime]"),
    ] = None,
    list_runtimes: Annotated[
        bool, typer.Option("--list", help="Show the runtimes, and which can be used here.")
    ] = False,
    threads: Threads = None,
    adb: Adb = None,
    rounds: Annotated[int, typer.Option(min=3, help="Turns of every block and network.")] = 24,
    calibration: Annotated[
        int | None,
        typer.Option(min=3, help="Whole networks to fit to. [default: 48; --quick: 20]"),
    ] = None,
    check: Annotated[
        int | None,
        typer.Option(min=2, help="Other whole networks to check on. [default: 50; --quick: none]"),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help="Time 20 whole networks and no blocks; --out is a CSV of blocks, for --device. "
            "The rest is what other devices tell (--known).",
        ),
    ] = False,
    known: Annotated[
        str | None,
        typer.Option(
            help="Comma list of other devices' files, as --device takes them, for --quick. "
            "[default: multiply-adds and layers alone]"
        ),
    ] = None,
    seed: Seed = None,
    as_json: Json = False,
) -> None:
    """Time every block and some whole networks here; print the latency model's error.

    With --quick only 20 whole networks, so that the error is larger: it is told, too, by predicting
    each of them from the others.
    """
    if list_runtimes:
        _list_runtimes(as_json)
        return
    if out is None:
        raise PnagError("measuring needs --out FILE for the latency table")
    for name, value in {
        "known": None if quick else known,
        "check": check if quick else None,
    }.items():
        if value is not None:
            raise PnagError(
                f"--{name} goes {'without' if quick else 'with'} --quick; leave one of them out"
            )

    from pnag.cost.latency_model import check_latency_model, fit_latency_model
    from pnag.cost.measure import measure_device
    from pnag.cost.runtimes import DEFAULT, make_runtimes, too_many_threads
    from pnag.report.terminal import latency_errors_table
    from pnag.run.display import Display
    from pnag.run.named_family import named_family
    from pnag.run.timing import Steadiness

    display = Display(make_console(stderr=as_json))
    of = named_family(family, width_mult)
    if quick:
        from pnag.commands.bodies.quick import measure_to_csv, quick_table

        told = measure_to_csv(
            make_one_runtime(runtime or DEFAULT, threads or 1, adb), of, out, known,
            networks=calibration or 20, resolution=resolution, num_classes=num_classes,
            rounds=rounds, seed=seed or 0, display=display,
        )  # fmt: skip
        if as_json:
            typer.echo(json.dumps(told))
        else:
            display.console.print(quick_table(told))
        return
    runtimes = make_runtimes(runtime or DEFAULT, threads or 1, adb)
    display.warn(too_many_threads(runtime or DEFAULT, threads or 1))
    paths = table_paths(out, list(runtimes))
    results = []
    for name, made in runtimes.items():
        with display.bar(f"measuring {name}") as bar:
            table = measure_device(
                made,
                of,
                paths[name],
                resolution=resolution,
                num_classes=num_classes,
                rounds=rounds,
                calibration=calibration or 48,
                check=check or 50,
                seed=seed or 0,
                progress=lambda what, done, total, bar=bar: bar.update(done, total, what),  # type: ignore[misc]
            )
        error = check_latency_model(fit_latency_model(table), table)
        results.append(_result(table, error))
        display.note(_steadiness(table))
        Steadiness(
            "blocks and networks", paths[name], table.drift.unsteady, table.drift.spread
        ).tell(display)
    if as_json:
        typer.echo(json.dumps(results if len(runtimes) > 1 else results[0]))
    else:
        display.console.print(latency_errors_table(list(runtimes), results))


def make_one_runtime(names: str, threads: int, adb: str | None) -> Runtime:
    """The runtime that is asked for.

    Raises:
        PnagError: if there are several, or as `make_runtime`.
    """
    from pnag.cost.runtimes import make_runtime

    if "," in names:
        raise PnagError(f"--runtime is {names}, needs one with --quick; give the command for each")
    return make_runtime(names, threads, adb)


def table_paths(out: Path, runtimes: list[str]) -> dict[str, Path]:
    """Where each runtime's table goes: to `out`, or for several to a file each in the folder `out`.

    Raises:
        PnagError: if there are several, and `out` is a file or called like one.
    """
    if len(runtimes) == 1:
        return {runtimes[0]: out}
    if out.is_file() or out.suffix == ".json":
        raise PnagError(
            f"--out is {out}, needs a folder: {len(runtimes)} runtimes give a file each"
        )
    return {name: out / f"{name.replace(':', '-')}.json" for name in runtimes}


def _result(table: LatencyTable, error: ModelError) -> dict[str, Any]:
    """What a script gets of a measured device."""
    from dataclasses import asdict

    from pnag.cost.steadiness import why_unsure

    return {
        **table.identity,
        **asdict(error),
        "drift": table.drift.spread,
        "remeasured": table.drift.remeasured,
        "unsteady": table.drift.unsteady,
        "busy": why_unsure(table.drift.unsteady, table.drift.spread),
        "minutes": round(table.seconds / 60, 2),
    }


def _steadiness(table: LatencyTable) -> str:
    """What was measured, and how steady the machine was."""
    identity, drift = table.identity, table.drift
    text = (
        f"{identity['device']}, {identity['runtime']} {identity['version']}, "
        f"{identity['threads']} thread(s), {identity['batch']} image(s) a call, "
        f"{identity['resolution']}x{identity['resolution']}\n"
        f"machine speed ±{drift.spread:.1%} over {len(drift.levels)} readings, "
        f"{drift.remeasured} disturbed turns taken again, {drift.unsteady} kept"
    )
    if drift.clocks:
        text += f", clock {min(drift.clocks):.0f} to {max(drift.clocks):.0f} MHz"
    return text


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
