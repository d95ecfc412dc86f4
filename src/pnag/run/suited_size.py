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
from pnag.families.base import Family
from pnag.families.registry import family
from pnag.run.amounts import amount
from pnag.space import BaseArchitecture

RESOLUTIONS = tuple(range(32, 225, 32))  # the networks halve their maps five times
# Of a budget. A few calls measure a latency to about a tenth.
MARGIN = 0.9
CALLS, WARM_UP = 30, 20  # the first calls take up to three times as long

Milliseconds = Callable[[BaseArchitecture, Family, int], float]
"""What an architecture of a family takes at a resolution."""


@dataclass(frozen=True)
class SuitedSize:
    """What budgets leave to choose from.

    Attributes:
        resolution: of the images.
        families: names of those to choose among, widest first.
        beyond: the time of the largest network of all, in ms, if it is far from the greatest
            budget; else None.
        busy: what was wrong with the machine while networks were timed; empty if nothing was.
        too_dear: resolutions that suit the budgets and need more minutes to train at.
    """

    resolution: int
    families: tuple[str, ...]
    beyond: float | None = None
    busy: str = ""
    too_dear: tuple[int, ...] = ()

    def text(self, *, suits_budgets: bool) -> str:
        """For the user.

        Args:
            suits_budgets: whether budgets were given, by which the size was chosen.
        """
        labels = [family(name).label for name in reversed(self.families)]
        said = " or ".join([labels[0], *(label.removeprefix("width ") for label in labels[1:])])
        size = f"{said} at {self.resolution}x{self.resolution}"
        rough = f" (a rough guess: {self.busy} while networks were timed)" if self.busy else ""
        if self.beyond is None:
            return f"{'the budgets suit' if suits_budgets else 'networks of'} {size}{rough}"
        return (
            f"no supernet suits all budgets: the largest network of {size} takes about "
            f"{amount(self.beyond)} ms, and is the answer to every budget above{rough}"
        )


@dataclass(frozen=True)
class Choice:
    """What may be chosen, and by whom.

    Attributes:
        families: widest first; one if the user has given it.
        resolution: the images' own, or the user's.
        given: options by which the user has decided.
    """

    families: tuple[Family, ...]
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

    def reaches(of: Family, resolution: int) -> bool:
        return milliseconds(of.largest, of, resolution) >= MARGIN * greatest

    def suited(resolution: int) -> Iterator[str]:
        for of in choice.families:
            if not reaches(of, resolution):
                return  # nor does a narrower one
            if milliseconds(of.smallest, of, resolution) <= MARGIN * least:
                yield of.name

    def holds(resolution: int) -> bool:
        narrowest = choice.families[-1]
        return milliseconds(narrowest.smallest, narrowest, resolution) <= least

    down, up = not holds(choice.resolution), not reaches(choice.families[0], choice.resolution)
    further: list[int] = []
    if down:
        further = [r for r in reversed(choice.others) if r < choice.resolution]
    elif up:
        further = [r for r in choice.others if r > choice.resolution]
    tried = []
    for resolution in (choice.resolution, *further):
        tried.append(resolution)
        if holds(resolution) and (families := tuple(suited(resolution))):
            return SuitedSize(resolution, families)
        if holds(resolution) == down:
            break  # what is smaller still is not needed, or what is larger still holds less
    best: tuple[float, int, str] | None = None
    for resolution in filter(holds, tried):
        for of in choice.families:
            if milliseconds(of.smallest, of, resolution) <= least:
                found = milliseconds(of.largest, of, resolution), -resolution, of.name
                best = max(best or found, found)
                break  # narrower ones reach less far
    if best is None:
        raise _too_small(least, choice, tried, milliseconds)
    largest, negative, name = best
    return SuitedSize(-negative, (name,), largest if largest < MARGIN * greatest else None)


def given_size(
    budgets: Sequence[float],
    families: tuple[Family, ...],
    resolutions: Sequence[int],
    milliseconds: Milliseconds,
) -> SuitedSize:
    """Resolutions that the user has given, and what budgets in ms, if there are any, lack there.

    Args:
        families: to choose among, widest first.

    Raises:
        PnagError: if no network is within the least budget.
    """
    lowest, greatest = min(resolutions), max(resolutions)
    if not budgets:
        return SuitedSize(greatest, tuple(of.name for of in families))
    smallest = [milliseconds(of.smallest, of, lowest) for of in families]
    within = [of for of, ms in zip(families, smallest, strict=True) if ms <= min(budgets)]
    if not within:
        option = "--resolutions" if len(resolutions) > 1 else "--resolution"
        raise none_within(min(budgets), families[-1], lowest, smallest[-1], f"lower {option}")
    beyond = short_of(max(budgets), within[0], greatest, milliseconds)
    return SuitedSize(greatest, tuple(of.name for of in within), beyond)


def none_within(budget: float, of: Family, resolution: int, smallest: float, fix: str) -> PnagError:
    """That a family's smallest network takes more ms than a budget at the least resolution."""
    return PnagError(
        f"no network of {of.label} is within {budget:g} ms here: the smallest at "
        f"{resolution}x{resolution} takes about {amount(smallest)} ms; ask for more with "
        f"--budgets, or {fix}"
    )


def short_of(
    budget: float, of: Family, resolution: int, milliseconds: Milliseconds
) -> float | None:
    """What the largest network takes, in ms, if that is far from a budget; else None."""
    largest = milliseconds(of.largest, of, resolution)
    return largest if largest < MARGIN * budget else None


def _too_small(
    least: float, choice: Choice, tried: Sequence[int], milliseconds: Milliseconds
) -> PnagError:
    of = choice.families[-1]
    cheapest, resolution = min((milliseconds(of.smallest, of, r), r) for r in tried)
    lower = "".join(f", lower {option}" for option in choice.given)
    return PnagError(
        f"no network of a supernet is within {least:g} ms here: the smallest of {of.label} at "
        f"{resolution}x{resolution} takes about {amount(cheapest)} ms; ask for more with "
        f"--budgets{lower}, or measure a faster device (--runtime, --threads)"
    )


class Timer:
    """What architectures take on a runtime: the lower quartile of some calls.

    Others disturb it little, and unlike the least it is not far below what a network usually takes.

    Attributes:
        spreads: of each network's calls, as `Drift.spread` is of a machine's speed.
    """

    def __init__(self, runtime: Runtime, num_classes: int) -> None:
        self.runtime, self.num_classes = runtime, num_classes
        self.spreads: list[float] = []
        self._known: dict[tuple[BaseArchitecture, str, int], float] = {}

    def __call__(self, arch: BaseArchitecture, of: Family, resolution: int) -> float:
        """In ms; see `Milliseconds`."""
        asked = arch, of.name, resolution
        if asked not in self._known:
            shape = (self.runtime.batch, 3, resolution, resolution)
            network = of.build(arch, self.num_classes)
            times = self.runtime.prepare(network, shape)()(WARM_UP + CALLS)[WARM_UP:]
            self.spreads.append(Drift(times).spread)
            self._known[asked] = sorted(times)[len(times) // 4]
        return self._known[asked]

    @property
    def busy(self) -> str:
        """What was wrong with the machine meanwhile; empty if nothing was."""
        return why_unsure(0, median(self.spreads)) if self.spreads else ""
