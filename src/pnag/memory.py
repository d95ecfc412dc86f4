"""How much memory there is to take: the machine's, or what a container leaves of it."""

from __future__ import annotations

from pathlib import Path

import psutil

from pnag.cgroups import CGROUPS, OWN, folders_of

# Of cgroup version 2 and of 1: the limit, what is taken, and what of that the kernel gives back.
_FILES = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def available_memory(cgroups: Path = CGROUPS, own: Path = OWN) -> int:
    """Bytes that can be taken without swapping, and without being killed for a cgroup's limit.

    Args:
        cgroups: where the kernel shows control groups. own: which ones this process is in.
    """
    left = [_left(folder) for folder in folders_of("memory", cgroups, own)]
    free = int(psutil.virtual_memory().available)
    return max(0, min([free, *(some for some in left if some is not None)]))


def _left(folder: Path) -> int | None:
    """Bytes that a group may still take; None without a limit."""
    for limit, taken, given_back in _FILES:
        try:
            most = int((folder / limit).read_text())
            usage = int((folder / taken).read_text())
            stat = dict(map(str.split, (folder / "memory.stat").read_text().splitlines()))
        except (OSError, ValueError):  # no such file, or `max`
            continue
        return most - usage + int(stat.get(given_back, 0))
    return None
