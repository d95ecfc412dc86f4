from __future__ import annotations

import pytest
import stub_runtime

from pnag.cost.runtimes import RUNTIMES


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a runtime of made-up times."""
    monkeypatch.setitem(RUNTIMES, "stub", stub_runtime.ENTRY)
    return "stub"
