"""A budget is written in the same ways in every command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner, Result

import pnag
from pnag.commands.main import app
from pnag.families import count_batch, family

SPACE = pnag.SearchSpace()
QUICK = {
    "predictor": {"members": 2, "hidden": 16, "epochs": 4, "batch": 64},
    "evaluator": {"steps": 10, "hidden": 32},
    "generator": {"iterations": 20, "samples": 16, "refine_steps": 1, "hidden": 16},
    "front": {"budgets": 16, "draws": 16, "rounds": 4, "children": 64},
    "budgets": ["28ms", 29],
}


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table whose cost is of a device, and one whose cost is memory."""
    folder = tmp_path_factory.mktemp("units")
    tokens = SPACE.sample_unique(60, np.random.default_rng(0))
    quality = SPACE.features(tokens) @ np.linspace(0, 1, SPACE.num_features)
    counts = count_batch(family(), tokens, resolution=64)
    columns = {"arch": SPACE.text(tokens), "top1": quality, "ms": counts.macs / 1e6}
    pd.DataFrame(columns | {"memory": counts.memory}).to_csv(folder / "t.csv", index=False)
    (folder / "quick.yaml").write_text(yaml.safe_dump(QUICK))
    done = call(*run_command(folder))
    assert done.exit_code == 0, done.output
    return folder


def run_command(folder: Path, *more: object) -> list[object]:
    return ["run", "--table", folder / "t.csv", "--accuracy", "top1", "--cost", "ms",
            "--out", folder / "run", "--recipe", folder / "quick.yaml", *more]  # fmt: skip


def budgets_of(folder: Path) -> list[float]:
    return [a["budget"] for a in json.loads((folder / "run" / "architectures.json").read_text())]


def test_run_and_its_recipe(folder: Path) -> None:
    assert call(*run_command(folder)).exit_code == 0
    assert budgets_of(folder) == [28, 29]
    assert yaml.safe_load((folder / "run" / "recipe.yaml").read_text())["budgets"] == [28.0, 29.0]
    done = call(*run_command(folder, "--budgets", "27ms, 30 ms, 26.5"))
    assert done.exit_code == 0, done.output
    assert budgets_of(folder) == [26.5, 27, 30]
    (folder / "bad.yaml").write_text(yaml.safe_dump(QUICK | {"budgets": ["28 apples"]}))
    done = call(*run_command(folder, "--recipe", folder / "bad.yaml"))
    assert done.exit_code == 2 and "28 apples" in done.stderr


def test_search_generate_and_export(folder: Path) -> None:
    assert call(*run_command(folder)).exit_code == 0
    for command in (
        ["search", "--table", folder / "t.csv", "--accuracy", "top1", "--cost", "ms",
         "--method", "random", "--json", "--budgets"],
        ["generate", folder / "run", "--json", "--budget"],
    ):  # fmt: skip
        plain, with_unit = call(*command, "29"), call(*command, "29ms")
        assert with_unit.exit_code == 0, with_unit.output
        assert with_unit.stdout == plain.stdout
    done = call("export", folder / "run", "--to", "timm", "--budget", "28.5ms",
                "--out", folder / "exports")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert [p.stem for p in (folder / "exports").glob("*.safetensors")] == ["pnag-28"]


def test_bytes(folder: Path) -> None:
    command = ["search", "--table", folder / "t.csv", "--accuracy", "top1", "--cost", "memory",
               "--method", "random", "--json", "--budgets"]  # fmt: skip
    for text, expected in (("0.4MB", 4e5), ("500KiB", 512e3), ("4e5", 4e5)):
        (answer,) = json.loads(call(*command, text).stdout)
        assert answer["budget"] == expected


SEARCH = ["search", "--table", "none.csv", "--accuracy", "top1", "--cost"]


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["run", "--budgets", "6B"], "the budget 6 of latency has the unit B; give it in ms"),
        (["run", "--budgets", "6MB,7"], "the budget 6M of latency has the unit B; give it in ms"),
        (["run", "--budgets", "6ms,x"], "6ms,8ms, not 'x'"),
        (
            ["experiment", "cpu", "--run", "none", "--budgets", "6B"],
            "has the unit B; give it in ms",
        ),
        (["experiment", "cpu", "--run", "none", "--budgets", "6ms"], "none"),
        (["export", "RUN", "--budget", "6B"], "of ms has the unit B; give it in ms"),
        (["export", "RUN", "--budget", "cpu=6"], "must be a number of the run's own cost"),
        (["generate", "RUN", "--budget", "6m"], "--budget must be a positive number"),
        (["run", "--budgets", "6s"], "6ms,8ms, not '6s'"),
        (["run", "--budgets", "6ms,params=6M"], "--budgets has 'params=6M', but takes numbers"),
        ([*SEARCH, "ms", "--budgets", "6,params=6M"], "`pnag generate RUN --budget 25"),
        ([*SEARCH, "ms,params", "--budgets", "6"], "--cost must be one column, not 'ms,params'"),
        ([*SEARCH, "ms", "--cost", "params", "--budgets", "6"], "`pnag run --table T.csv --cost"),
    ],
)
def test_another_unit_is_refused_everywhere(command: list[str], says: str, folder: Path) -> None:
    done = call(*(folder / "run" if word == "RUN" else word for word in command))
    assert done.exit_code == 2
    assert says in done.stderr
