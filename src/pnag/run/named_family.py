"""The family that a user names, with its width where it has one."""

from __future__ import annotations

from pnag.errors import PnagError
from pnag.families.base import Family
from pnag.families.registry import DEFAULT, family, of_width, width_of
from pnag.run.recipe import ImagesRecipe

WIDTHS = (1.0, 0.75, 0.5, 0.35, 0.25)  # of Once-for-All's family, to choose among by the minutes


def named_family(name: str | None, width_mult: float | None) -> Family:
    """Once-for-All's family at a width, or another, which has none.

    Raises:
        PnagError: if there is no such family, or another than Once-for-All's is given a width.
    """
    if name in (None, DEFAULT):
        return family(of_width(width_mult or 1.0))
    found = family(name)
    if width_mult is not None:
        raise PnagError(f"--width-mult is {width_mult:g}, but {name} has one width; leave it out")
    return found


def decided_family(name: str) -> dict[str, object]:
    """The recipe's entries for images whose supernet is of a family; they can be given again."""
    of = family(name)
    width_mult = width_of(name)
    return {
        "family": DEFAULT if width_mult else name.partition("@")[0],
        "width_mult": width_mult,
        "resolutions": of.space.resolutions or None,
    }


def families_asked(images: ImagesRecipe) -> tuple[Family, ...]:
    """The families that a run on images may choose among, widest first.

    Raises:
        PnagError: as `named_family`.
    """
    if images.family not in (None, DEFAULT) or images.width_mult:
        return (named_family(images.family, images.width_mult),)
    return tuple(family(of_width(width)) for width in WIDTHS)
