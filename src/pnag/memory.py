"""How much memory there is to take: the machine's, or what a container leaves of it."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import psutil

CGROUPS = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")
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
    left = [_left(folder) for folder in _folders(cgroups, own)]
    free = int(psutil.virtual_memory().available)
    return max(0, min([free, *(some for some in left if some is not None)]))


def _folders(cgroups: Path, own: Path) -> list[Path]:
    """Of this process' groups and all above them, which limit it too."""
    try:
        lines = own.read_text().splitlines()
    except OSError:  # not Linux
        return []
    folders = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        root = cgroups / "memory" if "memory" in controllers.split(",") else cgroups
        if root == cgroups and controllers:
            continue  # of version 1, and not of memory
        group = PurePosixPath(path.lstrip("/"))
        # In a container the path may be the host's; the root is then the container's own.
        folders += [root / parent for parent in (group, *group.parents)]
    return folders


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
