"""A run directory: stages, one process at a time, files after a kill."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from pnag.cost.latency_table import LatencyTable
from pnag.cost.load import load_cost
from pnag.cost.proof import Proof
from pnag.cost.timing import Open
from pnag.deploy.zoo import KNOWN_NETWORKS
from pnag.errors import PnagError
from pnag.families.registry import of_width
from pnag.files import check_writable, exists, write_json, write_text
from pnag.images.sources import find_source
from pnag.run import proof_stage
from pnag.run.display import Display
from pnag.run.latency_stages import latency_stage
from pnag.run.recipe import LatencyRecipe, make_recipe
from pnag.run.run import run_pipeline
from pnag.run.run_directory import RunDirectory, finished_run, held_run
from pnag.run.size import Size
from pnag.run.tables import read_table
from pnag.run.trained import Answer
from pnag.supernet.weights import load_finished, save_weights

HOLD = """
import sys, time
from pathlib import Path
from pnag.run.run_directory import held_run
with held_run(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_stage_without_its_output_is_not_done(tmp_path: Path) -> None:
    run, out = RunDirectory(tmp_path), tmp_path / "out"
    with pytest.raises(PnagError, match="out is missing after the stage 'work'"):
        run.stage("work", 1, [out], lambda: None)
    assert not RunDirectory(tmp_path).is_done("work", 1, [out])
    assert run.stage("work", 1, [out], lambda: out.write_text("x"))
    assert not run.stage("work", 1, [out], lambda: pytest.fail("done again"))
    out.unlink()
    assert not run.is_done("work", 1, [out])
    # As a pnag before this has recorded a missing file.
    stages = json.loads(run.stages_file.read_text())
    stages["stages"]["work"]["outputs"] = [None]
    run.stages_file.write_text(json.dumps(stages))
    assert not RunDirectory(tmp_path).is_done("work", 1, [out])


def test_a_proof_removes_what_the_last_one_wrote_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, arch = RunDirectory(tmp_path), str(Size().of.middling)
    for file in (run.latency_table, run.judged):
        write_json(file, {})

    def export(network: nn.Module, path: Path, resolution: int) -> float:
        write_text(path, "")
        for suffix in (".safetensors", ".preprocessing.json"):  # as `write_weights` does afterwards
            write_text(path.with_suffix(suffix), "")
        return 0.0

    def prove(*budgets: float) -> set[str]:
        answers = [Answer(budget, arch, 0.7, budget) for budget in budgets]
        recipe, networks = make_recipe({}), {arch: nn.Identity()}
        proof_stage.proof_stage(run, recipe, Size(), answers, networks, Display())
        return {path.name for path in run.models.iterdir()}

    def stop(*_: object, **__: object) -> Proof:
        raise KeyboardInterrupt

    monkeypatch.setattr(proof_stage, "export_checked", export)
    with monkeypatch.context() as patched:
        patched.setattr(proof_stage, "time_in_turns", stop)
        with pytest.raises(KeyboardInterrupt):
            prove(2.5)
    monkeypatch.setattr(proof_stage, "time_in_turns", lambda *_, **__: Proof({}, 1.0, 0.01, 0, 0))
    own = {"pnag-10ms.onnx", "pnag-10ms.safetensors", "pnag-10ms.preprocessing.json"}
    assert prove(10) == own  # what was stopped has left nothing
    # `pnag export RUN --out RUN/models`, in other formats and to another budget
    (run.models / "pnag-10ms.mlpackage").mkdir()
    others = {"pnag-10ms.xml", "pnag-10ms.bin", "pnag-15ms.onnx", "pnag-15ms.preprocessing.json"}
    for name in others:
        write_text(run.models / name, "")
    here = {name.replace("10", "20") for name in own}
    assert prove(20) == here | others | {"pnag-10ms.mlpackage"}


def test_published_networks_that_a_runtime_lacks_are_left_out_of_a_proof(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, arch, left = RunDirectory(tmp_path), str(Size().of.middling), set[str]()
    write_json(run.latency_table, {})
    run.models.mkdir()

    def timed(*_: object, may_leave_out: Collection[str]) -> Proof:
        left.update(may_leave_out)
        return Proof({}, 1.0, 0.01, 0, 0)

    monkeypatch.setattr(proof_stage, "export_checked", lambda network, path, *_: path.touch() or 0)
    monkeypatch.setattr(proof_stage, "time_in_turns", timed)
    monkeypatch.setattr(proof_stage, "KNOWN_NETWORKS", KNOWN_NETWORKS[:1])
    recipe = make_recipe({"published": False, "compare": 0})
    answers = [Answer(10.0, arch, 0.7, 9.0)]
    proof_stage.proof_stage(run, recipe, Size(), answers, None, Display())
    assert left == {KNOWN_NETWORKS[0].name}


def test_a_proof_leaves_no_answer_a_resolution_that_it_has_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, arch = RunDirectory(tmp_path), str(Size().of.middling)
    for file in (run.latency_table, run.judged, run.models / "pnag-10ms.preprocessing.json"):
        write_json(file, {})
    monkeypatch.setattr(proof_stage, "export_checked", lambda network, path, *_: path.touch() or 0)
    monkeypatch.setattr(proof_stage, "time_in_turns", lambda *_, **__: Proof({}, 1.0, 0.01, 0, 0))
    answers = [Answer(10.0, arch, 0.7, 9.0)]
    proof_stage.proof_stage(run, make_recipe({}), Size(), answers, {arch: nn.Identity()}, Display())
    assert [path.name for path in run.models.iterdir()] == ["pnag-10ms.onnx"]


def test_one_process_at_a_time_and_a_kill_frees_it(tmp_path: Path) -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        with (
            pytest.raises(
                PnagError, match=f"in use by process {other.pid} on .*another directory$"
            ),
            held_run(tmp_path),
        ):
            pass
    finally:
        other.send_signal(signal.SIGKILL)
        other.wait()
    with held_run(tmp_path) as run:
        assert run.path == tmp_path


def test_several_processes_are_refused_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE"):
        with monkeypatch.context() as patch:
            patch.setenv(name, "2")
            with pytest.raises(PnagError, match="one process"):
                run_pipeline(make_recipe({}), tmp_path / "run", Display())
    assert not (tmp_path / "run").exists()


def test_what_killed_writers_left_is_removed(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead = tmp_path / f".a[1].json.{ended.pid}.tmp"
    alive = tmp_path / f".a[1].json.{os.getppid()}.tmp"
    other = tmp_path / f".b.json.{ended.pid}.tmp"
    for path in (dead, alive, other):
        path.write_text("half")
    write_text(tmp_path / "a[1].json", "whole")
    assert not dead.exists() and alive.exists() and other.exists()


def test_whether_a_file_can_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("whole")
    before = sorted(tmp_path.rglob("*"))
    for fine in ("new/er/a.json", "folder/a.json", "file"):
        check_writable(tmp_path / fine)
    for wrong, reason in (
        (tmp_path / "folder", "Is a directory"),
        (tmp_path / "file" / "a.json", "File exists"),
        (tmp_path / "new" / ("a" * 300), "File name too long"),
        (Path("/proc/none/a.json"), "No such file"),
    ):
        with pytest.raises(PnagError, match=f"cannot write {wrong}: {reason}.*--out"):
            check_writable(wrong)
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "file").read_text() == "whole"


def test_what_cannot_be_looked_at_is_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert exists(tmp_path) and not exists(tmp_path / "none") and not exists(Path("a" * 300))

    def closed(path: Path, **_: object) -> None:  # to anyone but root, who runs tests in containers
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "stat", closed)
    for look in (load_cost, find_source, lambda name: finished_run(Path(name)),
                 lambda name: read_table(Path(name))):  # fmt: skip
        with pytest.raises(PnagError, match="cannot look at private/x: Permission denied"):
            look("private/x")


def test_a_checkpoint_beside_finished_weights_is_removed(tmp_path: Path) -> None:
    module, path = nn.Linear(2, 2), tmp_path / "w.safetensors"
    save_weights(module, path, "x")
    checkpoint = tmp_path / "w.checkpoint.safetensors"
    checkpoint.write_text("of a run that was killed before it could remove it")
    found = nn.Linear(2, 2)
    assert load_finished(found, path, "x", Accelerator(cpu=True))
    assert torch.equal(found.weight, module.weight) and not checkpoint.exists()


class Counting:
    """A runtime of made-up times that counts the networks it is given."""

    batch = 1
    prepared = 0

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def identity(self) -> dict[str, str | int]:
        return {"device": "X", "runtime": "counting", "version": "1", "threads": self.threads}

    def prepare(self, network: nn.Module, input_shape: tuple[int, ...]) -> Open:
        Counting.prepared += 1
        time = 1.0 + sum(p.numel() for p in network.parameters()) / 1e6 / self.threads
        return lambda: lambda runs: [time] * runs


def test_a_latency_table_of_other_settings_is_kept_and_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "pnag.run.latency_stages.runtime_of", lambda latency: Counting(latency.threads)
    )
    run = RunDirectory(tmp_path)

    def measured(threads: int) -> bytes:
        latency = {"rounds": 3, "calibration": 8, "check": 6, "threads": threads}
        size = Size(32, of_width(0.25), 10)
        latency_stage(run, LatencyRecipe(**latency), size, 0, Display())
        return run.latency_table.read_bytes()

    one = measured(1)
    two = measured(2)
    (kept,) = tmp_path.glob("cost/latency_table.*.json")
    assert kept.read_bytes() == one != two
    assert f"kept as {kept}" in capsys.readouterr().out
    before = Counting.prepared
    assert measured(1) == one and Counting.prepared == before  # back, and not measured anew
    assert "kept for this device and setting is used again" in capsys.readouterr().out
    (kept,) = tmp_path.glob("cost/latency_table.*.json")
    assert kept.read_bytes() == two

    # As a stop leaves them that comes before the first times with other settings.
    identity = LatencyTable.load(run.latency_table).identity
    run.latency_table.replace(run.kept_latency_table(identity))
    assert measured(1) == one and Counting.prepared == before
    run.latency_table.write_text("{")  # nothing to keep
    assert json.loads(measured(1))["identity"] == identity and Counting.prepared > before
