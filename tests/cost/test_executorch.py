"""ExecuTorch on this CPU."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from torch import nn

from pnag.cost.runtimes import make_runtime, why_not
from pnag.errors import PnagError


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(8), nn.Hardswish(), nn.Conv2d(8, 4, 1)).eval()


def test_it_computes_as_torch_and_times_each_run(network: nn.Module) -> None:
    pytest.importorskip("executorch")
    from pnag.cost.runtimes.executorch import export_pte, load_pte

    runtime = make_runtime("executorch")
    identity = runtime.identity()
    assert identity["runtime"] == "executorch" and identity["threads"] == 1
    times = runtime.prepare(network, (1, 3, 16, 16))()(3)
    assert len(times) == 3 and all(time > 0 for time in times)

    images = torch.randn(1, 3, 16, 16)
    model = export_pte(network, (1, 3, 16, 16))
    assert b"XnnpackBackend" in model  # else the time would be of slow portable operators
    with torch.no_grad():
        expected = network(images).numpy()
    actual = np.array(load_pte(model, 1)(images))
    assert np.abs(actual - expected).max() <= 1e-5 * np.abs(expected).max()
    with pytest.raises(PnagError, match=r"1 thread\(s\) in this process, not 2"):
        load_pte(model, 2)
    with pytest.raises(PnagError, match=r"1 thread\(s\) in this process, not 2"):
        make_runtime("executorch", 2)  # not when the first network is opened


def test_what_is_missing_is_told_before_anything_is_exported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("executorch")
    import executorch.runtime

    class WithoutXnnpack:
        backend_registry = property(lambda self: self)

        def is_available(self, name: str) -> bool:
            return False

    monkeypatch.setattr(executorch.runtime.Runtime, "get", WithoutXnnpack)
    with pytest.raises(PnagError, match="was built without XNNPACK"):
        make_runtime("executorch")
    assert "was built without XNNPACK" in why_not("executorch")


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = "pnag.cost.runtimes.android"
    for name in [name for name in sys.modules if "executorch" in name or name == ours]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "executorch", None)
    for name in ("executorch", "executorch-adb"):
        with pytest.raises(PnagError, match=r'needs executorch.*pip install "pnag\[executorch\]"'):
            make_runtime(name)
