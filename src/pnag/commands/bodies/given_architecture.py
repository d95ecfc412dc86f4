"""An architecture as it is given on the command line: a text, or a file with one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pnag.errors import PnagError
from pnag.families import Family, family
from pnag.files import exists, expand_home
from pnag.run.size import Size
from pnag.space import BaseArchitecture
from pnag.space.notation import parts_of, sizes_besides

LONGEST = 1_000_000  # bytes of a file: a network that is described block by block has some 10,000


def given_architecture(
    text: str, of: Family | None = None
) -> tuple[BaseArchitecture, dict[str, float]] | None:
    """The architecture, and what is said beside it of the network's size.

    Args:
        text: anything that the family's architectures are read from, or the path of a file with it.
        of: its family; Once-for-All's if None.

    Returns:
        None for a text that is neither a file nor looks like an architecture.

    Raises:
        PnagError: if it looks like one and is none.
    """
    path = expand_home(text)
    if exists(path) and path.is_file():
        text, where = _content(path), f"{path}: "
    elif text.lstrip().startswith(("{", "[")) or ":" in text:
        where = ""
    else:
        return None
    kind = (of or family()).space.architecture
    try:
        if text.lstrip().startswith("["):
            raise PnagError("this is a list; give one architecture, an entry of it")
        if not text.lstrip().startswith("{"):
            return kind.parse(text), {}
        parts = parts_of(text)
        inner = parts.get("arch")
        sizes = sizes_besides(parts) | (sizes_besides(inner) if isinstance(inner, Mapping) else {})
        return kind.parse(parts), sizes
    except PnagError as error:
        raise PnagError(f"{where}{error}") from error


def unlike(sizes: dict[str, float], size: Size) -> list[str]:
    """Where the size that an architecture comes with is not that of the network, for people."""
    own = size.identity()
    return [
        f"the architecture says {name.replace('_', ' ')} {said:g}, but {own[name]:g} is used; to "
        f"use its own, give --{name.replace('_', '-')} {said:g}"
        for name, said in sizes.items()
        if name in own and said != own[name]
    ]


def _content(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(LONGEST).decode("utf-8-sig")
    except OSError as error:
        raise PnagError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise PnagError(
            f"{path} is not a text file; give an architecture as text, as d:k:e or JSON"
        ) from error
