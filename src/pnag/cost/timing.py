"""Time many calls fairly on a machine that other processes also use.

Calls take short turns in random order, so that a slow spell hits all of them alike. The turns are
then explained as `log time = log level of the call + log speed of the machine just then`: every
call shows the machine's speed by what it takes more or less than its own level, so the speed is
known from all turns around and not from a reference alone. A reference call that takes many turns
ties groups to each other that were timed one after the other. Turns that stay far from that
explanation were disturbed: they are taken again, and the report says how many.

Where a network's weights happen to lie in memory shifts its time by about half a per cent for as
long as it is open, so networks are reopened several times.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Call = Callable[[int], list[float]]
"""Runs a network so many times; returns the milliseconds of each."""
Open = Callable[[], Call]
"""Opens a network in its runtime."""
Floats = NDArray[np.float64]

MIN_TURN_SECONDS = 0.012
MIN_RUNS = 2
OPENINGS = 3
REFERENCES = 4  # open at once, for the same reason
TURNS_PER_REFERENCE = 6
SPEED_WINDOW = 11  # turns that give the machine's speed at the middle one
DISTURBED = 0.08  # a turn this far (log) from its explanation is taken again
MOST_RETAKEN = 0.2  # at the most this share of all turns


@dataclass
class Drift:
    """How steady the machine was.

    Attributes:
        levels: reference time (ms) at the machine's speed at each of the reference's turns.
        remeasured: turns thrown away and taken again because something disturbed them.
        unsteady: disturbed turns that were kept, because too many were.
        clocks: lowest and highest clock (MHz) while each group was timed, if the device says.
    """

    levels: list[float] = field(default_factory=list)
    remeasured: int = 0
    unsteady: int = 0
    clocks: list[float] = field(default_factory=list)

    @property
    def spread(self) -> float:
        """Half the range of the middle 90 % of the levels, as a fraction of their median."""
        low, middle, high = np.quantile(self.levels, (0.05, 0.5, 0.95))
        return float((high - low) / 2 / middle)

    def merged(self, other: Drift) -> Drift:
        """Both reports as one."""
        return Drift(
            self.levels + other.levels,
            self.remeasured + other.remeasured,
            self.unsteady + other.unsteady,
            self.clocks + other.clocks,
        )


def measure_interleaved(
    networks: Mapping[str, Open],
    reference: Open,
    *,
    rounds: int,
    seed: int = 0,
    advance: Callable[[int], None] = lambda turns: None,
) -> tuple[dict[str, list[float]], Drift]:
    """Time every network once a round, in a new random order each round.

    A turn runs the network once unmeasured (its weights are cold after the others ran) and then
    several times, and yields the median. All are reopened a few times on the way.

    Args:
        networks: what to time, by name.
        reference: a network of middling length, always the same for comparable results.
        rounds: turns of every network.
        advance: called with the number of turns done, for a progress bar.

    Returns:
        For each network its times at the machine's usual speed, as fractions of the reference's
        time (multiply by a reference time in ms), and the drift report.
    """
    order = random.Random(seed)
    samples: dict[str, list[float]] = {name: [] for name in networks}
    drift = Drift()
    # At least three turns an opening: fewer would not separate a network from a disturbance.
    openings = max(1, min(OPENINGS, rounds // 3))
    for opening in range(openings):
        part = rounds * (opening + 1) // openings - rounds * opening // openings
        references = [reference() for _ in range(REFERENCES)]
        calls = [open_network() for open_network in networks.values()]
        log_times, of_part = _measure_opened(references, calls, part, order, advance)
        for name, times in zip(samples, log_times, strict=True):
            samples[name] += times
        drift = drift.merged(of_part)
        del references, calls  # before they are reopened: two of each would be twice the memory
    return samples, drift


def _measure_opened(
    references: list[Call],
    calls: list[Call],
    rounds: int,
    order: random.Random,
    advance: Callable[[int], None],
) -> tuple[list[list[float]], Drift]:
    runs = [_runs_per_turn(call) for call in (references[0], *calls)]
    who: list[int] = []  # 0 is the reference, i + 1 is calls[i]
    milliseconds: list[float] = []

    def take(turns: list[int], steps: int) -> None:
        order.shuffle(turns)
        for turn, index in enumerate(turns):
            if turn % TURNS_PER_REFERENCE == 0:
                who.append(0)
                milliseconds.append(time_call(references[who.count(0) % len(references)], runs[0]))
            who.append(index)
            milliseconds.append(time_call(calls[index - 1], runs[index]))
            advance(steps)

    for _ in range(rounds):
        take(list(range(1, len(calls) + 1)), 1)
    drift = Drift()
    _, _, residual = explain(np.array(who), np.log(milliseconds))
    disturbed = np.flatnonzero((np.abs(residual) > DISTURBED) & (np.array(who) > 0))
    if len(disturbed) > MOST_RETAKEN * rounds * len(calls):
        drift.unsteady = len(disturbed)
    elif len(disturbed):
        drift.remeasured = len(disturbed)
        again = [who[turn] for turn in disturbed]
        for turn in disturbed[::-1]:
            del who[turn], milliseconds[turn]
        take(again, 0)
    log_times = np.log(milliseconds)
    levels, speed, _ = explain(np.array(who), log_times)
    relative = np.exp(log_times - speed - levels[0])
    drift.levels = np.exp(levels[0] + speed[np.array(who) == 0]).tolist()
    return [relative[np.array(who) == i + 1].tolist() for i in range(len(calls))], drift


def explain(who: NDArray[np.int64], log_times: Floats) -> tuple[Floats, Floats, Floats]:
    """Split turns into levels of calls and speed of the machine, both by medians in turns.

    Args:
        who: (T,) which of the C calls took each turn; all of 0 to C - 1 occur.
        log_times: (T,) in the order in which the turns were taken.

    Returns:
        (C,) log level of each call, (T,) log slowness of the machine at each turn (median 0), and
        the (T,) residuals.
    """
    by_call = [np.flatnonzero(who == index) for index in range(int(who.max()) + 1)]
    half = SPEED_WINDOW // 2
    speed = np.zeros(len(log_times))
    for _ in range(6):
        rest = log_times - speed
        levels = np.array([np.median(rest[turns]) for turns in by_call])
        around = np.pad(log_times - levels[who], half, mode="reflect")
        speed = np.median(sliding_window_view(around, SPEED_WINDOW), axis=1)
        speed -= np.median(speed)
    levels = np.array([np.median((log_times - speed)[turns]) for turns in by_call])
    return levels, speed, log_times - speed - levels[who]


def stopwatch(run: Callable[[], object]) -> Call:
    """A call by this process' clock."""

    def call(runs: int) -> list[float]:
        times = []
        for _ in range(runs):
            started = time.perf_counter()
            run()
            times.append((time.perf_counter() - started) * 1000)
        return times

    return call


def time_call(call: Call, runs: int) -> float:
    """Median milliseconds of `runs` calls, after one that is not counted."""
    return statistics.median(call(runs + 1)[1:])


def _runs_per_turn(call: Call) -> int:
    """As many runs as fill a turn: short calls need more for the same error.

    At least two. The machine's speed moves about as much from turn to turn as from run to run, so
    for the same seconds more rounds of shorter turns show more (`benchmarks/README.md`).
    """
    milliseconds = time_call(call, 3)
    return max(MIN_RUNS, min(50, round(MIN_TURN_SECONDS * 1000 / max(milliseconds, 1e-3))))
