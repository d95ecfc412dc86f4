"""What a user may have meant by a name, or a path, that does not exist."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from pathlib import Path

_SHOWN = 4


def near(name: str, names: Iterable[str]) -> list[str]:
    """The names that are similar to one, whatever their case, the most similar first."""
    lower = {each.casefold(): each for each in names}
    found = difflib.get_close_matches(name.casefold(), lower, _SHOWN, 0.6)
    return [lower[each] for each in found]


def meant(path: Path, *, else_all: bool = True) -> str:
    """Names that are like the missing one; as the end of a message.

    Args:
        else_all: whether to say what there is instead, if no name is alike.

    Returns:
        Such as `; there is data/flowers`, or nothing where the folder is empty or closed.
    """
    missing = path
    while not os.path.lexists(missing.parent) and missing.parent != missing:
        missing = missing.parent
    folder = missing.parent
    names = _names(folder)
    if alike := near(missing.name, reversed(names)):
        return f"; there is {' or '.join(str(folder / name) for name in alike)}"
    if names and missing.name and else_all:
        more = ", ..." if len(names) > _SHOWN else ""
        place = "here" if folder == Path() else f"in {folder}"
        return f"; {place} are {', '.join(names[:_SHOWN])}{more}"
    return ""


def _names(folder: Path) -> list[str]:
    try:
        return sorted(f.name for f in folder.iterdir() if not f.name.startswith("."))
    except OSError:
        return []
