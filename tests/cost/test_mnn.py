"""MNN on this CPU."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from small_network import SHAPE, assert_each_run_is_timed, small_network

from pnag.cost.runtimes import make_runtime, why_not
from pnag.errors import PnagError
from pnag.extras import install


@pytest.fixture
def network() -> torch.nn.Module:
    return small_network()


def test_it_computes_as_torch_and_times_each_run(network: torch.nn.Module) -> None:
    pytest.importorskip("MNN", reason="needs the extra mnn")
    from pnag.cost.runtimes.mnn import export_mnn, load_mnn, mnn_images

    runtime = make_runtime("mnn", threads=1)
    assert runtime.identity()["runtime"] == "mnn" and runtime.identity()["threads"] == 1
    assert_each_run_is_timed(runtime.prepare(network, SHAPE))
    images = torch.randn(SHAPE)
    with torch.no_grad():
        expected = network(images).numpy()
    for fixed in (True, False):
        module = load_mnn(export_mnn(network, SHAPE), 1, fixed_shape=fixed)
        actual = np.array(module.forward([mnn_images(images.numpy())])[0].read())
        assert np.abs(actual - expected).max() <= 1e-5 * np.abs(expected).max()


def test_the_converter_that_installs_and_reports_is_not_touched(
    network: torch.nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("MNN", reason="needs the extra mnn")
    from pnag.cost.runtimes.mnn import export_mnn

    monkeypatch.setattr("os.system", lambda command: pytest.fail(command))
    monkeypatch.setattr("urllib.request.urlopen", lambda *request: pytest.fail(str(request)))
    assert len(export_mnn(network, SHAPE)) > 1000
    assert "MNN.tools.utils.log" not in sys.modules


def test_a_network_that_it_cannot_convert(
    network: torch.nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("MNN", reason="needs the extra mnn")
    from pnag.cost.runtimes import mnn

    monkeypatch.setattr(mnn, "export_onnx", lambda network, shape: b"no ONNX")
    with pytest.raises(PnagError, match=r"cannot convert this network .* take onnx instead"):
        mnn.export_mnn(network, SHAPE)


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pnag.cost.runtimes.mnn", raising=False)
    monkeypatch.setitem(sys.modules, "MNN", None)
    assert f"needs MNN, which is not installed: {install('mnn')}" in why_not("mnn")
