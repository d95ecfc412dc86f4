"""Time networks against each other in one interleaved run."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from torch import nn

from pnag.cost.latency_table import LatencyTable
from pnag.cost.measure import prepare_network
from pnag.cost.runtimes import Runtime
from pnag.cost.runtimes.adb import PhoneGoneError
from pnag.cost.timing import Open
from pnag.cost.yardsticks import measure_beside_yardsticks
from pnag.families.registry import family_of


@dataclass(frozen=True)
class Timed:
    """One network's latency.

    Attributes:
        milliseconds: median, at the speed that the machine had when the reference was timed.
        spread: half the middle 50 % of the rounds, as a fraction of the median.
    """

    milliseconds: float
    spread: float


@dataclass(frozen=True)
class Proof:
    """Networks timed together.

    Attributes:
        speed: reference time now over reference time in the table; 1.05 means that the machine
            was 5 % slower during the proof, which is taken out of `Timed.milliseconds`.
        drift: spread of the reference during the proof.
        remeasured, unsteady: disturbed turns, taken again or kept (`timing.Drift`).
        left_out: why networks that could be left out do not run on the runtime, by name.
    """

    networks: dict[str, Timed]
    speed: float
    drift: float
    remeasured: int
    unsteady: int
    left_out: dict[str, str] = field(default_factory=dict)


def time_together(
    runtime: Runtime,
    networks: Mapping[str, nn.Module],
    table: LatencyTable,
    *,
    resolutions: Mapping[str, int] | None = None,
    may_leave_out: Collection[str] = (),
    rounds: int = 24,
    advance: Callable[[int], None] = lambda turns: None,
) -> Proof:
    """Time networks interleaved, `rounds` turns each, and the table's yardsticks beside them.

    Args:
        table: of the same runtime: its reference network's time turns ratios into milliseconds, at
            the speed that its yardsticks show.
        resolutions: height and width of the images of those networks, by name, that do not take
            the table's.
        may_leave_out: names of networks that are skipped if the runtime cannot run them.

    Raises:
        PnagError: if the table was measured on another runtime or machine.
    """
    identity = table.identity
    table.check_runtime(runtime.identity())

    own, usual = resolutions or {}, identity["resolution"]
    ready: dict[str, Open] = {}
    left_out: dict[str, str] = {}
    for name, network in networks.items():
        pixels = own.get(name, usual)
        if name not in may_leave_out:
            ready[name] = prepare(runtime, network, pixels)
        elif isinstance(tried := try_to_prepare(runtime, network, pixels), Exception):
            left_out[name] = reason(tried)
        else:
            ready[name] = tried
    family = family_of(identity)
    reference, *beside = (
        prepare_network(runtime, family, arch, usual, identity["num_classes"])
        for arch in (family.middling, *table.yardsticks)
    )
    advance(rounds * len(left_out))
    samples, _, drift = measure_beside_yardsticks(
        ready,
        reference,
        dict(zip(table.yardsticks, beside, strict=True)),
        table.yardsticks,
        rounds=rounds,
        advance=advance,
    )
    return Proof(
        {name: timed(times, table.reference_ms) for name, times in samples.items()},
        statistics.median(drift.levels) / table.reference_ms,
        drift.spread,
        drift.remeasured,
        drift.unsteady,
        left_out,
    )


def prepare(runtime: Runtime, network: nn.Module, pixels: int) -> Open:
    """What opens a network for images of a height and width."""
    return runtime.prepare(network, (runtime.batch, 3, pixels, pixels))


def try_to_prepare(runtime: Runtime, network: nn.Module, pixels: int) -> Open | Exception:
    """The same, run once: some runtimes refuse a network only then. What they say, if they do.

    Raises:
        PhoneGoneError: nor would any other network run.
    """
    try:
        opens = prepare(runtime, network, pixels)
        opens()(1)
    except PhoneGoneError:
        raise
    except Exception as error:  # each runtime's converter has its own
        return error
    return opens


def reason(error: Exception) -> str:
    """Why a network does not run, in one line."""
    return " ".join(str(error).split())[:200] or repr(error)


def timed(times: Sequence[float], reference_ms: float) -> Timed:
    """The latency of one network, from several turns.

    Args:
        times: one a turn, as fractions of the reference's time. Commands take three at least; a
            single one has no spread, which is then 0.
        reference_ms: that time.
    """
    if len(times) == 1:
        return Timed(times[0] * reference_ms, 0.0)
    quarter, middle, three_quarters = statistics.quantiles(times, n=4)
    return Timed(middle * reference_ms, (three_quarters - quarter) / 2 / middle)
