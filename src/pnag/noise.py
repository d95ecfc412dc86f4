"""What libraries write beside our answers goes to a log: their native code, and their warnings.

The log is `logs/libraries.log` of the run, or else `libraries.log` in the cache of downloads.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from pnag.downloads import cache_directory

NAME = "libraries.log"
LARGEST = 1_000_000  # bytes, after which it starts over

_folder: Path | None = None
_log: TextIO | None = None
_lock = threading.RLock()
_depth = 0


def log_to(folder: Path) -> None:
    """Write the log into a run's folder from now on."""
    global _folder, _log
    with _lock:
        if folder != _folder:
            _folder, _log = folder, None  # loggers may hold the old one: it stays open


@contextlib.contextmanager
def into_log() -> Iterator[None]:
    """For a block that calls native code or imports a library: what these write is logged.

    Descriptors 1 and 2 belong to the whole process, so that what other threads write to them is
    logged too; `pnag`'s own lines go through others (`pnag.commands.streams`).
    """
    global _depth
    with _lock:
        _depth += 1
        outermost = _depth == 1
    try:
        if not outermost:
            yield
            return
        with _redirected(_open_log()):
            yield
    finally:
        with _lock:
            _depth -= 1


@contextlib.contextmanager
def _redirected(log: TextIO) -> Iterator[None]:
    _flush()
    loggers = [logging.getLogger(), logging.getLogger("torch")]
    handlers = [
        handler
        for logger in loggers
        for handler in logger.handlers
        if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stderr
    ]
    kept: list[tuple[int, int]] = []
    stderr = sys.stderr
    try:
        for descriptor in (1, 2):
            with contextlib.suppress(OSError):  # it is closed
                kept.append((descriptor, os.dup(descriptor)))
                os.dup2(log.fileno(), descriptor)
        for handler in handlers:
            handler.setStream(log)
        with contextlib.redirect_stderr(log):
            yield
    finally:
        _flush()
        for handler in handlers:
            handler.setStream(stderr)
        for descriptor, copy in kept:
            os.dup2(copy, descriptor)
            os.close(copy)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with contextlib.suppress(OSError, ValueError):
                stream.flush()


def _open_log() -> TextIO:
    """The log, or nothing's file where none can be written. It stays open: loggers keep it."""
    global _log
    with _lock:
        if _log is None:
            _log = _opened() or Path(os.devnull).open("a")  # noqa: SIM115
        return _log


def _opened() -> TextIO | None:
    try:
        folder = _folder or cache_directory()
        path = folder / NAME
        folder.mkdir(parents=True, exist_ok=True)
        large = path.exists() and path.stat().st_size > LARGEST
        return path.open("w" if large else "a", encoding="utf-8", errors="replace", buffering=1)
    except (OSError, RuntimeError):  # RuntimeError: there is no home directory
        return None
