"""Paths that `datasets` takes as they are."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

from pnag.errors import PnagError

_SIGNS = ("::", "$")  # an archive's inner file; a variable of the environment


def plain(path: Path) -> Path:
    """The path itself, or a link to it if a part of its name means something to `datasets`.

    Links are removed when the process ends.

    Raises:
        PnagError: if no link can be made.
    """
    path = path.absolute()
    if not any(sign in str(path) for sign in _SIGNS):
        return path
    folder = Path(_links().name)
    link = folder / f"{len(list(folder.iterdir()))}{path.suffix}"
    try:
        link.symlink_to(path)
    except OSError as error:  # Windows lets few users make links
        raise PnagError(
            f"cannot read {path}: its name has {' or '.join(_SIGNS)} in it, and this system allows "
            f"no link to it ({error.strerror}); rename it"
        ) from error
    return link


@functools.cache
def _links() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="pnag-links-")
