"""`pnag measure`: every block and some whole networks, on one runtime or on several."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import typer

from pnag.consoles import make_console
from pnag.cost.latency_model import ModelError, check_latency_model, fit_latency_model
from pnag.cost.latency_table import LatencyTable
from pnag.cost.measure import measure_device
from pnag.cost.runtimes import Runtime, make_runtimes, too_many_threads
from pnag.cost.steadiness import why_unsure
from pnag.errors import PnagError
from pnag.report.terminal import latency_errors_table
from pnag.run.display import Display
from pnag.run.own_files import refuse_own_files
from pnag.run.size import Size
from pnag.run.timing import Steadiness


@dataclass(frozen=True)
class Asked:
    """The options of `pnag measure`.

    Attributes:
        size: of the networks. runtime: one, or a comma list of them.
        calibration, check: networks; None is what was not given.
    """

    out: Path
    size: Size
    runtime: str
    threads: int
    adb: str | None
    rounds: int
    calibration: int | None
    check: int | None
    seed: int


def measure_asked(asked: Asked, as_json: bool) -> None:
    """Measure each runtime into a table of its own; print the latency models' errors.

    Raises:
        PnagError: for runtimes that cannot be used, and as `measure_device`.
    """
    display = Display(make_console(stderr=as_json))
    runtimes = make_runtimes(asked.runtime, asked.threads, asked.adb)
    display.warn(too_many_threads(asked.runtime, asked.threads))
    paths = table_paths(asked.out, list(runtimes))
    refuse_own_files(*paths.values())
    results = [_measure(asked, made, paths[name], name, display) for name, made in runtimes.items()]
    if as_json:
        typer.echo(json.dumps(results if len(runtimes) > 1 else results[0]))
    else:
        display.console.print(latency_errors_table(list(runtimes), results))


def _measure(
    asked: Asked, runtime: Runtime, path: Path, name: str, display: Display
) -> dict[str, Any]:
    """Measure one runtime; return what `--json` prints about it."""
    with display.bar(f"measuring {name}") as bar:
        table = measure_device(
            runtime,
            asked.size.of,
            path,
            resolution=asked.size.resolution,
            num_classes=asked.size.num_classes,
            rounds=asked.rounds,
            calibration=asked.calibration or 48,
            check=asked.check or 50,
            seed=asked.seed,
            progress=lambda what, done, total: bar.update(done, total, what),
        )
    error = check_latency_model(fit_latency_model(table), table)
    display.note(_steadiness(table))
    drift = table.drift
    fix = "measure again, to another --out"
    Steadiness("blocks and networks", path, drift.unsteady, drift.spread, fix).tell(display)
    return _result(table, error)


def table_paths(out: Path, runtimes: list[str]) -> dict[str, Path]:
    """Where each runtime's table goes: to `out`, or for several to a file each in the folder `out`.

    Raises:
        PnagError: if there are several, and `out` is a file or called like one.
    """
    if len(runtimes) == 1:
        return {runtimes[0]: out}
    if out.is_file() or out.suffix == ".json":
        raise PnagError(
            f"--out must be a folder, not {out}: {len(runtimes)} runtimes give a file each"
        )
    return {name: out / f"{name.replace(':', '-')}.json" for name in runtimes}


def _result(table: LatencyTable, error: ModelError) -> dict[str, Any]:
    """What `--json` prints about a measured device."""
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
