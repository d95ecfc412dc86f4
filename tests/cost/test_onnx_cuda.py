"""ONNX Runtime on a GPU, by a stand-in that runs on the CPU and writes down what it is asked."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from pnag.cost.runtimes import ON_NVIDIA, make_runtime, onnx_cuda
from pnag.errors import PnagError
from pnag.run.budgets import device_name

SHAPE = (1, 3, 32, 32)
MILLISECONDS = 3.0  # of a call, at least


class FakeSession:
    """A session of CUDA that is one of the CPU, and gives bound outputs what it computes."""

    falls_back = False

    def __init__(self, model: bytes, providers: list[Any]) -> None:
        (self.asked,) = providers
        cpu = ["CPUExecutionProvider"]
        self.inner = onnxruntime.InferenceSession(model, providers=cpu)
        sessions.append(self)

    def get_providers(self) -> list[str]:
        own = [] if self.falls_back else ["CUDAExecutionProvider"]
        return [*own, "CPUExecutionProvider"]

    def get_outputs(self) -> Any:
        return self.inner.get_outputs()

    def io_binding(self) -> Any:
        return self.inner.io_binding()

    def run_with_iobinding(self, binding: Any) -> None:
        time.sleep(MILLISECONDS / 1000)
        self.inner.run_with_iobinding(binding)


sessions: list[FakeSession] = []
values: list[Any] = []


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    class FakeValue:
        @staticmethod
        def ortvalue_from_numpy(array: Any, device: str, number: int) -> Any:
            assert (device, number) == ("cuda", 0)
            value = onnxruntime.OrtValue.ortvalue_from_numpy(array)
            values.append(value)
            return value

    real = onnx_cuda.ort

    class FakeOrt:
        InferenceSession, OrtValue = FakeSession, FakeValue
        __version__ = real.__version__
        get_available_providers = staticmethod(lambda: ["CUDAExecutionProvider"])
        preload_dlls = staticmethod(lambda: None)

    sessions.clear()
    values.clear()
    monkeypatch.setattr(onnx_cuda, "ort", FakeOrt)
    monkeypatch.setattr(FakeSession, "falls_back", False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")


def test_a_network_runs_on_bound_images_as_a_graph(gpu: None) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    runtime = make_runtime("onnxruntime-cuda")
    assert runtime.identity()["device"] == "a GPU"
    opens = runtime.prepare(network, SHAPE)
    assert not sessions  # a GPU's memory holds one group of networks at a time
    times = opens()(4)
    assert len(times) == 4 and min(times) >= MILLISECONDS
    (session,) = sessions
    name, options = session.asked
    assert name == "CUDAExecutionProvider" and options["enable_cuda_graph"] == "1"
    images, logits = (value.numpy() for value in values)
    assert images.shape == SHAPE and images.std() == pytest.approx(1, abs=0.05)
    with torch.no_grad():
        expected = network(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


def test_a_session_that_falls_back_is_refused(gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeSession, "falls_back", True)
    opens = make_runtime("onnxruntime-cuda").prepare(nn.Conv2d(3, 4, 3), SHAPE)
    with pytest.raises(PnagError, match=r"cannot load its CUDA provider.*built for CUDA"):
        opens()


def test_what_it_lacks_is_told(gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(PnagError, match="needs an NVIDIA GPU"):
        make_runtime("onnxruntime-cuda")
    monkeypatch.setattr(onnx_cuda.ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(PnagError, match="pip uninstall onnxruntime, then pip install onnxruntime-"):
        make_runtime("onnxruntime-cuda")


def test_it_counts_as_a_gpu() -> None:
    assert device_name("onnxruntime-cuda") == "gpu" and "onnxruntime-cuda" in ON_NVIDIA
