"""Packages of extras that are not there, or are there and broken."""

from __future__ import annotations

from pathlib import Path

import pytest

from pnag.cost.runtimes import RUNTIMES, Entry, why_not
from pnag.errors import PnagError
from pnag.extras import needing


def test_a_missing_and_a_broken_package_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "of_a_broken_build.py").write_text("raise ImportError('libgone.so: no such file')")
    monkeypatch.syspath_prepend(tmp_path)
    for module, told in (("of_a_broken_build", r"libgone\.so"), ("not_there_at_all", "installed")):
        monkeypatch.setitem(RUNTIMES, "own", Entry(module, "Own", "", extra="openvino"))
        assert why_not("own").startswith("the runtime own needs")
        with (
            pytest.raises(PnagError, match=rf"{told}.*pnag\[openvino\]"),
            needing("it", "openvino"),
        ):
            __import__(module)
        with pytest.raises(ImportError), needing("it", ""):  # of ours: a bug, with its traceback
            __import__(module)
