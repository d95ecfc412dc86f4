"""Packages of an extra, which a user may not have installed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pnag.errors import PnagError
from pnag.noise import into_log


def install(extra: str) -> str:
    """The command that installs an extra where this Python looks for it."""
    python = f'"{sys.executable}"' if " " in sys.executable else sys.executable
    return f'{python} -m pip install "pnag[{extra}]"'


@contextmanager
def needing(what: str, extra: str) -> Iterator[None]:
    """For the block in which `what` imports packages of an extra.

    Args:
        extra: its name; empty where all is installed with pnag, and a failure is a bug.

    Raises:
        PnagError: if one is not installed, or cannot be loaded.
    """
    try:
        with into_log():
            yield
    except ModuleNotFoundError as error:
        if not extra:
            raise
        raise PnagError(
            f"{what} needs {error.name}, which is not installed: {install(extra)}"
        ) from error
    except ImportError as error:
        if not extra:
            raise
        package = (error.name or "").partition(".")[0]
        raise PnagError(
            f"{what} needs {package or 'a package'}, which is installed but cannot be loaded "
            f"({error}); reinstall it: pip uninstall {package or 'PACKAGE'}, then {install(extra)}"
        ) from error
