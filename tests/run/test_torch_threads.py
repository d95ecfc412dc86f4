"""A result depends on the number of torch's threads by rounding: a run says and keeps it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from typer.testing import CliRunner, Result

import pnag
from pnag.commands.main import app
from pnag.families import count_batch, family
from pnag.search import pnag as searching
from pnag.threads import torch_threads

SPACE = pnag.SearchSpace()
QUICK = {
    "predictor": {"members": 2, "hidden": 8, "epochs": 1, "batch": 64},
    "evaluator": {"steps": 8, "hidden": 64},
    "generator": {"iterations": 20, "samples": 16, "refine_steps": 1, "hidden": 16},
    "front": {"budgets": 16, "draws": 16, "rounds": 4, "children": 64},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tokens = SPACE.sample_unique(60, np.random.default_rng(0))
    quality = SPACE.features(tokens) @ np.linspace(0, 1, SPACE.num_features)
    macs = count_batch(family(), tokens, resolution=64).macs / 1e6
    frame = pd.DataFrame({"arch": SPACE.text(tokens), "top1": quality, "ms": macs})
    frame.to_csv(tmp_path / "t.csv", index=False)
    (tmp_path / "quick.yaml").write_text(yaml.safe_dump(QUICK))
    return tmp_path


def run(folder: Path, out: str, recipe: str = "quick.yaml") -> Result:
    command = ["run", "--table", folder / "t.csv", "--accuracy", "top1", "--cost", "ms",
               "--out", folder / out, "--recipe", folder / recipe]  # fmt: skip
    done = CliRunner().invoke(app, [str(a) for a in command])
    assert done.exit_code == 0, done.output
    return done


@pytest.fixture(autouse=True)
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch's number of threads without the threads, which are slow beside other processes."""
    number = [1]
    monkeypatch.setattr(torch, "get_num_threads", lambda: number[0])
    monkeypatch.setattr(torch, "set_num_threads", lambda wanted: number.__setitem__(0, wanted))


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Torch's threads each time that an evaluator is trained."""
    threads: list[int] = []
    real = searching.train_evaluator

    def watched(*arguments: Any, **options: Any) -> Any:
        threads.append(torch.get_num_threads())
        return real(*arguments, **options)

    monkeypatch.setattr(searching, "train_evaluator", watched)
    yield threads


def parts(folder: Path, out: str) -> list[bytes]:
    names = ("evaluator.safetensors", "generator.safetensors", "architectures.json")
    return [(folder / out / name).read_bytes() for name in names]


def test_a_recipe_says_with_how_many_threads_and_gives_the_same_answers_elsewhere(
    folder: Path, seen: list[int]
) -> None:
    with torch_threads(2):
        run(folder, "first")
    assert yaml.safe_load((folder / "first" / "recipe.yaml").read_text())["torch_threads"] == 2
    with torch_threads(1):  # as on another machine
        run(folder, "again", recipe="first/recipe.yaml")
        assert torch.get_num_threads() == 1
    assert seen == [2, 2]
    assert parts(folder, "again") == parts(folder, "first")


def test_a_run_that_goes_on_keeps_to_the_threads_that_it_began_with(
    folder: Path, seen: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with torch_threads(2), monkeypatch.context() as patched:
        patched.setattr(searching, "train_evaluator", stop)
        command = ["run", "--table", folder / "t.csv", "--accuracy", "top1", "--cost", "ms",
                   "--out", folder / "stopped", "--recipe", folder / "quick.yaml"]  # fmt: skip
        assert CliRunner().invoke(app, [str(a) for a in command]).exit_code == 130
    with torch_threads(1):
        done = run(folder, "stopped")
    assert seen == [2]
    assert "torch uses the 2 thread(s) that this run began with, not 1" in done.output
