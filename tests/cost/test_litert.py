"""LiteRT on this CPU, and the files that pnag writes for it."""

from __future__ import annotations

import sys
from collections import Counter

import numpy as np
import pytest
import timm
import torch
from small_network import SHAPE, assert_each_run_is_timed, small_network
from torch import nn

from pnag.cost.runtimes import make_runtime, why_not
from pnag.errors import PnagError
from pnag.extras import install

REASON = "needs the extra litert"


def difference(network: nn.Module, shape: tuple[int, ...], batch: int) -> float:
    """From torch's logits, as a fraction of the largest; the file takes images of `shape`."""
    from pnag.cost.runtimes.litert import channels_last, export_tflite, load_litert

    model = export_tflite(network.eval(), shape)
    images = torch.randn((batch, *shape[1:]), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = network(images).numpy()
    given = channels_last(images.numpy())
    actual = load_litert(model, 1, given.shape)(given)
    assert actual.shape == expected.shape
    return float(np.abs(actual - expected).max() / np.abs(expected).max())


def operators(model: bytes) -> Counter[str]:
    from ai_edge_litert.interpreter import Interpreter

    found = Interpreter(model_content=model)._get_ops_details()
    return Counter(operator["op_name"] for operator in found)


def test_it_computes_as_torch_and_times_each_run() -> None:
    pytest.importorskip("ai_edge_litert", reason=REASON)
    runtime = make_runtime("litert", threads=1)
    assert runtime.identity()["runtime"] == "litert" and runtime.identity()["threads"] == 1
    network = small_network()
    for batch in (1, 3):
        shape = (batch, *SHAPE[1:])
        assert_each_run_is_timed(runtime.prepare(network, shape))
        assert difference(network, shape, batch) < 1e-5
    for batch in (1, 2):
        assert difference(network, (-1, *SHAPE[1:]), batch) < 1e-5


@pytest.mark.parametrize(
    "name",
    [
        "efficientnet_lite0",
        "efficientnet_b0",
        "mobilenetv3_small_100",
        "tf_mobilenetv3_small_100",  # pads as TensorFlow does
    ],
)
def test_families_of_timm(name: str) -> None:
    pytest.importorskip("ai_edge_litert", reason=REASON)
    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=10)
    assert difference(network, (1, 3, 64, 64), 1) < 1e-5
    assert difference(network, (-1, 3, 64, 64), 2) < 1e-5


def test_a_file_has_no_more_operators_than_it_needs() -> None:
    """Nothing is transposed, and activations are part of the operators before them."""
    pytest.importorskip("ai_edge_litert", reason=REASON)
    from ai_edge_litert.interpreter import Interpreter

    from pnag.cost.runtimes.litert import export_tflite

    network = timm.create_model("efficientnet_lite0", num_classes=10).eval()
    model = export_tflite(network, (1, 3, 64, 64))
    found = operators(model)
    assert not {"TRANSPOSE", "RELU", "RELU6"} & found.keys()
    layers = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    assert found["CONV_2D"] + found["DEPTHWISE_CONV_2D"] == len(layers)
    assert found["PAD"] == sum(layer.stride == (2, 2) for layer in layers)
    interpreter = Interpreter(model_content=model)
    assert interpreter.get_input_details()[0]["shape"].tolist() == [1, 64, 64, 3]
    signature = interpreter.get_signature_list()["serving_default"]
    assert signature == {"inputs": ["images"], "outputs": ["logits"]}


class Uses(nn.Module):
    """What no family has: an output that an activation and another layer take; a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, stride=2, dilation=2, bias=False)
        self.grouped = nn.Conv2d(4, 8, (3, 1), padding=(2, 0), groups=2)
        self.scale = nn.Parameter(torch.rand(4, 1, 1))
        self.linear = nn.Linear(8, 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        before = self.first(images)
        after = self.scale * torch.relu(before) + before
        logits: torch.Tensor = self.linear(self.grouped(after).clamp(0, 6).mean((2, 3)))
        return logits


def test_layers_that_families_lack() -> None:
    pytest.importorskip("ai_edge_litert", reason=REASON)
    from pnag.cost.runtimes.litert import export_tflite

    torch.manual_seed(0)
    network = Uses()
    assert difference(network, (2, 3, 15, 20), 2) < 1e-5
    found = operators(export_tflite(network, (2, 3, 15, 20)))
    assert found["RELU"] == 1 and "RELU6" not in found


@pytest.mark.parametrize(
    ("layers", "says"),
    [
        ([nn.Flatten(), nn.Linear(48, 5)], r"its layer Flatten of shape \(1, 3, 4, 4\)"),
        ([nn.Softmax(dim=1)], r"its layer Softmax \(.*\); take onnx instead"),
        ([nn.Hardtanh(-1, 1)], r"its layer Clip to \(-1.0, 1.0\)"),
    ],
)
def test_a_network_that_cannot_be_converted(layers: list[nn.Module], says: str) -> None:
    pytest.importorskip("ai_edge_litert", reason=REASON)
    from pnag.cost.runtimes.litert import export_tflite

    with pytest.raises(PnagError, match=f"cannot convert this network to LiteRT: .*{says}"):
        export_tflite(nn.Sequential(*layers).eval(), (1, 3, 4, 4))


def test_constants_lie_where_the_schema_wants_them() -> None:
    pytest.importorskip("ai_edge_litert", reason=REASON)
    from ai_edge_litert import schema_py_generated as schema

    from pnag.cost.runtimes.litert import export_tflite

    content = export_tflite(small_network(), SHAPE)
    model = schema.Model.GetRootAs(content)
    places = []
    for index in range(1, model.BuffersLength()):
        values = model.Buffers(index).DataAsNumpy()
        places.append(values.__array_interface__["data"][0])
    start = np.frombuffer(content, np.uint8).__array_interface__["data"][0]
    assert len(places) > 20 and {(place - start) % 16 for place in places} == {0}


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("litert", "tflite_layers", "tflite_file"):
        monkeypatch.delitem(sys.modules, f"pnag.cost.runtimes.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    assert "which is not installed" in why_not("litert") and install("litert") in why_not("litert")
