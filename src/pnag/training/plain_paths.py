"""Paths that `datasets` takes as they are."""

from __future__ import annotations

from pathlib import Path

_SIGNS = ("::", "$")  # an archive's inner file; a variable of the environment


def plain(path: Path, scratch: Path) -> Path:
    """The path itself, or a link to it if a part of its name means something to `datasets`.

    Args:
        scratch: a folder for the link, of a plain name.
    """
    path = path.absolute()
    if not any(sign in str(path) for sign in _SIGNS):
        return path
    scratch.mkdir(parents=True, exist_ok=True)
    links = len(list(scratch.iterdir()))
    link = scratch / f"{links}{path.suffix}"
    link.symlink_to(path)
    return link
