"""Families by their names: each registers itself where it is defined.

    @register("my-family", "what it is")
    def my_family(name: str) -> Family: ...

`docs/extend.md` adds one.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pnag.errors import PnagError
from pnag.families.base import Family
from pnag.near_names import near

if TYPE_CHECKING:
    from torch import nn

MakeFamily = Callable[[str], Family]


@dataclass(frozen=True)
class Registered:
    """How a family is made, and what `pnag families` says about it.

    Attributes:
        make: from a name. names: of those that it can make, for lists and near misses.
    """

    make: MakeFamily
    about: str
    names: Callable[[], Sequence[str]]


_REGISTERED: dict[str, Registered] = {}


def register(
    prefix: str, about: str, names: Callable[[], Sequence[str]] | None = None
) -> Callable[[MakeFamily], MakeFamily]:
    """Make a function the maker of families whose names are, or begin with, a prefix.

    Args:
        prefix: `my-family`, or `timm/` of many.
        names: of all that there are; the prefix itself if None.
    """

    def decorate(make: MakeFamily) -> MakeFamily:
        _REGISTERED[prefix] = Registered(make, about, names or (lambda: (prefix,)))
        return make

    return decorate


def registered() -> dict[str, Registered]:
    """All that is registered, by prefix.

    Every module of `pnag.families` registers its own, and so does what installed packages name as
    entry points of the group `pnag.families`.
    """
    import pnag.families

    for module in pkgutil.iter_modules(pnag.families.__path__, "pnag.families."):
        importlib.import_module(module.name)
    for point in importlib.metadata.entry_points(group="pnag.families"):
        point.load()
    return _REGISTERED


DEFAULT = "ofa-mobilenetv3"


def family(name: str = DEFAULT) -> Family:
    """The family of a name.

    `ofa-mobilenetv3`, its width 1.2 `ofa-mobilenetv3-w1.2`, `timm/efficientnet_lite0`; any with
    `@128,160,192` after it, whose architectures choose their resolution.

    Raises:
        PnagError: if there is none; names some that are near.
    """
    return _made(name)


@functools.cache
def _made(name: str) -> Family:
    name, at, pixels = name.partition("@")
    if at:
        values = [int(part) if part.strip().isdecimal() else 0 for part in pixels.split(",")]
        return family(name).with_resolutions(values)
    known = registered()
    for prefix, entry in sorted(known.items(), key=lambda item: -len(item[0])):
        if name.startswith(prefix):
            return entry.make(name)
    raise no_family(name, [each for entry in known.values() for each in entry.names()])


def no_family(name: str, every: Sequence[str]) -> PnagError:
    """The error that there is no family of this name; names those of `every` that are near."""
    endings = {each.rpartition("/")[2]: each for each in every}
    alike = near(name.rpartition("/")[2], endings)
    meant = f"; there is {' or '.join(endings[each] for each in alike)}" if alike else ""
    return PnagError(f"there is no family {name!r}{meant}; `pnag families` lists all")


def family_of(identity: dict[str, Any]) -> Family:
    """The family that a file's identity names (`Family.identity`); older files give a width."""
    if "family" in identity:
        return family(identity["family"])
    return family(of_width(identity.get("width_mult", 1.0)))


def from_config(config: dict[str, Any]) -> nn.Module:
    """The plain network that `pnag_config` of one describes, with fresh weights."""
    return family_of(config).from_config(config)


def is_of(name: str, asked: str) -> bool:
    """Whether a family is the one that was asked for, by their names.

    Where that leaves the resolutions open, or the width of Once-for-All's, any will do.
    """
    own, _, resolutions = name.partition("@")
    wanted, _, wanted_resolutions = asked.partition("@")
    same = own == wanted or (wanted == DEFAULT and own.startswith(f"{DEFAULT}-w"))
    return same and wanted_resolutions in ("", resolutions)


def width_of(name: str) -> float | None:
    """The width multiplier of a family of this name; None if it has one width."""
    width: float | None = family(name).identity().get("width_mult")
    return width


def of_width(width_mult: float) -> str:
    """The name of Once-for-All's family at a width multiplier."""
    return DEFAULT if width_mult == 1.0 else f"{DEFAULT}-w{width_mult!r}"
