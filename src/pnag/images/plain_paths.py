"""Paths that `datasets` takes as they are."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

_SIGNS = ("::", "$")  # an archive's inner file; a variable of the environment


def plain(path: Path) -> Path:
    """The path itself, or a link to it if a part of its name means something to `datasets`.

    Links are removed when the process ends.
    """
    path = path.absolute()
    if not any(sign in str(path) for sign in _SIGNS):
        return path
    folder = Path(_links().name)
    link = folder / f"{len(list(folder.iterdir()))}{path.suffix}"
    link.symlink_to(path)
    return link


@functools.cache
def _links() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="pnag-links-")
