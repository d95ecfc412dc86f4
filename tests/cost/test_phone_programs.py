"""The programs of ncnn, MNN and LiteRT on a phone: their exact commands, and what they print."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from adb_stand_in import StandIn, plug_in

from pnag.cost.runtimes import make_runtime
from pnag.errors import PnagError

# As benchmark/benchncnn.cpp of ncnn prints it, to its standard error.
BENCHNCNN = """loop_count = 3
num_threads = 2
powersave = 2
gpu_device = -1
cooling_down = 0
/data/local/tmp/pnag/0.param  min =    4.21  max =    5.10  avg =    4.52
"""
# As benchmark/benchmark.cpp of MNN prints it.
BENCHMARK_OUT = """MNN benchmark
Forward type: CPU thread=2 precision=2 sparsity=0 sparseBlockOC=1 testQuantizedModel=0
--------> Benchmarking... loop = 3, warmup = 10
[-INFO-]: precision=2, use fp16 inference if your device supports and open MNN_ARM82=ON.
[ - ] network.mnn                 max =    2.703 ms  min =    2.444 ms  avg =    2.511 ms
"""
# As benchmark_model.cc of TensorFlow prints it; its numbers have six digits.
BENCHMARK_MODEL = """INFO: STARTING!
INFO: Log parameter values verbosely: [0]
INFO: Graph: [/data/local/tmp/pnag/0.tflite]
INFO: Loaded model /data/local/tmp/pnag/0.tflite
INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
INFO: The input model file size (MB): 0.003
INFO: Initialized session in 16.599ms.
INFO: Running benchmark for at least 10 iterations and at least 0 seconds but terminate if \
exceeding 150 seconds.
INFO: count=10 first=8539 curr=6510 min=6449 max=8539 avg=7181.07 std=30

INFO: Running benchmark for at least 3 iterations and at least 0 seconds but terminate if \
exceeding 150 seconds.
INFO: count=3 first=6449 curr=6510 min=6449 max=6510 avg=6479.5 std=30 p5=6449 median=6480 p95=6510

INFO: Inference timings in us: Init: 16599, First inference: 8539, Warmup (avg): 7181.07, \
Inference (avg): 6479.5
INFO: Memory footprint delta from the start of the tool (MB): init=3.1 overall=4.2
"""


@pytest.fixture
def phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    return plug_in(tmp_path, monkeypatch)


def test_the_exact_commands_of_ncnn(
    phone: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ncnn_android = pytest.importorskip("pnag.cost.runtimes.ncnn_android")
    model = ncnn_android.export_ncnn(torch.nn.Conv2d(3, 4, 3), (1, 3, 32, 48))
    assert b"Convolution" in model.param
    phone.set(said=BENCHNCNN)
    runtime, folder = make_runtime("ncnn-adb", 2), "/data/local/tmp/pnag"
    ready = runtime.prepare(torch.nn.Conv2d(3, 4, 3), (1, 3, 32, 48))
    assert phone.calls()[-2:] == [
        ["-s", "R58N", "push", str(tmp_path / "executor_runner"), f"{folder}/benchncnn"],
        ["-s", "R58N", "shell", f"chmod 755 {folder}/benchncnn 2>&1"],
    ]
    identity = runtime.identity()
    assert (identity["runtime"], identity["device"]) == ("ncnn-adb", "SM-N970F")
    phone.calls()
    assert ready()(3) == [4.52] * 3
    del ready
    push, run, removal = phone.calls()
    file = push[4]  # the graph alone
    assert push[:3] == ["-s", "R58N", "push"] and file.endswith(".param")
    command = f"{folder}/benchncnn 3 2 2 -1 0 param={file} 'shape=[48,32,3]' 2>&1"
    assert run == ["-s", "R58N", "shell", command]
    assert removal == ["-s", "R58N", "shell", f"rm -f {file} 2>&1"]
    # Nothing was run, and a program that knows no networks but its own.
    call = runtime.prepare(torch.nn.Conv2d(3, 4, 3), (1, 3, 32, 32))()
    phone.set(said=BENCHNCNN.replace("4.52", "0.00"))
    with pytest.raises(PnagError, match=r"no times of 3 run\(s\).*build ncnn's benchncnn"):
        call(3)
    phone.set(said="layer Foo not exists or registered", exit=255)
    with pytest.raises(PnagError, match="layer Foo not exists"):
        call(3)


def test_the_exact_commands_of_mnn(phone: StandIn, tmp_path: Path) -> None:
    pytest.importorskip("pnag.cost.runtimes.mnn_android")
    network, shape = torch.nn.Conv2d(3, 4, 3), (1, 3, 32, 48)
    phone.set(said=BENCHMARK_OUT)
    runtime, folder = make_runtime("mnn-adb", 2), "/data/local/tmp/pnag"
    ready = runtime.prepare(network, shape)
    assert phone.calls()[-2:] == [
        ["-s", "R58N", "push", str(tmp_path / "executor_runner"), f"{folder}/benchmark.out"],
        ["-s", "R58N", "shell", f"chmod 755 {folder}/benchmark.out 2>&1"],
    ]
    identity = runtime.identity()
    assert (identity["runtime"], identity["device"]) == ("mnn-adb", "SM-N970F")
    phone.calls()
    assert ready()(3) == [2.511] * 3
    del ready
    push, run, removal = phone.calls()
    own, _, file = push[4].rpartition("/")  # a folder of its own: the program times all of a folder
    assert push[:3] == ["-s", "R58N", "push"] and file == "network.mnn"
    assert own.rpartition("/")[0] == folder and own != folder
    command = f"{folder}/benchmark.out {own} 3 10 0 2 2 2>&1"
    assert run == ["-s", "R58N", "shell", command]
    assert removal == ["-s", "R58N", "shell", f"rm -f {own}/network.mnn 2>&1"]
    call = runtime.prepare(network, shape)()
    phone.set(said=BENCHMARK_OUT.replace(" ms", "ms"))  # as older versions print it
    assert call(3) == [2.511] * 3
    # It timed nothing, and there is no network in the folder.
    for said in (BENCHMARK_OUT.replace("2.511", "0.000"), BENCHMARK_OUT.partition("[ - ]")[0]):
        phone.set(said=said)
        with pytest.raises(PnagError, match=r"no times of 3 run\(s\).*build MNN's benchmark\.out"):
            call(3)
    phone.set(said="Segmentation fault", exit=139)
    with pytest.raises(PnagError, match="Segmentation fault"):
        call(3)


def test_the_exact_commands_of_litert(
    phone: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    litert_android = pytest.importorskip("pnag.cost.runtimes.litert_android")
    phone.set(said=BENCHMARK_MODEL)
    runtime, folder = make_runtime("litert-adb", 2), "/data/local/tmp/pnag"
    ready = runtime.prepare(torch.nn.Conv2d(3, 4, 3), (1, 3, 32, 48))
    assert phone.calls()[-2:] == [
        ["-s", "R58N", "push", str(tmp_path / "executor_runner"), f"{folder}/benchmark_model"],
        ["-s", "R58N", "shell", f"chmod 755 {folder}/benchmark_model 2>&1"],
    ]
    identity = runtime.identity()
    assert (identity["runtime"], identity["version"]) == ("litert-adb", litert_android.VERSION)
    phone.calls()
    call = ready()
    assert call(3) == [6.4795] * 3
    push, run = phone.calls()
    assert push[:3] == ["-s", "R58N", "push"] and push[4].endswith(".tflite")
    flags = f"--graph={push[4]} --num_threads=2 --warmup_runs=10 --warmup_min_secs=0"
    command = f"{folder}/benchmark_model {flags} --num_runs=3 --min_secs=0 2>&1"
    assert run == ["-s", "R58N", "shell", command]
    phone.set(said=BENCHMARK_MODEL.replace(": 6479.5", ": 1.04176e+06"))  # more than a second
    assert call(3) == [1041.76] * 3
    phone.set(said="Inference timings in us: Init: 1, First inference: 2, Warmup (avg): 2")
    with pytest.raises(PnagError, match=r"no times of 3 run\(s\).*android_aarch64_benchmark_model"):
        call(3)
    phone.set(said="ERROR: Failed to load model\nBenchmarking failed.", exit=1)
    with pytest.raises(PnagError, match=r"Failed to load model\nBenchmarking failed"):
        call(3)
    monkeypatch.delenv("PNAG_BENCHMARK_MODEL")
    with pytest.raises(PnagError, match="variable PNAG_BENCHMARK_MODEL"):
        make_runtime("litert-adb")
