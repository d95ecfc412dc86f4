"""The CUDA runtime's clock, by stand-ins for graphs and events; and what it makes of networks."""

from __future__ import annotations

import contextlib
import gc
import weakref
from types import SimpleNamespace

import pytest
import timm
import torch
from torch import nn

from pnag.cost.fuse import fuse_batch_norms
from pnag.cost.runtimes import torch_cuda
from pnag.cost.runtimes.torch_cuda import timed_graph

SHAPE = (1, 3, 32, 32)


class FakeCuda:
    """Stands in for torch's graphs and events, and writes down what is done.

    A replay runs the captured calls again; a call takes 0.05 ms of a made-up clock.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[str] = []
        self.now = 0.0
        self.capturing: list[str] | None = None
        fake = self

        class Event:
            def __init__(self, enable_timing: bool) -> None:
                assert enable_timing

            def record(self) -> None:
                fake.done.append("record")
                self.at = fake.now

            def elapsed_time(self, end: Event) -> float:
                return end.at - self.at

        class Graph:
            def replay(self) -> None:
                fake.done.append("replay")
                fake.now += 0.05 * len(self.calls)

            def pool(self) -> tuple[int, int]:
                return 0, 1

        class Capture:
            def __init__(self, graph: Graph, pool: object = None) -> None:
                self.graph = graph

            def __enter__(self) -> None:
                fake.capturing = []

            def __exit__(self, *_: object) -> None:
                self.graph.calls = fake.capturing or []
                fake.capturing = None

        cuda = torch.cuda
        monkeypatch.setattr(cuda, "Event", Event)
        monkeypatch.setattr(cuda, "CUDAGraph", Graph)
        monkeypatch.setattr(cuda, "graph", Capture)
        monkeypatch.setattr(cuda, "Stream", lambda: SimpleNamespace(wait_stream=lambda _: None))
        monkeypatch.setattr(cuda, "current_stream", cuda.Stream)
        monkeypatch.setattr(cuda, "stream", lambda _: contextlib.nullcontext())
        monkeypatch.setattr(cuda, "synchronize", lambda: self.done.append("wait"))
        monkeypatch.setattr(cuda, "_sleep", lambda _: self.done.append("sleep"))
        first = SimpleNamespace(pool=lambda: (0, 1))
        monkeypatch.setattr(torch_cuda, "_first_graph", lambda: first)

    def network(self) -> nn.Module:
        fake = self

        class Network(nn.Module):
            def forward(self, images: torch.Tensor) -> torch.Tensor:
                if fake.capturing is not None:
                    fake.capturing.append("call")
                return images

        return Network()


def test_gpu_times_are_of_queued_graphs_long_enough_for_the_clock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cuda = FakeCuda(monkeypatch)
    call = timed_graph(cuda.network(), torch.zeros(SHAPE))
    cuda.done.clear()
    # A call takes 0.05 ms, so a graph holds six to take 0.3, and a time is a call's all the same.
    assert call(3) == pytest.approx([0.05] * 3)
    assert cuda.now == pytest.approx(5 * 0.05 + 3 * 0.3)
    # Nothing waits between the first graph and the last.
    assert cuda.done == ["wait", "sleep", "record", *["replay", "record"] * 3, "wait"]


def test_a_captured_graph_keeps_what_it_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda(monkeypatch)
    network, images = cuda.network(), torch.zeros(SHAPE)
    alive = weakref.ref(network), weakref.ref(images)
    call = timed_graph(network, images)
    del network, images
    gc.collect()
    assert all(ref() is not None for ref in alive)
    del call
    gc.collect()
    assert all(ref() is None for ref in alive)


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv3_small_100", "efficientnet_lite0"])
def test_folded_batch_norms_change_no_output(name: str) -> None:
    torch.manual_seed(0)
    network = timm.create_model(name)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                for value in (module.running_mean, module.bias):
                    value.normal_()  # type: ignore[union-attr]
                for value in (module.running_var, module.weight):
                    value.uniform_(0.5, 1.5)  # type: ignore[union-attr]
        images = torch.randn(2, 3, 64, 64)
        expected = network.eval()(images)
        norms = sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())
        assert fuse_batch_norms(network, images) == norms
        assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
        assert (network(images) - expected).abs().max() < 1e-4 * expected.abs().max()


def test_what_is_no_pair_is_not_folded() -> None:
    class Shared(nn.Module):
        """One convolution for two batch norms, and one batch norm after an addition."""

        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)
            self.bn1, self.bn2, self.bn3 = (nn.BatchNorm2d(3) for _ in range(3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.conv(x)
            return self.bn3(self.bn1(y) + self.bn2(y))

    assert fuse_batch_norms(Shared().eval(), torch.randn(1, 3, 4, 4)) == 0
