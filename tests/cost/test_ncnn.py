"""ncnn on this CPU."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_network import ARCH, SHAPE, assert_each_run_is_timed, small_network
from typer.testing import CliRunner

from pnag.commands.main import app
from pnag.cost.runtimes import make_runtime, why_not
from pnag.errors import PnagError
from pnag.extras import install


@pytest.fixture
def network() -> torch.nn.Module:
    return small_network()


def test_it_computes_as_torch_and_times_each_run(network: torch.nn.Module) -> None:
    pytest.importorskip("ncnn", reason="needs the extra ncnn")
    pytest.importorskip("pnnx", reason="needs the extra ncnn")
    from pnag.cost.runtimes.ncnn import export_ncnn, load_ncnn

    runtime = make_runtime("ncnn", threads=1)
    assert runtime.identity()["runtime"] == "ncnn" and runtime.identity()["threads"] == 1
    assert_each_run_is_timed(runtime.prepare(network, SHAPE))
    images = torch.randn(SHAPE)
    with torch.no_grad():
        expected = network(images).numpy()
    model = export_ncnn(network, SHAPE)
    actual = load_ncnn(model, 1)(images.numpy())
    assert actual.shape == expected.shape
    # 16 bits, ncnn's default, are off by 1e-3.
    assert np.abs(actual - expected).max() <= 1e-5 * np.abs(expected).max()
    with pytest.raises(PnagError, match=r'cannot read what pnnx .*--upgrade "pnag\[ncnn\]"'):
        load_ncnn(replace(model, param=b"nothing"), 1)


def test_what_it_cannot_convert(
    network: torch.nn.Module, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("ncnn", reason="needs the extra ncnn")
    pytest.importorskip("pnnx", reason="needs the extra ncnn")
    from pnag.cost.runtimes import ncnn

    arguments = ["--to", "ncnn", "--out", str(tmp_path / "a.param"), "--batch", "2"]
    done = CliRunner().invoke(app, ["export", ARCH, *arguments])
    assert done.exit_code == 2 and "takes one image at a time" in " ".join(done.output.split())
    monkeypatch.setattr(ncnn, "export_onnx", lambda network, shape: b"no ONNX")
    with pytest.raises(PnagError, match=r"cannot convert this network .* take onnx instead"):
        ncnn.export_ncnn(network, SHAPE)


@pytest.mark.parametrize("package", ["ncnn", "pnnx"])
def test_without_a_package(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ncnn" if package == "pnnx" else "numpy", reason="needs the extra ncnn")
    monkeypatch.delitem(sys.modules, "pnag.cost.runtimes.ncnn", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    told = f"needs {package}, which is not installed: {install('ncnn')}"
    assert told in why_not("ncnn")
