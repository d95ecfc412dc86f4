"""Runtimes: what they compute, what they leave as it was, and what they say when they cannot."""

from __future__ import annotations

import functools
import itertools
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from pnag.commands.bodies.measure import table_paths
from pnag.commands.main import app
from pnag.cost.latency_table import LatencyTable
from pnag.cost.measure import measure_device
from pnag.cost.runtimes import RUNTIMES, make_runtime, make_runtimes, too_many_threads
from pnag.cost.runtimes.machine import random_images
from pnag.cost.runtimes.torch_cpu import TorchCpu, images_like
from pnag.cost.timing import Call, Open
from pnag.errors import PnagError
from pnag.families.ofa_mobilenetv3 import ofa

SHAPE = (1, 3, 32, 32)
SIZE = {"resolution": 32, "rounds": 3, "calibration": 4, "check": 3}


def small_network(channels: int = 8) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, channels, 3, 2, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.Hardswish(),
        nn.Conv2d(channels, channels, 3, 1, 1, groups=channels),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(channels, 5),
    ).eval()


class MadeUp(TorchCpu):
    """Takes the time that a network has parameters, on a device that tells its clock."""

    clocks = itertools.cycle((1500.0, 1200.0, 1410.0))

    def clock_mhz(self) -> float:
        return next(self.clocks)

    def prepare(self, network: nn.Module, input_shape: tuple[int, ...]) -> Open:
        milliseconds = 1.0 + sum(p.numel() for p in network.parameters()) / 1e4

        def open_network() -> Call:
            return lambda runs: [milliseconds] * runs

        return open_network


def test_threads_are_too_many_only_of_this_cpu() -> None:
    assert too_many_threads("cuda,tensorrt,openvino:GPU,executorch-adb", 10**6) == ""
    assert "threads of torch, mnn share" in too_many_threads("torch, cuda-batch1, mnn", 10**6)


@pytest.mark.parametrize("name", ["torch", "openvino", "openvino-int8"])
def test_a_network_is_timed_and_stays_what_it_was(name: str) -> None:
    if name.startswith("openvino"):
        pytest.importorskip("openvino", reason="needs the extra openvino")
    if name == "openvino-int8":
        pytest.importorskip("nncf", reason="needs the extra openvino")
    runtime = make_runtime(name, threads=1)
    assert runtime.identity()["runtime"] == name and runtime.identity()["threads"] == 1
    network = small_network()
    images = images_like(SHAPE)
    before = network(images)
    opened = runtime.prepare(network, SHAPE)
    first, second = opened(), opened()  # both may be open at once
    for call in (first, second, first):
        times = call(3)
        assert len(times) == 3 and min(times) > 0
    assert torch.equal(network(images), before)


def test_torch_has_its_threads_for_a_turn_only() -> None:
    seen: list[tuple[int, bool]] = []

    class Spy(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            assert images.is_contiguous(memory_format=torch.channels_last)
            seen.append((torch.get_num_threads(), torch.is_inference_mode_enabled()))
            return images

    before = torch.get_num_threads()
    TorchCpu(before + 1).prepare(Spy(), SHAPE)()(2)
    assert seen == [(before + 1, True)] * 2
    assert torch.get_num_threads() == before


def test_every_network_is_compiled_not_just_the_first_eight(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compiled: list[int] = []

    def backend(graph: torch.fx.GraphModule, _: list[torch.Tensor]) -> object:
        compiled.append(len(graph.graph.nodes))
        return graph.forward

    # Tracing is ours and is tested; the C++ that comes after it takes a minute.
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    monkeypatch.setattr(torch._dynamo.config, "recompile_limit", 1)
    monkeypatch.setattr("pnag.cost.runtimes.torch_cpu.find_compiler", lambda: "c++")
    runtime = make_runtime("torch-compiled")
    calls = [runtime.prepare(small_network(channels), SHAPE)() for channels in (8, 16, 24)]
    assert len(compiled) == 3
    for call in calls:
        assert len(call(2)) == 2
    assert len(compiled) == 3


def test_clock_and_seconds_are_kept_with_a_table(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    table = measure_device(MadeUp(), ofa(0.35), path, **SIZE)  # type: ignore[arg-type]
    assert table.seconds > 0
    assert table.drift.clocks == [1200, 1500] * 3  # of blocks and two groups of networks
    assert LatencyTable.load(path) == table
    raw = json.loads(path.read_text())
    del raw["seconds"], raw["drift"]["clocks"]  # as tables were before
    path.write_text(json.dumps(raw))
    assert LatencyTable.load(path).blocks == table.blocks
    with pytest.raises(PnagError, match=r"another runtime \(torch, not onnxruntime\)"):
        measure_device(make_runtime("onnxruntime"), ofa(0.35), path, **SIZE)  # type: ignore[arg-type]


def test_openvino_computes_the_same() -> None:
    pytest.importorskip("openvino", reason="needs the extra openvino")
    from pnag.cost.runtimes.openvino import compile_openvino, convert_openvino

    network, images = small_network(), images_like(SHAPE)
    model = compile_openvino(convert_openvino(network, SHAPE), "CPU", 1)
    assert model.get_property("INFERENCE_NUM_THREADS") == 1
    assert model(images.numpy())[0] == pytest.approx(network(images).detach().numpy(), abs=1e-5)


def test_openvino_quantises_to_integers_that_are_close() -> None:
    pytest.importorskip("openvino", reason="needs the extra openvino")
    pytest.importorskip("nncf", reason="needs the extra openvino")
    from pnag.cost.runtimes.openvino import (
        compile_openvino,
        convert_openvino,
        quantize_openvino,
    )

    network = small_network()
    images = np.split(random_images((8, *SHAPE[1:])).numpy(), 8)
    model = convert_openvino(network, SHAPE)
    quantized = compile_openvino(quantize_openvino(model, images), "CPU", 1)
    layers = [op.get_rt_info() for op in quantized.get_runtime_model().get_ops()]
    precisions = [
        info["runtimePrecision"].astype(str)
        for info in layers
        if info["layerType"].astype(str) == "Convolution"
    ]
    assert precisions and set(precisions) <= {"i8", "u8"}
    expected = np.concatenate([network(torch.from_numpy(x)).detach().numpy() for x in images])
    actual = np.concatenate([quantized(x)[0] for x in images])
    assert not np.array_equal(actual, expected)
    assert actual == pytest.approx(expected, abs=0.05 * float(np.abs(expected).max()))
    with pytest.raises(PnagError, match="needs images to calibrate on"):
        quantize_openvino(model, [])


def test_openvino_device_that_is_not_there() -> None:
    pytest.importorskip("openvino", reason="needs the extra openvino")
    with pytest.raises(PnagError, match=r"no device 'NPU\.7' here; it finds .*CPU"):
        make_runtime("openvino:NPU.7")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("tvm", "no runtime 'tvm'; there are onnxruntime, torch"),
        ("torch:GPU", "torch takes no device 'GPU'"),
        ("openvino:", "openvino: names no device after the colon; give one, as in openvino:GPU"),
        ("", "no runtime ''"),
        ("onnxruntime, onnxruntime", "named twice"),
    ],
)
def test_names_that_are_wrong(name: str, says: str) -> None:
    with pytest.raises(PnagError, match=says):
        make_runtimes(name)


@pytest.mark.parametrize("name", ["openvino", "openvino-int8"])
def test_a_missing_package_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delitem(sys.modules, "pnag.cost.runtimes.openvino", raising=False)
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(PnagError, match=r'needs openvino, .*pip install "pnag\[openvino\]"'):
        make_runtime(name)


def test_what_a_machine_lacks_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(PnagError, match=r"needs a C\+\+ compiler, and no-such-compiler"):
        make_runtime("torch-compiled")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(PnagError, match="needs an NVIDIA GPU, and torch finds none"):
        make_runtime("cuda")


def test_several_runtimes_give_a_file_each(tmp_path: Path) -> None:
    names = ["torch", "openvino:GPU"]
    assert table_paths(tmp_path, names) == {
        "torch": tmp_path / "torch.json",
        "openvino:GPU": tmp_path / "openvino-GPU.json",
    }
    assert table_paths(tmp_path / "t.json", ["torch"]) == {"torch": tmp_path / "t.json"}
    with pytest.raises(PnagError, match="2 runtimes give a file each"):
        table_paths(tmp_path / "t.json", names)


def test_measure_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def made_up(names: str, threads: int, adb: None) -> dict[str, MadeUp]:
        return {name: MadeUp(threads) for name in names.split(",")}

    monkeypatch.setattr("pnag.commands.bodies.measure.make_runtimes", made_up)
    options = [f"--{name.replace('_', '-')}={value}" for name, value in SIZE.items()]
    arguments = ["measure", f"--out={tmp_path / 'tables'}", "--runtime=torch,onnxruntime"]
    done = CliRunner().invoke(app, [*arguments, *options, "--json"])
    assert done.exit_code == 0, done.output
    results = json.loads(done.stdout)
    assert [r["networks"] for r in results] == [3, 3]
    assert {"mape", "within_5", "within_10", "tau", "minutes", "device"} <= set(results[0])
    assert sorted(path.name for path in (tmp_path / "tables").iterdir()) == [
        "onnxruntime.json",
        "torch.json",
    ]
    shown = CliRunner().invoke(app, [*arguments, *options])
    assert shown.exit_code == 0
    assert "within 5 %" in shown.stdout and "onnxruntime" in shown.stdout
    assert "clock 1200 to 1500 MHz" in " ".join(shown.stdout.split())


def test_runtimes_are_listed_with_what_they_lack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    rows = json.loads(CliRunner().invoke(app, ["measure", "--list", "--json"]).stdout)
    assert [row["runtime"] for row in rows] == list(RUNTIMES)
    missing = {row["runtime"]: row["missing"] for row in rows}
    assert missing["torch"] == "" and "NVIDIA GPU" in missing["cuda"]
    shown = CliRunner().invoke(app, ["measure", "--list"]).stdout
    assert "yes torch" in shown and "no  cuda" in shown
    none = CliRunner().invoke(app, ["measure"])
    assert none.exit_code == 2 and "give --out" in none.output
