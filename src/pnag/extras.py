"""Packages of an extra, which a user may not have installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pnag.errors import PnagError
from pnag.noise import into_log


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
            f'{what} needs {error.name}, which is not installed: pip install "pnag[{extra}]"'
        ) from error
    except ImportError as error:
        if not extra:
            raise
        package = (error.name or "").partition(".")[0]
        raise PnagError(
            f"{what} needs {package or 'a package'}, which is installed but cannot be loaded "
            f"({error}); reinstall it: pip uninstall {package or 'PACKAGE'}, then "
            f'pip install "pnag[{extra}]"'
        ) from error
