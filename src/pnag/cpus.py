"""How many CPUs there are to use, and threads that leave them to others while they wait.

A library of OpenMP reads its settings when it is loaded, so `settle` comes before torch.
"""

from __future__ import annotations

import math
import os
from collections.abc import MutableMapping
from pathlib import Path

from pnag.cgroups import CGROUPS, OWN, folders_of


def settle(environment: MutableMapping[str, str]) -> None:
    """Configure OpenMP, here and in child processes; what is set already stays.

    Its threads spin while they wait for each other. Beside another busy process they then wait for
    one that the system has taken off its CPU, for as long as its time slice lasts: a run took ten
    times as long. And it starts a thread for each CPU that it sees, though a container may be
    allowed less.
    """
    # libgomp and LLVM's and Intel's OpenMP take it, and let GOMP_SPINCOUNT and KMP_BLOCKTIME win.
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if allowed_cpus() < seen_cpus():
        environment.setdefault("OMP_NUM_THREADS", str(allowed_cpus()))


def seen_cpus() -> int:
    """CPUs that the system runs this process on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def allowed_cpus(cgroups: Path = CGROUPS, own: Path = OWN) -> int:
    """CPUs that this process can keep busy: those it sees, or what its control groups leave it.

    A quota that is no whole number counts as the next larger one.

    Args:
        cgroups: where the kernel shows control groups. own: which ones this process is in.
    """
    quotas = [_quota(folder) for folder in folders_of("cpu", cgroups, own)]
    least = min((quota for quota in quotas if quota is not None), default=math.inf)
    return max(1, min(seen_cpus(), math.ceil(min(least, 1e6))))


def _quota(folder: Path) -> float | None:
    """CPUs that a group may use; None without a limit."""
    for read in (_version_2, _version_1):
        try:
            quota, period = read(folder)
        except (OSError, ValueError):  # no such file, or `max`
            continue
        if quota > 0 and period > 0:  # version 1 has -1 for no limit
            return quota / period
    return None


def _version_2(folder: Path) -> tuple[int, int]:
    quota, period = (folder / "cpu.max").read_text().split()
    return int(quota), int(period)


def _version_1(folder: Path) -> tuple[int, int]:
    quota, period = (folder / f"cpu.cfs_{name}_us" for name in ("quota", "period"))
    return int(quota.read_text()), int(period.read_text())
