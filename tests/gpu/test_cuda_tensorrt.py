"""TensorRT on a real GPU: what it computes, and that its times grow with the work."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import pnag
from pnag.cost.runtimes import make_runtime
from pnag.cost.runtimes.onnx_cpu import export_onnx

pytest.importorskip("tensorrt")
SHAPE = (1, 3, 96, 96)
ARCH = "2,3,4,2,3:" + ",".join(["5,3,7,0"] * 5) + ":" + ",".join(["3,4,6,0"] * 5)


def test_an_engine_computes_as_torch_does_on_the_cpu() -> None:
    from pnag.cost.runtimes.tensorrt import Engine, build_engine

    torch.manual_seed(0)
    network = pnag.build(ARCH, 0.5, 10).eval()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
        images = torch.randn(SHAPE)
        place = images.to("cuda")
        engine = Engine(build_engine(export_onnx(network, SHAPE)), place)
        for shift in (0.0, 0.5):
            place.copy_(images + shift)
            torch.cuda.synchronize()
            with torch.cuda.stream(torch.cuda.Stream()):
                found = engine(place).clone()
            torch.cuda.synchronize()
            expected = network(images + shift)
            assert (found.cpu() - expected).abs().max() < 1e-3 * expected.abs().max()


def test_a_graph_s_time_grows_with_its_work() -> None:
    def ms(layers: int) -> float:
        network = nn.Sequential(
            *(nn.Sequential(nn.Conv2d(256, 256, 3), nn.Hardswish()) for _ in range(layers)),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        )  # fmt: skip
        call = make_runtime("tensorrt").prepare(network, (1, 256, 96, 96))()
        return float(np.median(call(5)[1:]))

    assert 1.5 < ms(8) / ms(4) < 2.5
