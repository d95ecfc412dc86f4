"""Tables that are collected: resumed after any stop, by any number of processes."""

from __future__ import annotations

import errno
import importlib.util
import multiprocessing
import os
import pickle
import resource
import signal
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from filelock import FileLock

from pnag import SearchSpace, Supernet
from pnag.errors import PnagError
from pnag.families.ofa_mobilenetv3 import ofa
from pnag.images.images import ImageData
from pnag.judging import workers as module
from pnag.judging.collect import collect, collected_precision
from pnag.judging.ray_cluster import gpu_share
from pnag.judging.subnets import Settings, SubnetEvaluator
from pnag.judging.workers import Job, running, suited_workers, worker_bytes

SPACE = SearchSpace()
SETTINGS = Settings(calibration=40, validation=61)
TOKENS = SPACE.sample_unique(12, np.random.default_rng(0))


@pytest.fixture(scope="module")
def accuracies(supernet: Supernet, digits: ImageData) -> list[float]:
    return SubnetEvaluator(supernet, digits, SETTINGS).accuracies(TOKENS).tolist()


class Stop(Exception):
    pass


def stop_after(rows: int) -> object:
    def progress(done: int, total: int) -> None:
        if done >= rows:
            raise Stop

    return progress


def test_rows_and_progress(
    supernet: Supernet, digits: ImageData, accuracies: list[float], tmp_path: Path
) -> None:
    out = tmp_path / "deep" / "table.csv"
    told: list[tuple[int, int]] = []
    twice = np.concatenate([TOKENS, TOKENS[:1]])

    def collected() -> pd.DataFrame:
        return collect(
            supernet, digits, twice, out, settings=SETTINGS, progress=lambda *n: told.append(n)
        )

    frame = collected()
    assert frame.accuracy.tolist() == accuracies + accuracies[:1]
    assert frame.arch.tolist() == SPACE.text(twice) and set(frame.images) == {61}
    assert told[0] == (0, 12) and told[-1] == (12, 12) and told == sorted(told)
    written = pd.read_csv(out)
    assert len(written) == 12 and set(written.arch) == set(frame.arch)
    before = out.read_bytes()
    told.clear()
    pd.testing.assert_frame_equal(collected(), frame)
    assert out.read_bytes() == before and told == [(12, 12)]


@pytest.mark.parametrize("torn", ["", '"2,2,2', '"2,2,2,2,2:', "\n", "arch,accu", "é"])
def test_resumed_after_a_stop(
    supernet: Supernet, digits: ImageData, accuracies: list[float], tmp_path: Path, torn: str
) -> None:
    out = tmp_path / "table.csv"
    with pytest.raises(Stop):
        collect(supernet, digits, TOKENS, out, settings=SETTINGS, progress=stop_after(4))  # type: ignore[arg-type]
    content = out.read_bytes()
    rows = content.count(b"\n") - 1
    assert 4 <= rows < 12
    if torn == "\n":  # nothing is lost but the end of the last line
        out.write_bytes(content[:-1])
    elif torn == "arch,accu":  # torn in the first line
        out.write_bytes(torn.encode())
    else:
        out.write_bytes(content + torn.encode()[:-1])
    frame = collect(supernet, digits, TOKENS, out, settings=SETTINGS)
    assert frame.accuracy.tolist() == accuracies
    assert len(pd.read_csv(out)) == 12


def test_a_file_without_rows_takes_any_settings(
    supernet: Supernet, digits: ImageData, tmp_path: Path
) -> None:
    out = tmp_path / "table.csv"
    with pytest.raises(Stop):
        collect(supernet, digits, TOKENS, out, settings=SETTINGS, progress=stop_after(0))  # type: ignore[arg-type]
    assert out.read_text().split() == ["arch,accuracy,images"] and collected_precision(out) is None
    other = Settings(calibration=41, validation=61)
    assert len(collect(supernet, digits, TOKENS[:1], out, settings=other)) == 1
    assert collected_precision(out)
    out.unlink()
    assert collected_precision(out) is None
    assert len(collect(supernet, digits, TOKENS[:1], out, settings=SETTINGS)) == 1


def test_rows_of_something_else(supernet: Supernet, digits: ImageData, tmp_path: Path) -> None:
    out = tmp_path / "table.csv"
    collect(supernet, digits, TOKENS[:1], out, settings=SETTINGS)
    with pytest.raises(PnagError, match="another supernet"):
        collect(Supernet(0.1, 10), digits, TOKENS, out, settings=SETTINGS)
    with pytest.raises(PnagError, match="another settings"):
        collect(supernet, digits, TOKENS, out, settings=Settings(calibration=41))
    with FileLock(tmp_path / ".table.csv.lock"), pytest.raises(PnagError, match="another process"):
        collect(supernet, digits, TOKENS, out, settings=SETTINGS)
    good = out.read_text()
    for bad in (
        "x,0.5,61\n",
        "x\n",
        "x" * 200_000 + "\n",
        good.splitlines()[1].replace(",61", ",60") + "\n",
    ):
        out.write_text(good + bad)
        with pytest.raises(PnagError, match="line 3"):
            collect(supernet, digits, TOKENS, out, settings=SETTINGS)
    out.write_text("a,b\n")
    with pytest.raises(PnagError, match="columns a,b"):
        collect(supernet, digits, TOKENS, out, settings=SETTINGS)
    (tmp_path / "table.csv.json").unlink()
    with pytest.raises(PnagError, match="does not"):
        collect(supernet, digits, TOKENS, out, settings=SETTINGS)


def test_only_writing_is_blamed_on_the_disk(
    supernet: Supernet, digits: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "table.csv"

    def no_pixels(*_: object) -> None:
        raise OSError("the images' disk is gone")

    with monkeypatch.context() as patched:
        patched.setattr(SubnetEvaluator, "correct", no_pixels)
        with pytest.raises(OSError, match="images' disk is gone"):
            collect(supernet, digits, TOKENS[:1], out, settings=SETTINGS)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(PnagError, match=r"cannot write .*table\.csv.*: No space left"):
            collect(supernet, digits, TOKENS[:1], out, settings=SETTINGS)

    rows = collect(supernet, digits, TOKENS[:2], out, settings=SETTINGS)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (out.stat().st_size + 10, before[1]))
    try:
        with pytest.raises(PnagError, match=r"cannot write .*table\.csv.*: File too large"):
            collect(supernet, digits, TOKENS[:4], out, settings=SETTINGS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert collect(supernet, digits, TOKENS[:2], out, settings=SETTINGS).equals(rows)


@dataclass(frozen=True)
class Greedy(Job):
    """A job whose first processes are killed as the kernel does for want of memory."""

    killed: Path
    times: int

    def evaluator(self) -> SubnetEvaluator:
        # Ctrl-C is for the process that has started this one, and which ends it.
        assert signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())
        with FileLock(self.killed.with_suffix(".lock")):
            before = len(self.killed.read_text())
            if before < self.times:
                self.killed.write_text("x" * (before + 1))
                os.kill(os.getpid(), signal.SIGKILL)
        return super().evaluator()


@pytest.mark.parametrize("times", [1, 99])
def test_killed_workers(
    supernet: Supernet, digits: ImageData, accuracies: list[float], tmp_path: Path, times: int
) -> None:
    killed = tmp_path / "killed"
    killed.write_text("")
    job = Job.of(supernet, digits, SETTINGS, 1 << 30)
    greedy = Greedy(**vars(job), killed=killed, times=times)
    with running(greedy, 2, None) as run:
        if times == 99:
            with pytest.raises(PnagError, match="killed, most likely for lack of memory"):
                list(run([TOKENS]))
            return
        done = dict(run([TOKENS[:6], TOKENS[6:]]))
        assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert [count / 61 for number in (0, 1) for count in done[number]] == accuracies
    for worker in multiprocessing.active_children():
        worker.join(30)  # the second of the first two was still starting when its pool broke
        assert not worker.is_alive()


def test_two_processes(
    supernet: Supernet, digits: ImageData, accuracies: list[float], tmp_path: Path
) -> None:
    assert len(pickle.dumps(digits)) < 50_000  # names of files, no pixels
    frame = collect(supernet, digits, TOKENS, tmp_path / "table.csv", settings=SETTINGS, workers=2)
    assert frame.accuracy.tolist() == accuracies


def test_wrong_numbers(supernet: Supernet, digits: ImageData, tmp_path: Path) -> None:
    with pytest.raises(PnagError, match="workers must be"):
        collect(supernet, digits, TOKENS, tmp_path / "a.csv", settings=SETTINGS, workers=0)


def test_actors_share_gpus() -> None:
    machine, other = {"CPU": 4.0, "GPU": 1.0}, {"CPU": 8.0, "memory": 1e9}
    assert gpu_share([machine], 1) == 1
    assert gpu_share([machine, other], 2) == 0.5
    assert gpu_share([machine, other], 3) == 0.3333
    assert gpu_share([machine, machine], 3) == 0.5
    # One CPU lets the first machine take one actor, so that the second needs room for three.
    assert gpu_share([{"CPU": 1.0, "GPU": 1.0}, machine], 4) == 0.3333
    # Ray tells nothing of what a machine has none of.
    assert gpu_share([{"GPU": 1.0}, machine], 2) == 0.5
    with pytest.raises(PnagError, match="workers is 5, but the Ray cluster has 4 CPUs on machines"):
        gpu_share([machine, other], 5)


def test_memory_grows_with_the_images(
    supernet: Supernet, digits: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    def needed(width_mult: float, resolution: int) -> int:
        how = replace(digits.preprocessing, resolution=resolution)
        with torch.device("meta"):
            net = Supernet(width_mult, 10)
        return worker_bytes(net, replace(digits, preprocessing=how), Settings(512, 300))

    small, large = needed(0.25, 32), needed(1.0, 224)
    # Measured: see `PROCESS_BYTES` in workers.py.
    assert small < 1 << 30 and 4 << 30 < large < 6 << 30
    # Maps of all resolutions are kept.
    with torch.device("meta"):
        elastic = ofa(1.0).with_resolutions((112, 160, 224)).supernet(10)
    how = replace(digits, preprocessing=replace(digits.preprocessing, resolution=224))
    assert 1.2 * large < worker_bytes(elastic, how, Settings(512, 300)) < 2 * large
    assert needed(1.0, 448) > 2.5 * large and needed(2.0, 224) > 1.4 * large
    each = worker_bytes(supernet, digits, SETTINGS)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    for room, expected in ((0.5, 1), (3.5, 3), (99, 8)):
        monkeypatch.setattr(module, "available_memory", lambda room=room: int(room * each))
        assert suited_workers(supernet, digits, SETTINGS) == expected


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="Ray is here")
def test_without_ray(supernet: Supernet, digits: ImageData, tmp_path: Path) -> None:
    with pytest.raises(PnagError, match=r'pip install "pnag\[ray\]"'):
        collect(supernet, digits, TOKENS, tmp_path / "a.csv", ray_address="local")


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs the extra `ray`")
def test_a_ray_cluster_without_room(supernet: Supernet, digits: ImageData, tmp_path: Path) -> None:
    with pytest.raises(PnagError, match="workers is 9999, but the Ray cluster has"):
        collect(
            supernet, digits, TOKENS, tmp_path / "table.csv", settings=SETTINGS, workers=9999,
            ray_address="local",
        )  # fmt: skip
