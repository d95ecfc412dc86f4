"""The runtime that a run measures on, and networks timed there in turns."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from pnag.cost.latency_table import LatencyTable
from pnag.cost.proof import Proof, time_together
from pnag.cost.runtimes import Runtime, make_runtime
from pnag.pipeline.display import Display
from pnag.pipeline.recipe import Recipe
from pnag.pipeline.run_directory import RunDirectory


def runtime_of(recipe: Recipe) -> Runtime:
    """Where a run's networks are timed.

    Raises:
        PnagError: as `make_runtime`.
    """
    latency = recipe.latency
    return make_runtime(latency.runtime, latency.threads, latency.adb)


def time_in_turns(
    run: RunDirectory,
    recipe: Recipe,
    networks: Mapping[str, nn.Module],
    resolutions: Mapping[str, int],
    what: str,
    display: Display,
) -> Proof:
    """Time networks in one interleaved run, in the milliseconds of the run's latency table.

    Args:
        resolutions: as `time_together` takes them. what: for the progress bar.
    """
    rounds = recipe.latency.rounds
    total, done = rounds * len(networks), 0
    with display.bar(what) as bar:

        def advance(turns: int) -> None:
            nonlocal done
            done += turns
            bar.update(done, total)

        return time_together(
            runtime_of(recipe),
            networks,
            LatencyTable.load(run.latency_table),
            resolutions=resolutions,
            rounds=rounds,
            advance=advance,
        )
