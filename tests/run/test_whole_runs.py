"""Whole runs on this machine and on a table: one end to end, and others that are stopped."""

from __future__ import annotations

import json
import signal
from itertools import cycle, pairwise
from pathlib import Path

import onnxruntime
import pandas as pd
from small_runs import call, table_arguments
from stopped_runs import stop_at

import pnag

SIGNS = (signal.SIGINT, signal.SIGKILL)


def test_this_machine_from_nothing_to_a_proof(tmp_path: Path, recipe: Path) -> None:
    """On the runtime that a user has."""
    out = tmp_path / "run"
    options = ["--compare", 2, "--resolutions", "160,224"]
    done = call("run", "--out", out, "--recipe", recipe, *options, "--json")
    assert done.exit_code == 0, done.stderr
    metrics = json.loads(done.stdout)
    answers = metrics["answers"]
    assert len(answers) == 5
    assert all(a["cost"] <= a["budget"] for a in answers)
    assert all(x["accuracy"] <= y["accuracy"] for x, y in pairwise(answers))
    assert all(0.65 < a["accuracy"] < 0.78 for a in answers)
    assert metrics["known"][0]["name"] == "MobileNetV2 1.0"
    assert len(metrics["published"]) == 2
    assert all(a["held"] == (a["measured_ms"] <= a["budget"]) for a in answers)
    for a in answers:
        within = [row for row in metrics["published"] if row["measured_ms"] <= a["budget"]]
        # Beside other processes no network may have held it.
        assert a["best"].get("top1", 0) >= max((row["top1"] for row in within), default=0)
        session = onnxruntime.InferenceSession(out / a["onnx"])
        pixels = int(a["arch"].partition("@")[2])
        assert session.get_inputs()[0].shape == [1, 3, pixels, pixels]
        assert a["onnx_difference"] <= 1e-4
        assert a["params"] == pnag.count(a["arch"]).params
    page = (out / "report.html").read_text()
    assert "MobileNetV2 1.0" in page and all(a["arch"] in page for a in answers)
    assert len(pd.read_parquet(out / "table.parquet")) == 400

    answers_before = (out / "architectures.json").read_text()
    again = call("run", "--out", out, "--recipe", recipe, *options)
    assert again.exit_code == 0, again.stderr
    assert again.stdout.count("reused") == 9
    assert (out / "architectures.json").read_text() == answers_before


def test_stops_while_measuring_and_proving_then_completes(
    tmp_path: Path, recipe: Path, stub: str
) -> None:
    def arguments(out: Path) -> list[object]:
        return ["run", "--out", out, "--recipe", recipe, "--runtime", stub]

    out = tmp_path / "run"
    for stop, (file, sign) in enumerate(
        zip(
            (
                "cost/latency_table.json",  # between blocks and networks
                "cost/latency_model.json",
                "table.parquet",
                "front.parquet",  # while the ladder is timed
                "cost/front_calibration.json",
                "models",  # while exporting
            ),
            cycle(SIGNS),
            strict=False,
        )
    ):
        said = stop_at(arguments(out), sign, out, file, tmp_path / "said")
        assert "Traceback" not in said, said
        if stop == 1:
            measured = (out / "cost" / "latency_table.json").read_bytes()
    done = call(*arguments(out))
    assert done.exit_code == 0, done.stderr
    assert (out / "cost" / "latency_table.json").read_bytes() == measured
    answers = json.loads((out / "architectures.json").read_text())
    models = sorted(path.name for path in (out / "models").glob("*.onnx"))
    # Offline there are no published weights.
    assert models == sorted(f"pnag-{a['budget']:g}ms-untrained.onnx" for a in answers)

    # the same latency table and seed, all else anew and in one go: the same architectures
    other = tmp_path / "other"
    (other / "cost").mkdir(parents=True)
    (other / "cost" / "latency_table.json").write_bytes(measured)
    done = call(*arguments(other))
    assert done.exit_code == 0, done.stderr
    fronts = [pd.read_parquet(run / "front.parquet") for run in (out, other)]
    assert fronts[0].equals(fronts[1])
    assert json.loads((other / "architectures.json").read_text()) == answers


def test_stops_in_every_stage_then_completes(tmp_path: Path, recipe: Path, table_run: Path) -> None:
    out = tmp_path / "run"
    arguments = table_arguments(table_run.parent / "t.csv", out, recipe)
    # A stop before each of these files exists is a stop in the stage that writes it.
    files = ("recipe.yaml", "table.parquet", "evaluator.safetensors", "generator.safetensors",
             "front.parquet")  # fmt: skip
    for file, sign in zip(files, cycle(SIGNS), strict=False):
        said = stop_at(arguments, sign, out, file, tmp_path / "said")
        assert "Traceback" not in said, said
    done = call(*arguments)
    assert done.exit_code == 0, done.stderr
    assert pd.read_parquet(out / "front.parquet").equals(
        pd.read_parquet(table_run / "front.parquet")
    )
