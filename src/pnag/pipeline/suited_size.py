"""Resolution and width for budgets, found before anything is trained.

Budgets say how long networks may take. A supernet suits them if its smallest network is within the
least budget and its largest one takes about as long as the greatest; both are timed, for a moment,
where the run's networks will be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from pnag.cost.runtimes import Runtime
from pnag.cost.steadiness import why_unsure
from pnag.cost.timing import Drift
from pnag.errors import PnagError
from pnag.families import build
from pnag.families.supernet import LARGEST
from pnag.pipeline.amounts import amount
from pnag.space import Architecture
from pnag.training.phases import PHASES

SMALLEST = PHASES["sandwich"][0].smallest
RESOLUTIONS = tuple(range(32, 225, 32))  # the networks halve their maps five times
# Of a budget. A few calls tell a latency to about a tenth.
MARGIN = 0.9
CALLS = 30

Milliseconds = Callable[[Architecture, float, int], float]
"""What an architecture takes at a width multiplier and a resolution."""


@dataclass(frozen=True)
class SuitedSize:
    """What budgets leave to choose from.

    Attributes:
        resolution: of the images.
        widths: width multipliers to choose among, widest first.
        beyond: the time of the largest network of all, in ms, if it is far from the greatest
            budget; else None.
        busy: what was wrong with the machine while networks were timed; empty if nothing was.
    """

    resolution: int
    widths: tuple[float, ...]
    beyond: float | None = None
    busy: str = ""

    @property
    def told(self) -> str:
        """For the user."""
        widths = " or ".join(f"{width:g}" for width in reversed(self.widths))
        size = f"width {widths} at {self.resolution}x{self.resolution}"
        rough = f" (a rough guess: {self.busy} while networks were timed)" if self.busy else ""
        if self.beyond is None:
            return f"the budgets suit {size}{rough}"
        return (
            f"no supernet suits all budgets: the largest network of {size} takes about "
            f"{amount(self.beyond)} ms, and is the answer to every budget above{rough}"
        )


@dataclass(frozen=True)
class Choice:
    """What may be chosen, and by whom.

    Attributes:
        widths: width multipliers, widest first; one if the user has given it.
        resolution: the images' own, or the user's.
        given: options by which the user has decided.
    """

    widths: tuple[float, ...]
    resolution: int
    given: tuple[str, ...] = ()

    @property
    def others(self) -> Sequence[int]:
        """Further resolutions, ascending; none if the user has given one."""
        return () if "--resolution" in self.given else RESOLUTIONS


def suited_size(budgets: Sequence[float], choice: Choice, milliseconds: Milliseconds) -> SuitedSize:
    """The resolution nearest to the images' own at which some width suits the budgets.

    Where none does, as much of them as one supernet can hold, the least budget in any case.

    Args:
        budgets: in ms, one or more.
        milliseconds: asked only for what decides.

    Raises:
        PnagError: if no network that may be chosen is within the least budget.
    """
    least, greatest = min(budgets), max(budgets)

    def reaches(width: float, resolution: int) -> bool:
        return milliseconds(LARGEST, width, resolution) >= MARGIN * greatest

    def suited(resolution: int) -> Iterator[float]:
        for width in choice.widths:
            if not reaches(width, resolution):
                return  # nor does a narrower one
            if milliseconds(SMALLEST, width, resolution) <= MARGIN * least:
                yield width

    def holds(resolution: int) -> bool:
        return milliseconds(SMALLEST, choice.widths[-1], resolution) <= least

    down, up = not holds(choice.resolution), not reaches(choice.widths[0], choice.resolution)
    further: list[int] = []
    if down:
        further = [r for r in reversed(choice.others) if r < choice.resolution]
    elif up:
        further = [r for r in choice.others if r > choice.resolution]
    tried = []
    for resolution in (choice.resolution, *further):
        tried.append(resolution)
        if holds(resolution) and (widths := tuple(suited(resolution))):
            return SuitedSize(resolution, widths)
        if holds(resolution) == down:
            break  # what is smaller still is not needed, or what is larger still holds less
    best: tuple[float, int, float] | None = None
    for resolution in filter(holds, tried):
        for width in choice.widths:
            if milliseconds(SMALLEST, width, resolution) <= least:
                found = milliseconds(LARGEST, width, resolution), -resolution, width
                best = max(best or found, found)
                break  # narrower ones reach less far
    if best is None:
        raise _too_small(least, choice, tried, milliseconds)
    largest, negative, width = best
    return SuitedSize(-negative, (width,), largest if largest < MARGIN * greatest else None)


def _too_small(
    least: float, choice: Choice, tried: Sequence[int], milliseconds: Milliseconds
) -> PnagError:
    width = choice.widths[-1]
    cheapest, resolution = min((milliseconds(SMALLEST, width, r), r) for r in tried)
    lower = "".join(f", lower {option}" for option in choice.given)
    return PnagError(
        f"no network of a supernet is within {least:g} ms here: the smallest of width {width:g} at "
        f"{resolution}x{resolution} takes about {amount(cheapest)} ms; ask for more with "
        f"--budgets{lower}, or measure a faster device (--runtime, --threads)"
    )


class Timer:
    """What architectures take on a runtime: the least of a few calls, which others disturb least.

    Attributes:
        spreads: of each network's calls, as `Drift.spread` is of a machine's speed.
    """

    def __init__(self, runtime: Runtime, num_classes: int) -> None:
        self.runtime, self.num_classes = runtime, num_classes
        self.spreads: list[float] = []
        self._known: dict[tuple[Architecture, float, int], float] = {}

    def __call__(self, arch: Architecture, width_mult: float, resolution: int) -> float:
        """In ms; see `Milliseconds`."""
        asked = arch, width_mult, resolution
        if asked not in self._known:
            shape = (self.runtime.batch, 3, resolution, resolution)
            network = build(arch, width_mult, self.num_classes)
            times = self.runtime.prepare(network, shape)()(CALLS + 1)[1:]  # the first one warms up
            self.spreads.append(Drift(times).spread)
            self._known[asked] = min(times)
        return self._known[asked]

    @property
    def busy(self) -> str:
        """What was wrong with the machine meanwhile; empty if nothing was."""
        return why_unsure(0, median(self.spreads)) if self.spreads else ""
