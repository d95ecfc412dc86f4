"""The runtime that a run measures on, and networks timed there in turns."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.markup import escape
from torch import nn

from pnag.cost.front_calibration import FrontCalibration
from pnag.cost.latency_table import LatencyTable
from pnag.cost.proof import Proof, time_together
from pnag.cost.runtimes import Runtime, make_runtime
from pnag.cost.steadiness import why_unsure
from pnag.files import read_json
from pnag.run.display import Display, adding_up
from pnag.run.recipe import LatencyRecipe
from pnag.run.run_directory import RunDirectory


@dataclass(frozen=True)
class Steadiness:
    """How steady the machine was while some of a run's times were taken.

    Attributes:
        what: was timed, for people. file: which holds the times; without it they are taken anew.
        unsteady, spread: as `Drift` has them.
    """

    what: str
    file: Path
    unsteady: int
    spread: float

    @property
    def warning(self) -> str:
        """That the times are not to be trusted, and why; empty if they are."""
        why = why_unsure(self.unsteady, self.spread)
        return f"The times of {self.what} are unsure: {why}." if why else ""

    def tell(self, display: Display) -> None:
        """Print the warning, if there is one, and what to do."""
        if self.warning:
            display.note(
                f"  [yellow]{self.warning} Close other programs, delete {escape(str(self.file))} "
                "and give the same command again.[/yellow]"
            )


def runtime_of(latency: LatencyRecipe) -> Runtime:
    """Where a run's networks are timed.

    Raises:
        PnagError: as `make_runtime`.
    """
    return make_runtime(latency.runtime, latency.threads, latency.adb)


def time_in_turns(
    run: RunDirectory,
    latency: LatencyRecipe,
    networks: Mapping[str, nn.Module],
    resolutions: Mapping[str, int],
    what: str,
    display: Display,
    may_leave_out: Collection[str] = (),
) -> Proof:
    """Time networks in one interleaved run, in the milliseconds of the run's latency table.

    Args:
        resolutions, may_leave_out: as `time_together` takes them. what: for the progress bar.
    """
    with display.bar(what) as bar:
        return time_together(
            runtime_of(latency),
            networks,
            LatencyTable.load(run.latency_table),
            resolutions=resolutions,
            may_leave_out=may_leave_out,
            rounds=latency.rounds,
            advance=adding_up(bar, latency.rounds * len(networks)),
        )


def steadiness_of_table(run: RunDirectory) -> Steadiness:
    """While the blocks and networks of the latency model were timed."""
    drift = read_json(run.latency_error)["drift"]
    what = "the latency model's blocks and networks"
    return Steadiness(what, run.latency_table, drift["unsteady"], drift["spread"])


def steadiness_of_ladder(run: RunDirectory) -> Steadiness:
    """While the ladder of the front was timed; steady where the run has none."""
    what, file = "the front's networks", run.front_calibration
    if not file.exists():
        return Steadiness(what, file, 0, 0.0)
    calibration = FrontCalibration.load(file)
    return Steadiness(what, file, calibration.unsteady, calibration.spread)


def steadiness_of_proof(run: RunDirectory) -> Steadiness:
    """While the answers and the networks people know were timed."""
    proof = read_json(run.proof)
    return Steadiness("the answers", run.proof, proof["unsteady"], proof["drift"])
