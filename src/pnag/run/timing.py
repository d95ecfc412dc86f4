"""The runtime that a run measures on, and networks timed there in turns."""

from __future__ import annotations

import contextlib
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
from pnag.errors import PnagError
from pnag.files import read_json, write_json
from pnag.run.display import Display, adding_up
from pnag.run.recipe import LatencyRecipe
from pnag.run.run_directory import RunDirectory

TIME_AGAIN = "give the same command again with --time-again"  # what to do, for people


@dataclass(frozen=True)
class Steadiness:
    """How steady the machine was while some of a run's times were taken.

    Attributes:
        what: was timed, for people. file: holds the times; without it they are taken again.
        unsteady, spread: as `Drift` has them.
        fix: how to have them taken again, for people.
    """

    what: str
    file: Path
    unsteady: int
    spread: float
    fix: str

    @property
    def warning(self) -> str:
        """That the times are not to be trusted, and why; empty if they are."""
        why = why_unsure(self.unsteady, self.spread)
        return f"The times of {self.what} are unsure: {why}." if why else ""

    def tell(self, display: Display) -> None:
        """Print the warning, if there is one, and what to do."""
        if self.warning:
            display.note(
                f"  [yellow]{self.warning} Close other programs and {escape(self.fix)}.[/yellow]"
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
    table = LatencyTable.load(run.latency_table)
    turns = latency.rounds * (len(networks) + len(table.yardsticks))
    with display.bar(what) as bar:
        return time_together(
            runtime_of(latency),
            networks,
            table,
            resolutions=resolutions,
            may_leave_out=may_leave_out,
            rounds=latency.rounds,
            advance=adding_up(bar, turns),
        )


def steadiness_of_table(run: RunDirectory) -> Steadiness:
    """While the blocks and networks of the latency model were timed."""
    drift = read_json(run.latency_error)["drift"]
    what = "the latency model's blocks and networks"
    file = run.latency_table
    return Steadiness(what, file, drift["unsteady"], drift["spread"], _fix(run, file))


def steadiness_of_ladder(run: RunDirectory) -> Steadiness:
    """While the ladder of the front was timed; steady where the run has none."""
    what, file = "the front's networks", run.front_calibration
    if not file.exists():
        return Steadiness(what, file, 0, 0.0, "")
    found = FrontCalibration.load(file)
    return Steadiness(what, file, found.unsteady, found.spread, _fix(run, file))


def steadiness_of_proof(run: RunDirectory) -> Steadiness:
    """While the answers and the networks people know were timed."""
    proof = read_json(run.proof)
    fix = _fix(run, run.proof)
    return Steadiness("the answers", run.proof, proof["unsteady"], proof["drift"], fix)


def _stays(run: RunDirectory, file: Path) -> bool:
    """Whether networks were trained by the times in a file; other times would retrain them."""
    if file == run.proof:
        return False
    return run.finetuned.exists() or (file == run.latency_table and run.supernet_of_rounds.exists())


def _fix(run: RunDirectory, file: Path) -> str:
    if _stays(run, file):
        return (
            "start over in another directory with --out: this run's networks were trained by them"
        )
    return TIME_AGAIN


def forget_unsure_times(run: RunDirectory, display: Display) -> None:
    """Remove timings that something disturbed, so that their stages repeat them.

    Times that networks were trained by stay.
    """
    unsure = []
    for read in (steadiness_of_table, steadiness_of_ladder, steadiness_of_proof):
        with contextlib.suppress(PnagError, KeyError):  # not timed yet, or not to the end
            unsure += [found] if (found := read(run)).warning else []
    again = [times for times in unsure if not _stays(run, times.file)]
    if not again:
        why = (
            "this run's networks were trained by the unsure times"
            if unsure
            else "all times are sure"
        )
        display.note(f"--time-again: nothing to time again; {why}")
        return
    run.begin_stage()
    for times in again:
        if times.file == run.proof:  # the next proof removes the files that this one names
            write_json(run.proof, {"files": read_json(run.proof).get("files", {})})
        else:
            times.file.unlink(missing_ok=True)
        display.note(f"--time-again: {times.what} are timed again")
