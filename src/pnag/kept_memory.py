"""While a CPU trains or judges, memory that is freed stays with the process, in large pages.

glibc hands the memory of a large tensor back to the system as soon as it is freed, and the next
layer's is mapped again, 4 KiB at a time: 24,000 page faults a training step of efficientnet_lite0
on 64 images of 64 pixels. Without them that step takes three quarters of the time, and judging half
(`benchmarks/README.md`). Nothing is done on systems other than Linux with glibc.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

# Options of mallopt(3), with what glibc begins with, and advice of madvise(2).
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_USUAL = {_TRIM_THRESHOLD: 128 << 10, _MMAP_MAX: 65536}
_KEPT = {_TRIM_THRESHOLD: (1 << 31) - 1, _MMAP_MAX: 0}
_HUGE, _NOT_HUGE = 14, 15
_HUGE_PAGE = 2 << 20
_HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")

_inside = 0  # how many `with` statements there are around


@contextmanager
def kept_memory() -> Iterator[None]:
    """Keep freed memory for a while. May be nested; the process gives it back at the end.

    Nothing is done if the user has set glibc's MALLOC_... variables.
    """
    global _inside
    if not _inside:
        _set(_KEPT, _HUGE)
    _inside += 1
    try:
        yield
    finally:
        _inside -= 1
        if not _inside:
            _set(_USUAL, _NOT_HUGE)
            if (libc := _libc()) is not None:
                libc.malloc_trim(0)


def _set(options: dict[int, int], pages: int) -> None:
    libc = _libc()
    if libc is None:
        return
    for option, value in options.items():
        libc.mallopt(option, value)
    if "[madvise]" in _HUGE_PAGES.read_text():
        start, end = _heap()
        start = -(-start // _HUGE_PAGE) * _HUGE_PAGE
        if start < end:  # what the heap grows by gets the same advice
            libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), pages)


def _heap() -> tuple[int, int]:
    """Addresses of the heap's start and end; both 0 without one."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        if line.endswith("[heap]"):
            start, end = line.split()[0].split("-")
            return int(start, 16), int(end, 16)
    return 0, 0


@cache
def _libc() -> ctypes.CDLL | None:
    """The C library, if it is one whose memory can be kept and nobody else sees to it."""
    if sys.platform != "linux" or any(name.startswith("MALLOC_") for name in os.environ):
        return None
    libc = ctypes.CDLL(None)
    known = all(hasattr(libc, name) for name in ("mallopt", "malloc_trim", "gnu_get_libc_version"))
    return libc if known and _HUGE_PAGES.exists() else None
