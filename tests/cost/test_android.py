"""The phone's runtime against a stand-in for adb that writes down what it is asked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from adb_stand_in import StandIn, plug_in
from typer.testing import CliRunner

from pnag.commands.main import app
from pnag.cost.runtimes import make_runtime, phone_program
from pnag.cost.runtimes.adb import find_phone
from pnag.errors import PnagError
from pnag.run.display import Display
from pnag.run.recipe import make_recipe
from pnag.run.run import run_pipeline

SAID = """I 00:00:00.0 executorch:executor_runner.cpp:157] Resetting threadpool with num threads = 2
I 00:00:00.1 executorch:executor_runner.cpp:500] Iteration 1 of 3: 5.500000 ms
I 00:00:00.1 executorch:executor_runner.cpp:500] Iteration 2 of 3: 4.250000 ms
I 00:00:00.1 executorch:executor_runner.cpp:500] Iteration 3 of 3: 4.000000 ms
I 00:00:00.2 executorch:executor_runner.cpp:510] Model executed successfully 3 time(s) in 13.75 ms.
OutputX 0: tensor(sizes=[1, 10], [1., 2.])"""


@pytest.fixture
def phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    phone = plug_in(tmp_path, monkeypatch)
    phone.set(said=SAID)
    return phone


def test_the_exact_commands_of_a_measurement(
    phone: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    android = pytest.importorskip("pnag.cost.runtimes.android")
    monkeypatch.setattr(android, "export_pte", lambda network, shape: b"pte")
    runtime = make_runtime("executorch-adb", 2)
    folder = "/data/local/tmp/pnag"
    assert phone.calls() == [["devices"]]
    ready = runtime.prepare(torch.nn.Identity(), (1, 3, 32, 32))
    assert phone.calls() == [
        ["-s", "R58N", "shell", f"rm -rf {folder} 2>&1"],
        ["-s", "R58N", "shell", f"mkdir -p {folder} 2>&1"],
        ["-s", "R58N", "push", str(tmp_path / "executor_runner"), f"{folder}/executor_runner"],
        ["-s", "R58N", "shell", f"chmod 755 {folder}/executor_runner 2>&1"],
    ]
    identity = runtime.identity()
    assert identity["device"] == "SM-N970F"
    assert identity["soc"] == "exynos9825"  # ro.soc.model is not set on older phones
    assert identity["android"] == "12"
    assert identity["threads"] == 2
    phone.calls()

    assert ready()(3) == [5.5, 4.25, 4.0]
    assert ready()(3) == [5.5, 4.25, 4.0]
    del ready
    push, *runs, removal = phone.calls()
    assert push[:3] == ["-s", "R58N", "push"]
    file = push[4]  # pushed once, though it was opened twice
    assert file.startswith(f"{folder}/") and file.endswith(".pte")
    command = f"{folder}/executor_runner --model_path={file} --num_executions=3 --cpu_threads=2"
    assert runs == [["-s", "R58N", "shell", f"{command} 2>&1"]] * 2
    assert removal == ["-s", "R58N", "shell", f"rm -f {file} 2>&1"]


def test_programs_of_two_runtimes_share_a_phone(
    phone: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    android = pytest.importorskip("pnag.cost.runtimes.android")
    pytest.importorskip("pnag.cost.runtimes.ncnn_android")
    monkeypatch.setattr(android, "export_pte", lambda network, shape: b"pte")
    for name in ("executorch-adb", "ncnn-adb", "executorch-adb"):
        make_runtime(name).prepare(torch.nn.Conv2d(3, 4, 3), (1, 3, 32, 32))
    commands = [call[2:] for call in phone.calls() if call != ["devices"]]
    assert [c[1].split()[0] for c in commands if c[0] == "shell"].count("rm") == 1
    pushed = [c[2].rpartition("/")[2] for c in commands if c[0] == "push"]
    assert pushed == ["executor_runner", "benchncnn"]


HOLD = """
import os, time
from pathlib import Path
from pnag.cost.runtimes.adb import find_phone
from pnag.cost.runtimes.phone_program import install
install(find_phone("192.168.0.7:5555"), Path(os.environ["PNAG_EXECUTOR_RUNNER"]), "runner")
print("held", flush=True)
time.sleep(600)
"""


def test_one_process_at_a_time_on_a_phone(phone: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    android = pytest.importorskip("pnag.cost.runtimes.android")
    monkeypatch.setattr(android, "export_pte", lambda network, shape: b"pte")
    phone.set(devices={"192.168.0.7:5555": "device", "R58N": "device"})

    def prepare(serial: str) -> None:
        make_runtime("executorch-adb", 1, serial).prepare(torch.nn.Identity(), (1, 3, 32, 32))

    other = subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        phone.calls()
        with pytest.raises(PnagError, match=r"phone 192\.168\.0\.7:5555 is in use .*wait"):
            prepare("192.168.0.7:5555")
        assert phone.calls() == [["devices"]]  # its folder is the other's
        prepare("R58N")
    finally:
        other.kill()
        other.wait()
    for _ in range(2):
        prepare("192.168.0.7:5555")


def test_what_the_runner_says(phone: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    android = pytest.importorskip("pnag.cost.runtimes.android")
    monkeypatch.setattr(android, "export_pte", lambda network, shape: b"pte")
    assert android.parse_times(SAID, 3) == [5.5, 4.25, 4.0]
    assert android.parse_times(SAID, 4) is None
    assert android.parse_times("Model executed successfully 2 time(s) in 9.0 ms.", 2) == [4.5, 4.5]
    call = make_runtime("executorch-adb").prepare(torch.nn.Identity(), (1, 3, 32, 32))()
    phone.set(said="OutputX 0: tensor")
    with pytest.raises(PnagError, match=r"no times.*EXECUTORCH_ENABLE_LOGGING=ON"):
        call(3)
    phone.set(said="Backend XnnpackBackend is not registered", exit=134)
    with pytest.raises(PnagError, match="XnnpackBackend is not registered"):
        call(3)


def test_unplugged_midway(phone: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    android = pytest.importorskip("pnag.cost.runtimes.android")
    monkeypatch.setattr(android, "export_pte", lambda network, shape: b"pte")
    ready = make_runtime("executorch-adb").prepare(torch.nn.Identity(), (1, 3, 32, 32))
    call, serial = ready(), find_phone()
    call(3)
    phone.set(unplugged_after=1)
    with pytest.raises(PnagError, match=r"R58N is gone .*plug it in again"):
        call(3)
    phone_program.remove(serial, "/data/local/tmp/pnag/0.pte")  # no error


def test_a_phone_that_hangs_is_waited_for_once(
    phone: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    android = pytest.importorskip("pnag.cost.runtimes.android")
    monkeypatch.setattr(android, "export_pte", lambda network, shape: b"pte")
    runtime = make_runtime("executorch-adb")
    ready = [runtime.prepare(torch.nn.Identity(), (1, 3, 32, 32)) for _ in range(3)]
    for one in ready:
        one()
    run, waited = subprocess.run, []

    def hang(command: list[str], timeout: float, **_: object) -> None:
        waited.append(timeout)
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.raises(PnagError, match=r"-s R58N shell .* has not answered for 300 s"):
        ready[0]()(3)
    with pytest.raises(PnagError, match=r"adb devices` has not answered for 15 s"):
        find_phone()
    waited.clear()
    ready.clear()
    assert waited == [15]  # for the first of three files

    monkeypatch.setattr(subprocess, "run", run)
    again = runtime.prepare(torch.nn.Identity(), (1, 3, 32, 32))
    again()
    phone.calls()
    del again
    assert phone.calls()[0][3].startswith("rm -f")  # as it answers again


@pytest.mark.parametrize(
    ("devices", "serial", "message"),
    [
        ({}, None, "adb sees no phone; plug one in"),
        ({}, "X1", r"looked for X1"),
        ({"A": "device", "B": "device"}, None, r"2 phones \(A, B\).*--adb SERIAL"),
        ({"A": "device"}, "B", "no phone B, only A"),
        ({"A": "unauthorized"}, None, "'unauthorized': unlock it"),
        ({"A": "offline", "B": "device"}, "A", "'offline': plug it in again"),
        ({"A": "no permissions (verify udev rules); see [url]"}, None, "udev rule"),
    ],
)
def test_phones_that_cannot_be_used(
    phone: StandIn, devices: dict[str, str], serial: str | None, message: str
) -> None:
    phone.set(devices=devices)
    with pytest.raises(PnagError, match=message):
        find_phone(serial)


def test_one_of_several_phones(phone: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    phone.set(devices={"A": "unauthorized", "B": "device"})
    assert find_phone("B").serial == "B"
    monkeypatch.setenv("ANDROID_SERIAL", "B")
    assert find_phone().serial == "B"


def test_an_adb_that_does_not_run(phone: StandIn, tmp_path: Path) -> None:
    (tmp_path / "bin" / "adb").write_text("#!/no/such/interpreter\n")
    with pytest.raises(PnagError, match=r"cannot run .*adb: No such file.*platform tools"):
        find_phone()


def test_no_adb(phone: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PnagError, match=r"no `adb` on the PATH.*platform-tools"):
        find_phone()


def test_a_missing_runner_says_where_to_get_it(
    phone: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("executorch")
    monkeypatch.setenv("PNAG_EXECUTOR_RUNNER", str(tmp_path / "none"))
    with pytest.raises(PnagError, match=r"none, which is not a file: build .*executor_runner"):
        make_runtime("executorch-adb")
    monkeypatch.delenv("PNAG_EXECUTOR_RUNNER")
    monkeypatch.delenv("PNAG_BENCHNCNN")
    monkeypatch.delenv("PNAG_MNN_BENCHMARK")
    with pytest.raises(PnagError, match="name it with the environment variable PNAG_EXECUTOR"):
        make_runtime("executorch-adb")
    pytest.importorskip("ncnn")
    with pytest.raises(PnagError, match="name it with the environment variable PNAG_BENCHNCNN"):
        make_runtime("ncnn-adb")
    pytest.importorskip("MNN")
    with pytest.raises(PnagError, match=r"variable PNAG_MNN_BENCHMARK"):
        make_runtime("mnn-adb")


def test_a_run_and_the_zoo_use_the_phone_that_is_named(
    phone: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("executorch")
    phone.set(devices={"A": "device", "B": "device"})
    used: list[object] = []

    def enough(runtime: object, *_: object, **__: object) -> None:
        used.append(runtime.phone.serial)  # type: ignore[attr-defined]
        raise PnagError("enough")

    monkeypatch.setattr("pnag.run.latency_stages.measure_device", enough)
    monkeypatch.setattr("pnag.deploy.zoo.measure.measure_zoo", enough)
    latency = {"runtime": "executorch-adb", "adb": "B"}
    with pytest.raises(PnagError, match="enough"):
        run_pipeline(make_recipe({"latency": latency}), tmp_path / "run", Display())
    zoo = ["zoo", "measure", "--only", "resnet18", "--runtime", "executorch-adb"]
    assert "enough" in CliRunner().invoke(app, [*zoo, "--adb", "B"]).output
    assert used == ["B", "B"]
    assert "2 phones (A, B)" in CliRunner().invoke(app, zoo).output


def test_the_command_line_exits_with_2(phone: StandIn, tmp_path: Path) -> None:
    pytest.importorskip("executorch")
    phone.set(devices={})
    table = ["measure", "--out", str(tmp_path / "t.json")]
    done = CliRunner().invoke(app, [*table, "--runtime", "executorch-adb"])
    assert done.exit_code == 2 and "adb sees no phone" in done.output
    done = CliRunner().invoke(app, [*table, "--adb", "R58N"])
    assert done.exit_code == 2
    assert "--adb R58N names a phone, and onnxruntime runs here" in " ".join(done.output.split())
