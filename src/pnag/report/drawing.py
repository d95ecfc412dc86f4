"""Pictures of architectures: what is drawn comes from their family's layer table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from pnag.families import Family
from pnag.families.layers import Layer
from pnag.space import AnyArchitecture


@dataclass(frozen=True)
class Bar:
    """One layer in a picture.

    Attributes:
        kernel: its colour. width: as it was chosen, which is written on it.
        share: its length: of the expanded channels that the layer has at most, 0 to 1.
    """

    kernel: int
    width: int
    share: float


@dataclass(frozen=True)
class Drawing:
    """What a picture of one architecture shows.

    Attributes:
        resolution: of its images, in pixels, where it is chosen; else 0.
        units: of each unit the places that a layer can be at; None where there is none.
    """

    resolution: int
    units: tuple[tuple[Bar | None, ...], ...]

    def as_json(self) -> dict[str, Any]:
        """For a page's script, where a bar is kernel, width and share."""
        units = [[bar and (bar.kernel, bar.width, bar.share) for bar in u] for u in self.units]
        return {"units": units} | ({"resolution": self.resolution} if self.resolution else {})


@dataclass(frozen=True)
class Legend:
    """What colours and lengths of a family's pictures mean.

    Attributes:
        kernels: that a layer can have. widths: that it can have, each with its usual share.
    """

    kernels: tuple[int, ...]
    widths: dict[int, float]

    def as_json(self) -> dict[str, Any]:
        """For a page's script."""
        return {"kernels": self.kernels, "widths": list(self.widths.items())}


def drawing(family: Family, arch: AnyArchitecture) -> Drawing:
    """The picture of an architecture: the layers that others of its family may not have."""
    parsed = family.parse(arch)
    present = {layer.index: layer for layer in family.active(parsed)}
    units: list[list[Bar | None]] = []
    for most in family.active(None):
        if most.first:
            units.append([])
        if most.unit >= 0:
            layer = present.get(most.index)
            bar = Bar(layer.kernel, layer.width, _share(family, layer)) if layer else None
            units[-1].append(bar)
    return Drawing(parsed.resolution, tuple(map(tuple, units)))


def drawings(family: Family, archs: Iterable[AnyArchitecture]) -> list[dict[str, Any]]:
    """The pictures of several architectures, for a page's script."""
    return [drawing(family, arch).as_json() for arch in archs]


def legend(*families: Family) -> Legend:
    """What the pictures of these families' architectures mean."""
    kernels, shares = set[int](), dict[int, list[float]]()
    for family in families:
        for block in family.blocks():
            kernels.add(block.kernel)
            shares.setdefault(block.width, []).append(_share(family, block))
    widths = {width: round(fmean(shares[width]), 3) for width in sorted(shares)}
    return Legend(tuple(sorted(kernels)), widths)


def _share(family: Family, layer: Layer) -> float:
    most = family.active(None)[layer.index].expanded  # 0 of a layer that is no block
    return round(layer.expanded / most, 3) if most else 1.0
