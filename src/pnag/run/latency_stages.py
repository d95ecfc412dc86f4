"""The stages that time a device: the latency model, and the ladder that corrects it."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from rich.markup import escape

from pnag.cost.front_calibration import fit_front_calibration
from pnag.cost.latency_model import check_latency_model, fit_latency_model
from pnag.cost.latency_table import LatencyTable
from pnag.cost.measure import measure_device
from pnag.errors import PnagError
from pnag.files import file_fingerprint, read_json, write_json, writing
from pnag.run.display import Display
from pnag.run.recipe import LatencyRecipe
from pnag.run.run_directory import RunDirectory
from pnag.run.size import Size
from pnag.run.timing import runtime_of, steadiness_of_ladder, steadiness_of_table, time_in_turns
from pnag.run.trained import load_front

LADDER = 12


def latency_stage(
    run: RunDirectory, latency: LatencyRecipe, size: Size, seed: int, display: Display
) -> None:
    """Measure this machine, fit the latency model, check it on unseen networks."""
    runtime = runtime_of(latency)
    # without the phone's number: the runtime's identity says what phone it is
    settings = latency.model_dump(exclude={"adb"}) | size.identity() | {"seed": seed}
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
                rounds=latency.rounds,
                calibration=latency.calibration,
                check=latency.check,
                seed=seed,
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
                display.note("the latency table could not be read and was removed")
            else:
                if identity == settings:
                    return
                aside = run.kept_latency_table(identity)
                table.replace(aside)
                display.note(
                    "the latency table is for another device or setting; it is kept as "
                    f"{escape(str(aside))}"
                )
        if kept.exists():
            kept.replace(table)
            display.note(
                "the latency table that was kept for this device and setting is used again"
            )


def front_calibration_stage(
    run: RunDirectory, latency: LatencyRecipe, size: Size, seed: int, display: Display
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
        torch.manual_seed(seed)
        networks = {text: size.build(text) for text in texts}
        pixels = {text: size.pixels(text) for text in texts}
        proof = time_in_turns(run, latency, networks, pixels, "timing the front", display)
        measured = np.array([proof.networks[text].milliseconds for text in texts])
        fitted = fit_front_calibration(front.cost[rungs], measured)
        replace(fitted, unsteady=proof.unsteady, spread=proof.drift).save(run.front_calibration)

    run.stage("front calibration", inputs, [run.front_calibration], work, display.reused)
    steadiness_of_ladder(run).tell(display)
