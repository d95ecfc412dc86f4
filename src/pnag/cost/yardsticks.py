"""Networks of several sizes, timed beside all others, by which times of different minutes compare.

A machine that is slower for a while is not equally slow for all networks: on a shared server twelve
networks, timed again every 15 seconds, took 3.8 per cent more or less than before (the standard
deviation) in proportion to a reference network, large ones more where small ones took less. What
five networks from the smallest to the largest take now and took then shows by how much, as a line
over the logarithm of a network's time. That leaves 1.9 per cent (`benchmarks/README.md`).
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping

import numpy as np

from pnag.cost.timing import Drift, Open, measure_interleaved
from pnag.families.base import Family

YARDSTICKS = 5
Times = dict[str, list[float]]


def yardsticks(family: Family) -> list[str]:
    """From the smallest architecture to the largest."""
    between = family.space.sample_stretched(YARDSTICKS - 2, np.random.default_rng(0))
    ends = str(family.smallest), str(family.largest)
    return list(dict.fromkeys((ends[0], *family.space.text(between), ends[1])))


def measure_beside_yardsticks(
    networks: Mapping[str, Open],
    reference: Open,
    beside: Mapping[str, Open],
    then: Times,
    *,
    rounds: int,
    seed: int = 0,
    advance: Callable[[int], None] = lambda turns: None,
) -> tuple[Times, Times, Drift]:
    """Time networks in turns, as if at the minute at which the yardsticks were timed first.

    Args:
        beside: the yardsticks, by architecture.
        then: what they took; empty if this is the first time.
        rounds, seed, advance: as of `measure_interleaved`; turns of yardsticks count.

    Returns:
        Each network's times as fractions of the reference's, the yardsticks' own, and the drift.
    """
    known = {f"yardstick {text}": opens for text, opens in beside.items()}
    samples, drift = measure_interleaved(
        {**networks, **known}, reference, rounds=rounds, seed=seed, advance=advance
    )
    now = {text: samples.pop(f"yardstick {text}") for text in beside}
    return (brought_back(samples, now, then) if then else samples), now, drift


def brought_back(samples: Times, now: Times, then: Times) -> Times:
    """Times as they would have been at the minute at which yardsticks took what they took `then`.

    All are fractions of the reference network's time, which is a yardstick that always takes 1.
    Networks beyond the smallest or the largest yardstick are taken to have changed as much as that.
    """
    first, latest = (
        np.log([1.0, *(statistics.median(times[text]) for text in then)]) for times in (then, now)
    )
    # a line only where the yardsticks' times differ: on a GPU all may take as long as the launches
    change = np.polynomial.Polynomial.fit(latest, first - latest, 1 if np.ptp(latest) > 0.1 else 0)
    back = {}
    for name, times in samples.items():
        length = np.clip(np.log(statistics.median(times)), latest.min(), latest.max())
        back[name] = (np.array(times) * np.exp(change(length))).tolist()
    return back
