"""`pnag measure --quick`: a device from a few networks, as a CSV of blocks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from pnag.cost.block_csv import write_block_csv
from pnag.cost.latency_model import LatencyModel
from pnag.cost.load import load_cost
from pnag.cost.quick_measure import measure_quickly
from pnag.cost.runtimes import Runtime
from pnag.cost.steadiness import why_unsure
from pnag.errors import PnagError
from pnag.families.base import Family
from pnag.files import check_writable
from pnag.run.display import Display


def measure_to_csv(
    runtime: Runtime,
    family: Family,
    out: Path,
    known: str | None,
    *,
    networks: int,
    resolution: int,
    num_classes: int,
    rounds: int,
    seed: int,
    display: Display,
) -> dict[str, Any]:
    """Time networks, write the fitted blocks, and return how well they predict, for a script.

    Args:
        known: comma list of other devices' files.

    Raises:
        PnagError: if a file of them tells no latencies of this family and size, or `out` cannot be
            written.
    """
    check_writable(out)
    models = []
    for name in filter(None, map(str.strip, (known or "").split(","))):
        model = load_cost(name, family, resolution=resolution, num_classes=num_classes)
        if not isinstance(model, LatencyModel):
            raise PnagError(
                f"--known has {name}, which is counted: leave it out, it is known anyway"
            )
        models.append(model)
    total, done = rounds * networks, 0
    with display.bar("measuring quickly") as bar:

        def advance(turns: int) -> None:
            nonlocal done
            done += turns
            bar.update(done, total)

        found = measure_quickly(
            runtime, family, models, networks=networks, resolution=resolution,
            num_classes=num_classes, rounds=rounds, seed=seed, advance=advance,
        )  # fmt: skip
    write_block_csv(out, found.model, resolution=resolution, num_classes=num_classes)
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


def quick_table(told: dict[str, Any]) -> Table:
    """How well each network is predicted from the others."""
    title = f"Each of {told['networks']} networks, predicted from the others"
    table = Table(title=title, title_justify="left", caption_justify="left")
    for name in ("runtime", "mean error", "within 5 %", "within 10 %"):
        table.add_column(name, justify="left" if name == "runtime" else "right")
    table.add_row(
        f"[bold]{told['runtime']}[/bold]",
        f"{told['mape']:.1%}",
        f"{told['within_5']:.0%}",
        f"{told['within_10']:.0%}",
    )
    table.caption = f"with {told['known']} known device(s), multiply-adds and layers"
    if told["busy"]:
        table.caption += f". The times are unsure: {told['busy']}"
    return table
