"""What memory is left, in containers too."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from pnag.memory import available_memory

GIB = 1 << 30


def group(folder: Path, names: tuple[str, str], most: str, taken: int, stat: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in zip((*names, "memory.stat"), (most, str(taken), stat), strict=True):
        (folder / name).write_text(f"{text}\n")


@pytest.fixture(autouse=True)
def large_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    class Memory:
        available = 100 * GIB

    monkeypatch.setattr(psutil, "virtual_memory", Memory)


def test_without_a_limit(tmp_path: Path) -> None:
    own = tmp_path / "own"
    assert available_memory(tmp_path, own) == 100 * GIB  # no control groups at all
    own.write_text("0::/user.slice/mine\n")
    group(tmp_path / "user.slice" / "mine", ("memory.max", "memory.current"), "max", GIB, "")
    assert available_memory(tmp_path, own) == 100 * GIB


def test_the_lowest_limit_of_a_group_and_those_above(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("0::/user.slice/mine\n")
    names = ("memory.max", "memory.current")
    group(tmp_path / "user.slice" / "mine", names, str(9 * GIB), GIB, "anon 5\ninactive_file 7")
    assert available_memory(tmp_path, own) == 8 * GIB + 7
    group(tmp_path / "user.slice", names, str(4 * GIB), 5 * GIB, f"inactive_file {2 * GIB}")
    assert available_memory(tmp_path, own) == GIB
    group(tmp_path, names, str(GIB), 5 * GIB, "anon 5")  # as in a container, whose root has a limit
    assert available_memory(tmp_path, own) == 0


def test_version_1(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("5:cpu,cpuacct:/docker/7\n4:memory:/docker/7\n1:name=systemd:/docker/7\n")
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
    # The container sees its own group as the root, under the host's name for it.
    group(tmp_path / "memory", names, str(3 * GIB), GIB, "total_inactive_file 9")
    assert available_memory(tmp_path, own) == 2 * GIB + 9
