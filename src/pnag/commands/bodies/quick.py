"""`pnag measure --quick`: a device from a few networks, as a CSV of blocks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import typer
from rich.table import Table

from pnag.commands.bodies.measure import Asked
from pnag.consoles import make_console
from pnag.cost.block_csv import write_block_csv
from pnag.cost.latency_model import LatencyModel
from pnag.cost.load import measured_content
from pnag.cost.quick_measure import measure_quickly
from pnag.cost.runtimes import make_runtime, too_many_threads
from pnag.cost.steadiness import why_unsure
from pnag.errors import PnagError
from pnag.files import check_writable
from pnag.run.display import Display, adding_up
from pnag.run.own_files import refuse_own_files
from pnag.run.size import Size


def measure_quickly_asked(asked: Asked, known: str | None, as_json: bool) -> None:
    """Time networks, write the fitted blocks, and print how well they predict.

    Args:
        known: comma list of other devices' files.

    Raises:
        PnagError: for several runtimes, if a file of `known` has no latencies of this family and
            size, or if the file cannot be written or is a latency table.
    """
    display = Display(make_console(stderr=as_json))
    outcome = _measure_to_csv(asked, known, display)
    if as_json:
        typer.echo(json.dumps(outcome))
    else:
        display.console.print(_quick_table(outcome))


def _measure_to_csv(asked: Asked, known: str | None, display: Display) -> dict[str, Any]:
    """Time networks, write the fitted blocks; how well they predict, for a script."""
    if "," in asked.runtime:
        raise PnagError(
            f"--runtime must be one with --quick, not {asked.runtime}; give the command for each"
        )
    _refuse_measured(asked.out)
    refuse_own_files(asked.out)
    runtime = make_runtime(asked.runtime, asked.threads, asked.adb)
    display.warn(too_many_threads(asked.runtime, asked.threads))
    check_writable(asked.out)
    models = _known_devices(known, asked.size)
    networks, rounds = asked.calibration or 20, asked.rounds
    family, resolution, num_classes = asked.size.of, asked.size.resolution, asked.size.num_classes
    with display.bar("measuring quickly") as bar:
        found = measure_quickly(
            runtime, family, models, networks=networks, resolution=resolution,
            num_classes=num_classes, rounds=rounds, seed=asked.seed,
            advance=adding_up(bar, rounds * networks),
        )  # fmt: skip
    write_block_csv(asked.out, found.model, resolution=resolution, num_classes=num_classes)
    error = np.abs(found.fit.errors)
    return {
        **runtime.identity(),
        "resolution": resolution,
        **family.identity(),
        "num_classes": num_classes,
        "networks": networks,
        "known": len(models),
        "mape": float(error.mean()),
        "within_5": float((error <= 0.05).mean()),
        "within_10": float((error <= 0.10).mean()),
        "drift": found.drift.spread,
        "busy": why_unsure(found.drift.unsteady, found.drift.spread),
    }


def _refuse_measured(out: Path) -> None:
    """Refuse to write a CSV over a latency table or model, which took far longer to measure."""
    if measured_content(out) is not None:
        raise PnagError(
            f"--out is {out}, which holds a device measured without --quick; a CSV of blocks would "
            "take its place: choose another file, such as quick.csv"
        )


def _known_devices(names: str | None, size: Size) -> list[LatencyModel]:
    """The latency models of a comma list of files."""
    models = []
    for name in filter(None, map(str.strip, (names or "").split(","))):
        model = size.cost(name)
        if not isinstance(model, LatencyModel):
            raise PnagError(
                f"--known has {name}, which is counted: leave it out, it is known anyway"
            )
        models.append(model)
    return models


def _quick_table(outcome: dict[str, Any]) -> Table:
    """How well each network is predicted from the others."""
    title = f"Each of {outcome['networks']} networks, predicted from the others"
    table = Table(title=title, title_justify="left", caption_justify="left")
    for name in ("runtime", "mean error", "within 5 %", "within 10 %"):
        table.add_column(name, justify="left" if name == "runtime" else "right")
    table.add_row(
        f"[bold]{outcome['runtime']}[/bold]",
        f"{outcome['mape']:.1%}",
        f"{outcome['within_5']:.0%}",
        f"{outcome['within_10']:.0%}",
    )
    table.caption = f"with {outcome['known']} known device(s), multiply-adds and layers"
    if outcome["busy"]:
        table.caption += f". The times are unsure: {outcome['busy']}"
    return table
