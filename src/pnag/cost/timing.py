"""Time many calls fairly on a machine that other processes also use.

Calls take turns, so that a slow spell hits all of them alike. A reference call runs before and
after every few turns (a *segment*): its level tells how fast the machine is just then. Times are
divided by that level, a segment in which the level moved is measured again, and the report says
how much of either happened.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

Call = Callable[[], object]

MIN_TURN_SECONDS = 0.012
SEGMENT_SECONDS = 0.5
REFERENCE_RUNS = 9


@dataclass
class Drift:
    """How steady the machine was.

    Attributes:
        levels: reference time (ms) of each kept segment.
        remeasured: segments thrown away because the machine's speed moved in them.
        unsteady: segments kept although it moved, because retries ran out.
    """

    levels: list[float] = field(default_factory=list)
    remeasured: int = 0
    unsteady: int = 0

    @property
    def spread(self) -> float:
        """Half the range of the middle 90 % of the levels, as a fraction of their median."""
        ordered = sorted(self.levels)
        low = ordered[int(0.05 * (len(ordered) - 1))]
        high = ordered[round(0.95 * (len(ordered) - 1))]
        return (high - low) / 2 / statistics.median(ordered)

    def merged(self, other: Drift) -> Drift:
        """Both reports as one."""
        return Drift(
            self.levels + other.levels,
            self.remeasured + other.remeasured,
            self.unsteady + other.unsteady,
        )


def measure_interleaved(
    calls: Mapping[str, Call],
    reference: Call,
    *,
    rounds: int,
    seed: int = 0,
    threshold: float = 0.03,
    retries: int = 20,
    advance: Callable[[int], None] = lambda turns: None,
) -> tuple[dict[str, list[float]], Drift]:
    """Time every call once a round, in a new random order each round.

    A turn runs the call once unmeasured (its weights are cold after the others ran) and then
    several times, and yields the median. All times are given relative to the reference: as
    milliseconds that the call would take if the reference took its median over the report.

    Args:
        calls: what to time, by name.
        reference: a call of middling length, always the same for comparable results.
        rounds: turns of every call.
        threshold: a segment is measured again if the reference's time before and after it differ
            by more than this fraction.
        retries: how many segments may be measured again, over all rounds.
        advance: told the number of turns done, for a progress bar.

    Returns:
        For each call its `rounds` times relative to the reference (multiply by a reference time
        in ms), and the drift report.
    """
    order = random.Random(seed)
    samples: dict[str, list[float]] = {name: [] for name in calls}
    drift = Drift()
    runs = {name: _runs_per_turn(call) for name, call in calls.items()}
    before = time_call(reference, REFERENCE_RUNS)
    for _ in range(rounds):
        waiting = list(calls)
        order.shuffle(waiting)
        while waiting:
            turns: dict[str, float] = {}
            started = time.perf_counter()
            for name in waiting:
                turns[name] = time_call(calls[name], runs[name])
                if time.perf_counter() - started > SEGMENT_SECONDS:
                    break
            after = time_call(reference, REFERENCE_RUNS)
            moved = abs(after - before) / min(after, before) > threshold
            level = (before + after) / 2
            before = after
            if moved and drift.remeasured < retries:
                drift.remeasured += 1
                continue
            drift.unsteady += moved
            drift.levels.append(level)
            for name, milliseconds in turns.items():
                samples[name].append(milliseconds / level)
            waiting = waiting[len(turns) :]
            advance(len(turns))
    return samples, drift


def time_call(call: Call, runs: int) -> float:
    """Median milliseconds of `runs` calls, after one that is not counted."""
    call()
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1000


def _runs_per_turn(call: Call) -> int:
    """As many runs as fill a turn, at least three: short calls need more for the same error."""
    milliseconds = time_call(call, 3)
    return max(3, min(50, round(MIN_TURN_SECONDS * 1000 / max(milliseconds, 1e-3))))
