"""What each answer's fine-tuning starts from, and so in which order answers are tuned.

The largest network at several resolutions: the one nearest to the resolution that it was trained at
starts from there, and each other one from its tuned neighbour. Networks at neighbouring
resolutions are alike, so each has the steps of all before it.

Somewhat smaller networks are cut out of what the largest has become at the nearest resolution:
after few epochs of a supernet that is worth 4 points more than its own weights for them. Where no
answer is the largest, it is tuned before them all the same. Much smaller networks begin with the
supernet's weights, which are better for them (`benchmarks/README.md`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from pnag.families.base import Family
from pnag.space import BaseArchitecture
from pnag.space.at_resolutions import at_each_resolution
from pnag.supernet.phases import LARGEST_ALONE

# Share of the largest network's multiply-adds. With 0.6 of them a network that is cut out is 7
# points behind its own weights in the supernet, with 0.8 it is 4 ahead (`benchmarks/README.md`).
CUT_FROM = 0.7

Begins = dict[str, str | None]
"""Text forms of architectures, each with that of another whose tuned weights it begins with."""


def what_each_begins_with(
    archs: Sequence[str], of: Family, known: Mapping[str, str | None], *, cut: bool
) -> Begins:
    """That of further architectures, beside those of `known`, which stay what they are.

    Args:
        cut: whether networks that are large enough are cut out of the largest, which is then
            tuned, too; else all smaller ones begin with the supernet's weights.
    """
    begins = dict(known)
    largest = largest_at(of)
    placed = [arch for arch in begins if arch in largest]

    def nearest(arch: str) -> str | None:
        at = resolution_of(arch)
        return min(placed, key=lambda other: _apart(largest[other], at), default=None)

    def from_trained(arch: str) -> float:
        return _apart(largest[arch], trained_at(of))

    new = [arch for arch in archs if arch not in begins]
    smaller = [arch for arch in new if arch not in largest]
    from_largest = [arch for arch in smaller if cut and share_of_largest(arch, of) >= CUT_FROM]
    asked = [arch for arch in new if arch in largest]
    if from_largest and not (asked or placed):
        at = {resolution_of(arch) for arch in from_largest}
        asked = [min((arch for arch in largest if largest[arch] in at), key=from_trained)]
    for arch in sorted(asked, key=from_trained):
        begins[arch] = nearest(arch)
        placed.append(arch)
    return begins | {arch: nearest(arch) if arch in from_largest else None for arch in smaller}


def share_of_largest(arch: str, of: Family) -> float:
    """A network's multiply-adds, as a share of those of the largest at its resolution."""
    pixels = resolution_of(arch)
    largest = next(text for text, at in largest_at(of).items() if at == pixels)
    macs, most = (of.count(text, pixels or 224).macs for text in (arch, largest))
    return macs / most


def trained_at(of: Family) -> int:
    """The resolution at which the largest network is trained alone; 0 if none is chosen."""
    return max((0, *LARGEST_ALONE.drawn_resolutions(of.space)))


def largest_at(of: Family) -> dict[str, int]:
    """The largest network's text form with each resolution, and that resolution; 0 if none is."""
    texts = of.space.text(at_each_resolution(of.space, [of.largest]))
    return dict(zip(texts, of.space.resolutions or (0,), strict=True))


def waves(archs: Iterable[str], begins: Mapping[str, str | None]) -> list[list[str]]:
    """Architectures and all that they begin with; each begins with one of an earlier wave."""
    level: dict[str, int] = {}

    def place(arch: str) -> int:
        before = begins[arch]
        if arch not in level:
            level[arch] = 0 if before is None else 1 + place(before)
        return level[arch]

    for arch in archs:
        place(arch)
    return [[arch for arch in level if level[arch] == n] for n in range(1 + max(level.values()))]


def resolution_of(arch: str) -> int:
    """The resolution that an architecture's text form chooses; 0 if it chooses none."""
    return BaseArchitecture.parse(arch).resolution


def _apart(one: int, other: int) -> float:
    return abs(math.log(one / other)) if one != other else 0.0
