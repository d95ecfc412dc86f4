"""Files that survive a stop at any moment: written under a temporary name, then renamed."""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock

from pnag.errors import PnagError


@contextlib.contextmanager
def writing(path: Path, fix: str) -> Iterator[None]:
    """The system's reason for not writing to `path`, as a message.

    Args:
        fix: what the user can do besides freeing space.

    Raises:
        PnagError: for an OSError of the block.
    """
    try:
        yield
    except OSError as error:
        raise PnagError(
            f"cannot write {path}: {error.strerror or error}; free space or {fix}"
        ) from error


@contextlib.contextmanager
def one_at_a_time(lock: Path, fix: str) -> Iterator[None]:
    """Wait until no other process holds the lock, a file, and hold it for the block.

    The system frees it when this process ends, however it ends. Arguments and errors are otherwise
    as of `writing`, for the lock's folder.
    """
    held = FileLock(lock)
    with writing(lock.parent, fix):
        lock.parent.mkdir(parents=True, exist_ok=True)
        held.acquire()
    try:
        yield
    finally:
        held.release()


def exists(path: Path) -> bool:
    """Whether there is something at `path`; a text that is too long for a name is nothing.

    Raises:
        PnagError: if a folder on the way to it may not be read.
    """
    try:
        path.stat()
    except PermissionError as error:
        raise PnagError(
            f"cannot look at {path}: {error.strerror}; ask for access to its folder, or copy it "
            "somewhere that you can read"
        ) from error
    except OSError:
        return False
    return True


def expand_home(text: str) -> Path:
    """A path whose `~` or `~NAME` is that user's home; of a user that is not known, it stays."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def write_atomic(
    path: Path, write: Callable[[Path], object], fix: str = "choose another directory"
) -> None:
    """Let `write` fill a temporary file next to `path`, then put it in `path`'s place.

    Temporary files of processes that were killed while they wrote `path` are removed.

    Args:
        fix: as of `writing`.

    Raises:
        PnagError: if the file cannot be written; what was at `path` stays.
    """
    temporary = _temporary(path)
    try:
        with writing(path, fix):
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove_stale(path)
            write(temporary)
            with temporary.open("rb+") as file:  # Windows syncs no file that is open to read only
                os.fsync(file.fileno())
            temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):  # its folder is not one: the error above says so
            temporary.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Whether `write_atomic` could write `path` now, before the work whose result goes there.

    Raises:
        PnagError: if it could not.
    """
    made = []
    try:
        with writing(path, "choose another place with --out"):
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            made = [folder for folder in path.parents if not folder.exists()]
            path.parent.mkdir(parents=True, exist_ok=True)
            _temporary(path).touch()
            _temporary(path).unlink()
    finally:
        for folder in made:
            with contextlib.suppress(OSError):  # it could not be made
                folder.rmdir()


def _temporary(path: Path) -> Path:
    return path.parent / f".{path.name}.{os.getpid()}.tmp"  # `.` has no name to replace


def _remove_stale(path: Path) -> None:
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        writer = left.name.split(".")[-2]
        if writer.isdecimal() and not psutil.pid_exists(int(writer)):
            left.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically."""
    write_atomic(path, lambda temporary: temporary.write_bytes(data))


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` atomically, as UTF-8."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write `value` to `path` atomically, as indented JSON without NaN."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        PnagError: if it is missing, unreadable or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise PnagError(f"cannot read {path}: {error}") from error


def fingerprint(value: Any) -> str:
    """A short hash of a JSON value, to tell whether inputs have changed."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_fingerprint(path: Path) -> str:
    """A short hash of a file's content."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise PnagError(f"cannot read {path}: {error.strerror}") from error
