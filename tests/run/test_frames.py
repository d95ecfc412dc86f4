"""From the command to the forward pass it is a short way, which someone new can read."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import pytest
from small_runs import call

import pnag
from pnag.supernet import loop

PACKAGE = Path(pnag.__file__).parent


class Seen(Exception):
    pass


def test_nine_functions_lead_from_the_command_to_the_forward_pass(
    recipe: Path, stub: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sklearn")
    found: list[str] = []

    def gradients(*_: Any) -> Any:
        for frame in traceback.extract_stack():
            if Path(frame.filename).is_relative_to(PACKAGE):
                found.append(f"{Path(frame.filename).relative_to(PACKAGE)} {frame.name}")
        raise Seen

    monkeypatch.setattr(loop, "add_gradients", gradients)
    options = "--images digits --start scratch --resolution 32 --width-mult 0.1 --runtime stub"
    done = call("run", *options.split(), "--out", tmp_path / "run", "--recipe", recipe)
    assert isinstance(done.exception, Seen)
    found = found[found.index("commands/run.py run") :]
    assert found[-1] == "supernet/loop.py fit"
    # `add_gradients`, which is not among them here, and the losses that it asks for.
    assert len(found) + 2 <= 9, found
