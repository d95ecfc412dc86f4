"""The control groups that this process is in: a container's limits."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

CGROUPS = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")


def folders_of(controller: str, cgroups: Path = CGROUPS, own: Path = OWN) -> list[Path]:
    """Folders of this process' groups and of all groups above them, which limit it too.

    Args:
        controller: of cgroup version 1, such as `memory`; version 2 has all in one folder.
        cgroups: where the kernel shows control groups. own: which ones this process is in.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:  # not Linux
        return []
    folders = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        root = cgroups / controller if controller in controllers.split(",") else cgroups
        if root == cgroups and controllers:
            continue  # of version 1, and of something else
        group = PurePosixPath(path.lstrip("/"))
        # In a container the path may be the host's; the root is then the container's own.
        folders += [root / parent for parent in (group, *group.parents)]
    return folders
