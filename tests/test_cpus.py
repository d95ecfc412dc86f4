"""OpenMP is told how to wait before torch is loaded, and how many CPUs a container leaves."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pnag import cpus
from pnag.cpus import allowed_cpus, settle
from pnag.threads import SMALL_ROWS, threads_for, torch_threads

SAID = "import os, sys, pnag; print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"


def python(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    own = {
        name: value for name, value in os.environ.items() if not name.startswith(("OMP", "GOMP"))
    }
    return subprocess.run(
        [sys.executable, "-c", code],
        env=own | variables,
        capture_output=True,
        text=True,
        check=True,
    )


def test_pnag_tells_openmp_before_torch_is_loaded() -> None:
    assert python(SAID).stdout.split() == ["PASSIVE", "False"]
    assert python(SAID, OMP_WAIT_POLICY="ACTIVE").stdout.split() == ["ACTIVE", "False"]
    child = f"import subprocess, sys, pnag; subprocess.run([sys.executable, '-c', {SAID!r}])"
    assert python(child).stdout.split() == ["PASSIVE", "False"]


def test_openmp_heeds_it() -> None:
    """What the library itself reports when torch loads it."""
    loaded = "import pnag, torch"
    said = python(loaded, OMP_DISPLAY_ENV="verbose").stderr
    if "GOMP_SPINCOUNT" not in said:
        pytest.skip("this torch comes with another OpenMP than GNU's")
    assert "GOMP_SPINCOUNT = '0'" in said
    said = python(loaded, OMP_DISPLAY_ENV="verbose", GOMP_SPINCOUNT="77").stderr
    assert "GOMP_SPINCOUNT = '77'" in said


def test_a_container_gets_as_many_threads_as_it_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpus, "seen_cpus", lambda: 64)
    monkeypatch.setattr(cpus, "allowed_cpus", lambda: 3)
    environment: dict[str, str] = {}
    settle(environment)
    assert environment == {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "3"}
    own = {"OMP_WAIT_POLICY": "ACTIVE", "OMP_NUM_THREADS": "8"}
    settle(own)
    assert own == {"OMP_WAIT_POLICY": "ACTIVE", "OMP_NUM_THREADS": "8"}
    monkeypatch.setattr(cpus, "allowed_cpus", lambda: 64)  # torch finds these by itself
    environment = {}
    settle(environment)
    assert environment == {"OMP_WAIT_POLICY": "PASSIVE"}


def limit(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(f"{text}\n")


def test_the_least_quota_of_a_group_and_those_above(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpus, "seen_cpus", lambda: 16)
    own, inner = tmp_path / "own", tmp_path / "user.slice" / "mine"
    assert allowed_cpus(tmp_path, own) == 16  # no control groups at all
    own.write_text("0::/user.slice/mine\n")
    limit(inner, cpu__max="max 100000")
    assert allowed_cpus(tmp_path, own) == 16
    limit(inner, cpu__max="350000 100000")
    assert allowed_cpus(tmp_path, own) == 4  # three and a half are kept busy by four
    limit(inner.parent, cpu__max="200000 100000")
    assert allowed_cpus(tmp_path, own) == 2
    limit(tmp_path, cpu__max="20000 100000")  # as in a container, whose root has a limit
    assert allowed_cpus(tmp_path, own) == 1
    limit(tmp_path, cpu__max="9900000 100000")
    limit(inner.parent, cpu__max="9900000 100000")
    limit(inner, cpu__max="nonsense")
    assert allowed_cpus(tmp_path, own) == 16  # no more than there are


def test_quotas_of_version_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpus, "seen_cpus", lambda: 16)
    own = tmp_path / "own"
    own.write_text("5:cpu,cpuacct:/docker/7\n4:memory:/docker/7\n0::/\n")
    limit(tmp_path / "cpu", cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")
    assert allowed_cpus(tmp_path, own) == 16
    # The container sees its own group as the root, under the host's name for it.
    limit(tmp_path / "cpu", cpu__cfs_quota_us="250000", cpu__cfs_period_us="100000")
    assert allowed_cpus(tmp_path, own) == 3


def test_few_rows_take_one_thread() -> None:
    with torch_threads(2):
        with threads_for(640):
            assert torch.get_num_threads() == 1
        with threads_for(SMALL_ROWS + 1):
            assert torch.get_num_threads() == 2
        assert torch.get_num_threads() == 2
