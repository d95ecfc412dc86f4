"""Images are identified by what their files hold, not by the files' places or dates.

A copied or remounted folder has the same images. To see that, every byte is read once; the result
is kept in the cache under the files' sizes and times, so that nothing is read twice.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from filelock import FileLock

from pnag.errors import PnagError
from pnag.files import fingerprint, read_json, write_json

# By part: each file's name within its source, and where it lies now.
Files = Mapping[str, Sequence[tuple[str, Path]]]

_KNOWN = ".contents.json"
_AT_ONCE = 64  # files of a task
_SMALL = 1 << 20  # bytes that are read at once
_THREADS = 4 * (os.cpu_count() or 1)  # they wait for the disk


def contents(
    files: Files, cache: Path, progress: Callable[[int, int], None] = lambda done, total: None
) -> str:
    """A hash of all files' parts, names, sizes and bytes.

    A file that cannot be read counts as empty here; decoding it reports what is wrong.

    Args:
        cache: a folder that can be written; it remembers hashes by the files' paths, sizes and
            times of change.
        progress: called with how many files of how many are read; nothing if none needs to be.
    """
    listed = [(part, name, path) for part, some in files.items() for name, path in some]
    stamps = [_stamp(path) for _, _, path in listed]
    stamped = list(zip(listed, stamps, strict=True))
    seen = fingerprint([(part, name, str(path), stamp) for (part, name, path), stamp in stamped])
    with FileLock(cache / f"{_KNOWN}.lock"):  # one process reads, the others wait
        known = _known(cache / _KNOWN)
        if seen in known:
            return known[seen]
        digests = list(_digests([path for _, _, path in listed], progress))
        whole = zip(stamped, digests, strict=True)
        found = fingerprint([(part, name, stamp[0], digest)
                             for ((part, name, _), stamp), digest in whole])  # fmt: skip
        if all(digests):  # what cannot be read now may be readable next time
            write_json(cache / _KNOWN, known | {seen: found})
    return found


def _stamp(path: Path) -> tuple[int, int, int]:
    """Size and times; the second one is the system's own and cannot be set back."""
    try:
        stat = path.stat()
    except OSError:  # such as a link to nothing
        return -1, -1, -1
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def _known(path: Path) -> dict[str, str]:
    try:
        return dict(read_json(path)) if path.exists() else {}
    except (PnagError, TypeError, ValueError):  # damaged: all is read again
        return {}


def _digests(paths: list[Path], progress: Callable[[int, int], None]) -> Iterator[str]:
    pool = ThreadPoolExecutor(_THREADS)
    try:
        tasks = [paths[first : first + _AT_ONCE] for first in range(0, len(paths), _AT_ONCE)]
        done = 0
        for digests in pool.map(lambda task: list(map(_digest, task)), tasks):
            yield from digests
            done += len(digests)
            progress(done, len(paths))
    finally:
        pool.shutdown(cancel_futures=True)  # a stop does not wait for what is left


def _digest(path: Path) -> str:
    try:
        with path.open("rb", buffering=0) as file:
            if os.fstat(file.fileno()).st_size > _SMALL:
                return hashlib.file_digest(file, "sha256").hexdigest()
            return hashlib.sha256(file.read()).hexdigest()
    except OSError:
        return ""
