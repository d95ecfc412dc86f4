"""Published networks beside a run's answers: which are timed, what is best of all, the options."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stub_runtime
from small_runs import call
from torch import nn

from pnag.commands.options import ALL, parse_compare
from pnag.cost.latency_model import LatencyModel
from pnag.deploy.zoo import TIMM_NETWORKS
from pnag.families import family
from pnag.run.published import MOBILENETV3_LARGE, best_of_all, published_to_time
from pnag.run.recipe import make_recipe
from pnag.run.run_directory import RunDirectory


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """On a machine that takes twice as long as the published one."""
    run, space = RunDirectory(tmp_path / "run"), family().space
    blocks = np.full(len(family().blocks()), 0.5)
    tokens = space.encode([MOBILENETV3_LARGE])
    fixed = 2 * 7.377 - float(LatencyModel(0.0, blocks).predict(tokens)[0])
    LatencyModel(fixed, blocks).save(run.latency_model)
    return run


def test_a_dozen_along_the_front_within_the_budgets(run: RunDirectory) -> None:
    networks = published_to_time(run, [12.0, 20.0], 12)
    assert len(networks) == 12
    assert all(12 * 0.7 <= 2 * (n.published_ms or 0) <= 20 * 1.2 for n in networks)
    assert {"levit_128s", "levit_128", "levit_192", "hgnetv2_b0"} <= {n.key for n in networks}
    assert any(n.training and n.training.plain for n in networks)
    assert len(published_to_time(run, [5.0, 50.0], ALL)) == len(TIMM_NETWORKS)
    assert published_to_time(run, [12.0], 0) == []
    assert published_to_time(run, [0.1], 12) == []


def timed(**row: Any) -> dict[str, Any]:
    return {"measured_spread": 0.01, "beyond": "", "export": "", **row}


def test_the_best_that_held_the_budget_ours_or_published() -> None:
    answers = [
        timed(budget=5.0, arch="2,2:a", accuracy=0.75, measured_ms=4.9),
        timed(budget=8.0, arch="2,3:b", accuracy=0.77, measured_ms=8.1),  # does not hold
    ]
    known = [timed(name="ResNet-18", top1=0.698, measured_ms=3.0)]
    published = [
        timed(name="levit_128s", top1=0.765, measured_ms=6.0, beyond="distilled", export="e"),
        timed(name="lcnet_100", top1=0.75, measured_ms=4.0),
    ]

    def best(budget: float) -> dict[str, Any]:
        return best_of_all(budget, answers, known, published)

    assert best(2.0) == {}
    assert best(3.5)["export"] == "pnag zoo export resnet18 --pretrained"
    assert best(5.0)["ours"] and best(5.0)["name"] == "ours for 5 ms"  # ours, where as good
    assert best(5.0)["export"] == "pnag export 2,2:a --weights published"
    assert best(8.0) == {
        "name": "levit_128s", "top1": 0.765, "beyond": "distilled", "export": "e", "ours": False,
        "measured_ms": 6.0, "measured_spread": 0.01,
    }  # fmt: skip
    assert best(9.0)["name"] == "ours for 8 ms"


def test_the_option_is_a_number_or_all(tmp_path: Path, table_run: Path) -> None:
    assert make_recipe({}).compare == 12 and parse_compare("all", "imagenet") == ALL
    for value in ("some", "-1", "1.5"):
        done = call("run", "--out", tmp_path / "run", "--compare", value)
        assert done.exit_code == 2 and f"all, not {value!r}" in done.stderr
    table = table_run.parent / "t.csv"
    done = call("run", "--table", table, "--accuracy", "top1", "--cost", "ms", "--out",
                tmp_path / "run", "--compare", "2")  # fmt: skip
    assert done.exit_code == 2 and "this run is of your table; leave it out" in done.stderr


def test_a_network_that_the_runtime_refuses_is_left_out(
    tmp_path: Path, recipe: Path, stub: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = stub_runtime.milliseconds

    def refuses(network: nn.Module, input_shape: tuple[int, ...]) -> float:
        if type(network).__name__.startswith("Levit"):
            raise RuntimeError("no attention here")
        return usual(network, input_shape)

    monkeypatch.setattr(stub_runtime, "milliseconds", refuses)
    out = tmp_path / "run"
    done = call("run", "--out", out, "--recipe", recipe, "--runtime", stub, "--compare", 6)
    assert done.exit_code == 0, done.stderr
    proof = json.loads((out / "cost" / "proof.json").read_text())
    assert proof["left_out"] and set(proof["left_out"].values()) == {"no attention here"}
    assert "does not run on this runtime and is not timed: no attention here" in done.stdout
    metrics = json.loads((out / "metrics.json").read_text())
    assert len(metrics["published"]) + len(proof["left_out"]) == 6
    assert "Best of all that was timed" in done.stdout
    page = (out / "report.html").read_text()
    assert all(row["name"] in page for row in metrics["published"])
