"""Which resolutions suit budgets, where a supernet starts from trained weights.

Its networks are as wide as those, so it is the resolution that makes them fast or slow. Each budget
gets the one at which the largest network takes about as long as it allows: somewhat smaller ones
are as good where the largest turns out to take longer. Where that is another resolution, it also
gets the greatest one at which the largest network is within it. The greatest budget gets one at
which that network reaches it: there smaller networks compete.

One resolution's time is off by up to a fifth where a machine's speed moves, which is more than a
step of the ladder. So all that were timed decide together: a line through all times, over the
network's multiply-adds, is closer to the truth than each of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy.optimize import nnls

from pnag.families.base import Family
from pnag.run.suited_size import Milliseconds, none_within

LADDER = (32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 208, 224, 256, 288, 320)
# Of a budget: all times together are good to about a twentieth.
WITHIN, REACHED = 1.05, 0.9
MOST = 6  # resolutions; each trains a share of the steps
# That the largest network could take at the greatest resolution in all of a run's minutes: with
# fewer, a smaller one is worth more (`benchmarks/README.md`).
ENOUGH_STEPS = 1000


def usual_resolutions(own: int, trained_at: int) -> tuple[int, ...]:
    """Without budgets: up to what gains much from weights of larger images.

    Args:
        own: resolution of the images. trained_at: of the images that the weights were trained on.
    """
    top = min(trained_at, 96 if own <= 64 else 128 if own <= 128 else 224)
    wanted = [pixels for pixels in LADDER if top / 2 <= pixels <= top]
    return _thinned(wanted)


def suited_resolutions(
    budgets: Sequence[float], of: Family, trained_at: int, milliseconds: Milliseconds
) -> tuple[int, ...]:
    """Resolutions of the ladder that suit budgets in ms.

    Args:
        trained_at: resolution of the images that the weights were trained on: none is above that.
        milliseconds: asked only for what decides.

    Raises:
        PnagError: if no network is within the least budget.
    """
    least, greatest = min(budgets), max(budgets)
    ladder = [pixels for pixels in LADDER if pixels <= max(trained_at, LADDER[0])]
    reached = next(
        (n for n, p in enumerate(ladder) if milliseconds(of.largest, of, p) >= REACHED * greatest),
        len(ladder),
    )
    below = ladder[: reached + 2]  # one more, as the last may have been disturbed
    line = line_through(
        [of.count(of.largest, p).macs for p in below],
        [milliseconds(of.largest, of, p) for p in below],
    )
    times = dict(zip(below, line, strict=True))

    def nearest(budget: float) -> int:
        return min(below, key=lambda p: abs(math.log(times[p] / budget)))

    def largest_within(budget: float) -> int:
        return max((p for p in below if times[p] <= WITHIN * budget), default=below[0])

    up = below[below.index(nearest(greatest)) :]
    top = next((p for p in up if times[p] >= REACHED * greatest), below[-1])
    suited = {top, *map(nearest, budgets)}
    further = sorted({*map(largest_within, budgets)} - suited, reverse=True)
    found = sorted(suited | {*further[: max(0, MOST - len(suited))]})
    bottom = found[0]
    cheapest = milliseconds(of.smallest, of, bottom)
    if cheapest > least:
        fix = "start from a smaller network (--start)"
        raise none_within(least, of, bottom, cheapest, fix)
    return _thinned(found)


def line_through(work: Sequence[int], times: Sequence[float]) -> list[float]:
    """A constant and a share of each network's work that are, relatively, nearest to its time."""
    amounts, measured = np.array(work, float), np.array(times)
    ones = np.ones_like(amounts)
    (constant, slope), _ = nnls(np.stack([ones, amounts], 1) / measured[:, None], ones)
    return (constant + slope * amounts).tolist()  # type: ignore[no-any-return]


def affordable(
    resolutions: Sequence[int], minutes: float, step_seconds: Callable[[int], float]
) -> tuple[int, ...]:
    """Resolutions at which a run's minutes suffice for enough steps; the least one in any case.

    Where the greatest one takes too long, the ladder's next smaller one that does not replaces it.

    Args:
        resolutions: ascending.
        step_seconds: of a step of the largest network at a resolution.
    """
    least, top = resolutions[0], resolutions[-1]
    ladder = [top, *(pixels for pixels in reversed(LADDER) if least <= pixels < top)]
    enough = (p for p in ladder if ENOUGH_STEPS * step_seconds(p) <= 60 * minutes)
    top = next(enough, least)
    return tuple(sorted({top, *(pixels for pixels in resolutions if pixels < top)}))


def _thinned(ladder: Sequence[int]) -> tuple[int, ...]:
    """At most `MOST`, the first and the last among them."""
    step = -(-len(ladder) // MOST)
    return tuple(sorted({*reversed(ladder[::-step]), ladder[0], ladder[-1]}))
