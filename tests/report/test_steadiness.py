"""Measured times show how sure they are; where the machine was busy meanwhile, that is said."""

from __future__ import annotations

import html
import io
import json
import re
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_experiment import make_experiment
from made_runs import make_run
from matplotlib.collections import LineCollection
from rich.console import Console
from typer.testing import CliRunner

from pnag.commands.bodies import measure as body
from pnag.commands.bodies.report import load_results, save_report
from pnag.commands.main import app
from pnag.cost import latency_model
from pnag.cost.front_calibration import FrontCalibration
from pnag.cost.latency_table import LatencyTable
from pnag.cost.proof import Proof, Timed
from pnag.cost.steadiness import why_unsure
from pnag.cost.timing import Drift
from pnag.deploy.zoo import measure as zoo_measure
from pnag.files import read_json, write_json
from pnag.report.figures import accuracy_over_cost
from pnag.run import latency_stages, proof_stage
from pnag.run.display import Display
from pnag.run.metrics import collect_metrics
from pnag.run.recipe import make_recipe
from pnag.run.run_directory import RunDirectory
from pnag.run.size import Size
from pnag.run.timing import forget_unsure_times, steadiness_of_ladder, steadiness_of_table
from pnag.run.trained import Answer
from pnag.studies.paper.figures import Point, accuracy_over_latency
from pnag.studies.paper.times import time_networks

BUSY = "the machine was busy, its speed moved by ±31%, 463 disturbed turns had to be kept"
SHAKEN = Drift([4.0, 5.0, 7.4], 0, 463)


def without_tags(page: str) -> str:
    text = re.sub(r"<(script|style).*?</\1>", "", page, flags=re.S)
    return html.unescape(re.sub(r"<[^>]+>", " ", text))


@pytest.fixture
def printed() -> Display:
    return Display(Console(record=True, width=10_000, file=io.StringIO()))


def text_of(display: Display) -> str:
    return display.console.export_text()


def test_what_counts_as_busy() -> None:
    assert why_unsure(0, 0.08) == ""
    assert why_unsure(463, 0.31) == BUSY
    assert why_unsure(0, 0.4) == "the machine was busy, its speed moved by ±40%"
    assert "1,200 disturbed turns" in why_unsure(1200, 0.02)


def test_the_report_says_which_times_are_unsure(tmp_path: Path) -> None:
    quiet = make_run(tmp_path / "quiet", "imagenet")
    assert quiet["busy"] == []
    page = save_report(load_results(tmp_path / "quiet")).read_text()
    assert "unsure" not in without_tags(page)

    metrics = make_run(tmp_path / "busy", "imagenet", unsteady=463)
    assert metrics["busy"] == [
        f"The times of the latency model's blocks and networks are unsure: {BUSY}.",
        f"The times of the answers are unsure: {BUSY}.",
    ]
    results = load_results(tmp_path / "busy")
    page = save_report(results).read_text()
    assert all(warning in without_tags(page) for warning in metrics["busy"])
    data = json.loads(re.findall(r'<script type="application/json" id="data">(.*?)<', page)[0])
    assert [a["measured_spread"] for a in data["answers"]] == [0.01] * 5
    assert [k["measured_spread"] for k in data["known"]] == [0.01] * 5
    assert data["latency"]["spread"] == [0.01] * 50
    figure = accuracy_over_cost(metrics, results.sampled, results.front)
    assert figure.axes[0].get_title() == "\n".join(metrics["busy"])
    lines = [c for c in figure.axes[0].collections if isinstance(c, LineCollection)]
    assert sum(len(c.get_segments()) for c in lines) == 10  # one through each measured point
    # An answer need not be on the front: the figure has room for it.
    metrics["answers"][-1]["measured_ms"] = 999.0
    figure = accuracy_over_cost(metrics, results.sampled, results.front)
    assert figure.axes[0].get_xlim()[1] > 999


def test_metrics_of_a_shaken_ladder(tmp_path: Path) -> None:
    make_run(tmp_path, "imagenet")
    run = RunDirectory(tmp_path)
    front = pd.read_parquet(run.front)
    answers = [Answer(**{k: a[k] for k in ("budget", "arch", "accuracy", "cost")})
               for a in json.loads(run.metrics.read_text())["answers"]]  # fmt: skip
    costs = front["cost"].tolist()[:3]
    FrontCalibration(0.0, 1.0, costs, costs, 463, 0.31).save(run.front_calibration)
    metrics = collect_metrics(run, make_recipe({"resolutions": [224]}), Size(), answers)
    assert metrics["busy"] == [f"The times of the front's networks are unsure: {BUSY}."]


def test_metrics_of_an_answer_that_is_not_on_the_front(tmp_path: Path) -> None:
    make_run(tmp_path, "imagenet")
    run = RunDirectory(tmp_path)
    table, front = pd.read_parquet(run.table), pd.read_parquet(run.front)
    off = table[~table["arch"].isin(front["arch"])].sort_values("cost").iloc[200]
    FrontCalibration(0.0, 2.0, [1.0, 50.0], [2.0, 100.0]).save(run.front_calibration)
    first = json.loads(run.metrics.read_text())["answers"][0]
    answer = Answer(first["budget"], off["arch"], off["accuracy"], 2 * off["cost"])
    metrics = collect_metrics(run, make_recipe({"resolutions": [224]}), Size(), [answer])
    within = table["accuracy"][table["cost"] <= off["cost"] * 1.0001]
    assert metrics["answers"][0]["table_accuracy"] == within.max() > off["accuracy"]


def shaken(networks: Any, *_: Any) -> Proof:
    return Proof({name: Timed(5.0, 0.2) for name in networks}, 1.0, 0.31, 0, 463)


def test_the_stages_of_a_run_tell_it(
    tmp_path: Path, printed: Display, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ladder and proof; told again where the times are reused."""
    make_run(tmp_path, "imagenet")
    run, recipe = RunDirectory(tmp_path), make_recipe({"compare": 0, "resolutions": [224]})
    for stages in (latency_stages, proof_stage):
        monkeypatch.setattr(
            stages, "time_in_turns", lambda run, latency, networks, *_, **__: shaken(networks)
        )
    monkeypatch.setattr(latency_stages, "LADDER", 3)
    for _ in range(2):
        latency_stages.front_calibration_stage(run, recipe.latency, Size(), 0, printed)
    assert steadiness_of_ladder(run).unsteady == 463
    said = text_of(printed)
    assert said.count(f"The times of the front's networks are unsure: {BUSY}.") == 2
    assert said.count("Close other programs and give the same command again with --time-again") == 2

    def export(network: Any, path: Path, resolution: int) -> float:
        path.parent.mkdir(exist_ok=True)
        path.touch()
        return 0.0

    monkeypatch.setattr(proof_stage, "export_checked", export)
    monkeypatch.setattr(proof_stage, "KNOWN_NETWORKS", ())
    arch = json.loads(run.metrics.read_text())["answers"][0]["arch"]
    answers = [Answer(30.0, arch, 0.7, 29.0)]
    proof_stage.proof_stage(run, recipe, Size(), answers, None, printed)
    assert f"The times of the answers are unsure: {BUSY}." in text_of(printed)


def test_what_was_disturbed_is_timed_again_and_nothing_else(
    tmp_path: Path, printed: Display, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(tmp_path, "imagenet")
    run, latency = RunDirectory(tmp_path), make_recipe({"resolutions": [224]}).latency
    times = [0.31, 0.02, 0.02]  # the last one is never asked for

    def time_in_turns(
        _run: RunDirectory, _latency: Any, networks: Any, *_: Any, **__: Any
    ) -> Proof:
        return replace(shaken(networks), drift=times.pop(0), unsteady=0)

    monkeypatch.setattr(latency_stages, "time_in_turns", time_in_turns)
    monkeypatch.setattr(latency_stages, "LADDER", 3)
    table = run.latency_table.read_bytes()
    for _ in range(3):
        latency_stages.front_calibration_stage(run, latency, Size(), 0, printed)
        forget_unsure_times(run, printed)
    said = text_of(printed)
    assert said.count("--time-again: the front's networks are timed again") == 1
    assert said.count("nothing to time again; all times are sure") == 2
    assert times == [0.02] and steadiness_of_ladder(run).warning == ""
    assert run.latency_table.read_bytes() == table


def test_times_that_networks_were_trained_by_stay(tmp_path: Path, printed: Display) -> None:
    """Of the latency table and the proof, which are unsure, only the proof is taken again."""
    make_run(tmp_path, "imagenet", unsteady=463)
    run = RunDirectory(tmp_path)
    run.supernet_of_rounds.touch()
    run.unfinished_by_work = True
    write_json(run.proof, read_json(run.proof) | {"files": {"pnag-5ms": "pnag-5ms.onnx"}})
    steadiness_of_table(run).tell(printed)
    assert "in another directory with --out" in text_of(printed)
    forget_unsure_times(run, printed)
    assert "the answers are timed again" in text_of(printed)
    assert run.latency_table.exists() and not run.metrics.exists()
    assert read_json(run.proof) == {"files": {"pnag-5ms": "pnag-5ms.onnx"}}
    forget_unsure_times(run, printed)
    assert "this run's networks were trained by the unsure times" in text_of(printed)
    run.supernet_of_rounds.unlink()
    forget_unsure_times(run, printed)
    assert not run.latency_table.exists()


def test_the_experiment_says_it_everywhere(
    tmp_path: Path, printed: Display, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, found = make_experiment(tmp_path / "run", "cpu", unsteady=463)
    assert found["busy"] == f"The times of all networks are unsure: {BUSY}."
    assert found["busy"] in without_tags(study.page.read_text())
    markdown = (study.folder / "table.md").read_text()
    assert f"**{found['busy']}**" in markdown
    row = next(row for row in found["rows"] if row["name"] == "PNAG-30, found here")
    cell = f"{row['milliseconds']:.2f} ±1.0%"
    assert cell in markdown and cell in without_tags(study.page.read_text())
    monkeypatch.setattr("pnag.studies.paper.experiment.held_study", lambda *_: nullcontext(study))
    monkeypatch.setattr("pnag.studies.paper.experiment.run_experiment", lambda *_: found)
    assert cell in CliRunner().invoke(app, ["experiment", "cpu"]).output

    monkeypatch.setattr(
        "pnag.studies.paper.times.time_in_turns", lambda run, latency, n, *_, **__: shaken(n)
    )
    time_networks(study, [row["arch"]], [], printed)
    assert found["busy"] in text_of(printed)


def test_a_quiet_experiment_warns_of_nothing(tmp_path: Path) -> None:
    study, found = make_experiment(tmp_path / "run", "mobile")
    assert found["busy"] == ""
    assert "unsure" not in without_tags(study.page.read_text())
    assert "**" not in (study.folder / "table.md").read_text().split("|")[0]


def test_lines_through_the_points_of_figures_d_and_e() -> None:
    points = [Point("evo", "EVO-30", 10.0, 0.7, 0.2), Point("comparator", "x", 20.0, 0.71, 0.05)]
    axes = accuracy_over_latency(points, "here").axes[0]
    lines = [c for c in axes.collections if isinstance(c, LineCollection)]
    ends = [segment[:, 0].tolist() for line in lines for segment in line.get_segments()]
    assert ends == [pytest.approx([8.0, 12.0]), pytest.approx([19.0, 21.0])]
    assert axes.get_xlim()[0] < 8


def test_measuring_commands_tell_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "table.json"
    identity = {"device": "d", "runtime": "r", "version": "1", "threads": 1, "batch": 1,
                "resolution": 224}  # fmt: skip
    table = LatencyTable(identity, drift=SHAKEN)
    timings = [Timed(5.0, 0.2), Timed(6.1, 0.3)]
    error = latency_model.prediction_error(np.array([5.0, 6.0]), timings)
    monkeypatch.setattr(body, "measure_device", lambda *_, **__: table)
    monkeypatch.setattr(body, "fit_latency_model", lambda *_: None)
    monkeypatch.setattr(body, "check_latency_model", lambda *_: error)
    done = CliRunner().invoke(app, ["measure", "--out", str(path)])
    said = " ".join(done.output.split())
    assert done.exit_code == 0 and "463 disturbed turns had to be kept" in said
    assert "measure again, to another --out" in said
    told = json.loads(CliRunner().invoke(app, ["measure", "--out", str(path), "--json"]).stdout)
    assert told["unsteady"] == 463 and told["busy"].startswith("the machine was busy")
    assert told["measured_spread"] == [0.2, 0.3]

    def zoo(runtime: Any, networks: Any, **_: Any) -> zoo_measure.ZooTimes:
        return zoo_measure.ZooTimes({n.key: Timed(5.0, 0.2) for n in networks}, SHAKEN)

    monkeypatch.setattr(zoo_measure, "measure_zoo", zoo)
    done = CliRunner().invoke(app, ["zoo", "measure", "--only", "resnet18"])
    said = " ".join(done.output.split())
    assert "5.00 ±20.0%" in said and "The times are unsure: the machine was busy" in said
    steady = replace(zoo(None, []), drift=Drift([4.0, 4.1, 4.0]))
    monkeypatch.setattr(
        zoo_measure, "measure_zoo", lambda runtime, networks, **_: replace(
            steady, networks={n.key: Timed(5.0, 0.2) for n in networks})
    )  # fmt: skip
    done = CliRunner().invoke(app, ["zoo", "measure", "--only", "resnet18", "--json"])
    assert json.loads(done.stdout)["busy"] == ""
