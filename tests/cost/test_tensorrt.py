"""TensorRT by a stand-in for its API, and the stand-in against the library where there is one."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import tensorrt_stand_in as stand_in
import torch
from torch import nn

from pnag.cost.runtimes import ON_NVIDIA, make_runtime, why_not
from pnag.cost.timing import Call, stopwatch
from pnag.errors import PnagError
from pnag.extras import install
from pnag.run.budgets import device_name

SHAPE = (1, 3, 32, 32)
OURS = "pnag.cost.runtimes.tensorrt"


@pytest.fixture
def ours(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """pnag's module with the stand-in, and a CPU in place of the GPU."""
    monkeypatch.setitem(sys.modules, "tensorrt", stand_in.MODULE)
    monkeypatch.setattr(stand_in, "done", stand_in.Done())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    stream = SimpleNamespace(cuda_stream=stand_in.STREAM)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: stream)
    sys.modules.pop(OURS, None)
    module = importlib.import_module(OURS)
    monkeypatch.setattr(module, "DEVICE", "cpu")
    yield module
    sys.modules.pop(OURS, None)


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Hardswish(), nn.AdaptiveAvgPool2d(1))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(4, 10)).eval()


def test_an_engine_computes_as_torch_in_float32(
    ours: Any, network: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[tuple[nn.Module, torch.Tensor]] = []

    def timed(engine: nn.Module, images: torch.Tensor) -> Call:
        called.append((engine, images))
        return stopwatch(lambda: engine(images))

    monkeypatch.setattr(ours, "timed_graph", timed)
    runtime = make_runtime("tensorrt")
    identity = runtime.identity()
    assert (identity["device"], identity["version"]) == ("a GPU", "10.0.1")
    opens = runtime.prepare(network, SHAPE)
    assert stand_in.done.flags == set()  # not even TF32, which is on by default
    assert not stand_in.done.opened  # a GPU's memory holds one group of networks at a time
    times = opens()(3)
    assert len(times) == 3 and min(times) > 0
    opens()
    assert stand_in.done.opened == 2

    ((engine, images), _) = called
    assert images.shape == SHAPE and images.std() == pytest.approx(1, abs=0.05)
    with torch.no_grad():
        first = engine(images).clone()
        torch.testing.assert_close(first, network(images), rtol=1e-4, atol=1e-5)
        images += 1  # it reads them where they are
        assert not torch.allclose(engine(images), first)
        torch.testing.assert_close(engine(images), network(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ({"starts": False}, r"TensorRT 10\.0\.1 does not start on this GPU .*built for CUDA"),
        ({"refused": ["no Foo", "no Bar"]}, r"read this network \(no Foo; no Bar\).*onnxruntime-"),
        ({"builds": False}, r"cannot build an engine of this network .*take onnxruntime-cuda"),
    ],
)
def test_an_engine_that_cannot_be_built(
    ours: Any, network: nn.Module, broken: dict[str, Any], says: str
) -> None:
    vars(stand_in.done).update(broken)
    with pytest.raises(PnagError, match=says):
        make_runtime("tensorrt").prepare(network, SHAPE)


def test_an_engine_that_cannot_be_loaded_or_run(ours: Any, network: nn.Module) -> None:
    plan, images = ours.build_engine(ours.export_onnx(network, SHAPE)), torch.zeros(SHAPE)
    stand_in.done.runs = False
    with pytest.raises(PnagError, match="failed to run its engine"):
        ours.Engine(plan, images)(images)
    stand_in.done.loads = False
    with pytest.raises(PnagError, match=r"cannot load its engine .*memory left"):
        ours.Engine(plan, images)


def test_what_it_lacks_is_told(ours: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(PnagError, match="the runtime tensorrt needs an NVIDIA GPU"):
        make_runtime("tensorrt")
    sys.modules.pop(OURS)
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    said = f"needs tensorrt, which is not installed: {install('tensorrt')}"
    assert said in why_not("tensorrt")


def test_it_counts_as_a_gpu() -> None:
    assert device_name("tensorrt") == "gpu" and "tensorrt" in ON_NVIDIA


def test_the_stand_in_is_a_part_of_tensorrt() -> None:
    library = pytest.importorskip("tensorrt")
    for one in stand_in.CLASSES:
        real = getattr(library, one.__name__)
        for name in (name for name in vars(one) if not name.startswith("_")):
            described = getattr(real, name)
            code = getattr(vars(one)[name], "__code__", None)
            if code is not None:
                parameters = code.co_varnames[1 : code.co_argcount]
                assert all(f"{parameter}:" in described.__doc__ for parameter in parameters), name
