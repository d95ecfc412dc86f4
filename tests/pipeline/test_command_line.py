"""`pnag` as a user runs it: a real small run, reuse, stops, and every mistake we can think of."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import yaml

import pnag
from pnag.networks import count_batch

SPACE = pnag.SearchSpace()
QUICK = {
    "architectures": 400,
    "latency": {"rounds": 3, "calibration": 8, "check": 6},
    "predictor": {"members": 2, "hidden": 16, "epochs": 4, "batch": 64},
    "evaluator": {"steps": 10, "hidden": 32},
    "generator": {"iterations": 40, "samples": 16, "refine_steps": 2, "hidden": 16},
    "front": {"budgets": 16, "draws": 16, "rounds": 8, "children": 256},
}


def call(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pnag", *map(str, arguments)], capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "quick.yaml"
    path.write_text(yaml.safe_dump(QUICK))
    return path


def own_table(rows: int = 600) -> pd.DataFrame:
    tokens = SPACE.sample_unique(rows, np.random.default_rng(0))
    macs = count_batch(SPACE, tokens, resolution=64).macs / 1e6
    quality = SPACE.features(tokens) @ np.linspace(0, 1, SPACE.num_features)
    return pd.DataFrame({"arch": SPACE.text(tokens), "top1": 0.5 + quality / 100, "ms": macs})


@pytest.fixture(scope="module")
def table_run(tmp_path_factory: pytest.TempPathFactory, recipe: Path) -> Path:
    folder = tmp_path_factory.mktemp("own")
    own_table().to_csv(folder / "t.csv", index=False)
    done = call(*table_arguments(folder / "t.csv", folder / "run", recipe))
    assert done.returncode == 0, done.stderr
    return folder / "run"


def table_arguments(table: Path, out: Path, recipe: Path) -> list[object]:
    return ["run", "--table", table, "--accuracy", "top1", "--cost", "ms", "--out", out,
            "--recipe", recipe]  # fmt: skip


def test_this_machine_from_nothing_to_a_proof(tmp_path: Path, recipe: Path) -> None:
    out = tmp_path / "run"
    done = call("run", "--out", out, "--recipe", recipe, "--json")
    assert done.returncode == 0, done.stderr
    metrics = json.loads(done.stdout)
    answers = metrics["answers"]
    assert len(answers) == 5
    assert all(a["cost"] <= a["budget"] for a in answers)
    assert all(x["accuracy"] <= y["accuracy"] for x, y in pairwise(answers))
    assert all(0.65 < a["accuracy"] < 0.78 for a in answers)
    assert metrics["known"][0]["name"] == "MobileNetV2 1.0"
    for a in answers:
        session = onnxruntime.InferenceSession(out / a["onnx"])
        assert session.get_inputs()[0].shape == [1, 3, 224, 224]
        assert a["onnx_difference"] <= 1e-4
        assert a["params"] == pnag.count(a["arch"]).params
    page = (out / "report.html").read_text()
    assert page.count("<svg") == 3 + 5
    assert 'src="http' not in page and "@import" not in page
    assert len(pd.read_parquet(out / "table.parquet")) == 400

    answers_before = (out / "architectures.json").read_text()
    again = call("run", "--out", out, "--recipe", recipe)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("reused") == 7
    assert (out / "architectures.json").read_text() == answers_before

    # the same latency table and seed, all else anew: the same architectures
    table = (out / "cost" / "latency_table.json").read_bytes()
    other = tmp_path / "other"
    (other / "cost").mkdir(parents=True)
    (other / "cost" / "latency_table.json").write_bytes(table)
    done = call("run", "--out", other, "--recipe", recipe)
    assert done.returncode == 0, done.stderr
    fronts = [pd.read_parquet(run / "front.parquet") for run in (out, other)]
    assert fronts[0].equals(fronts[1])


def test_own_table_in_a_format_for_scripts(table_run: Path) -> None:
    answers = json.loads((table_run / "architectures.json").read_text())
    assert len(answers) == 5
    for a in answers:
        assert {"budget", "arch", "accuracy", "cost"} <= set(a)
        assert a["cost"] <= a["budget"]
        true = count_batch(SPACE, SPACE.encode([a["arch"]]), resolution=64).macs[0] / 1e6
        assert a["cost"] == pytest.approx(true, rel=0.05)


def test_any_other_budget(table_run: Path) -> None:
    front = pd.read_parquet(table_run / "front.parquet")
    budget = front["cost"].mean()
    done = call("generate", table_run, "--budget", budget, "--json")
    result = json.loads(done.stdout)
    assert result["cost"] <= budget
    above = json.loads(call("generate", table_run, "--budget", 1e6, "--json").stdout)
    assert "no larger one" in above["note"]
    below = call("generate", table_run, "--budget", 0.001)
    assert below.returncode == 2
    assert f"the cheapest costs {front['cost'].iloc[0]:.4g}" in below.stderr
    assert call("generate", table_run, "--budget", budget, "--greedy").returncode == 0


def test_a_changed_option_redoes_only_what_depends_on_it(table_run: Path, recipe: Path) -> None:
    table = table_run.parent / "t.csv"
    arguments = table_arguments(table, table_run, recipe)
    assert call(*arguments).stdout.count("reused") == 4
    front = pd.read_parquet(table_run / "front.parquet")
    changed = call(*arguments, "--budgets", f"{front['cost'].iloc[-1]:.6f},1e9")
    assert changed.stdout.count("reused") == 4
    assert len(json.loads((table_run / "architectures.json").read_text())) == 2
    (table_run / "generator.safetensors").write_bytes(b"half a file")
    mended = call(*arguments)
    assert mended.returncode == 0
    assert mended.stdout.count("reused") == 3  # the generator anew gives the same front
    assert pd.read_parquet(table_run / "front.parquet").equals(front)


def rows_with(column: str, value: object) -> pd.DataFrame:
    table = own_table(80).astype({column: object})
    table.loc[6, column] = value
    return table


def conflicting() -> pd.DataFrame:
    table = own_table(80)
    table.loc[3, "arch"] = table.loc[9, "arch"]
    return table


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (rows_with("top1", float("nan")), "row 7: top1 is nan"),
        (rows_with("ms", float("inf")), "row 7: ms is inf"),
        (rows_with("ms", "fast"), "row 7: ms is fast"),
        (rows_with("ms", -1.0), "needs a positive finite number"),
        (rows_with("arch", "2,2:3:3"), "row 7: architecture"),
        (conflicting(), "several rows with different values"),
        (own_table(80).rename(columns={"ms": "latency"}), "has no column 'ms'"),
        (own_table(80).rename(columns={"arch": "a"}), "has no column 'arch'"),
        (own_table(10), "too few"),
        (own_table(80).assign(ms=3.0), "in every row"),
        (own_table(80).iloc[:0], "no rows"),
        (None, "is empty"),
    ],
)
def test_bad_tables(tmp_path: Path, recipe: Path, table: pd.DataFrame | None, says: str) -> None:
    path = tmp_path / "t.csv"
    if table is None:
        path.write_text("")
    else:
        table.to_csv(path, index=False)
    done = call(*table_arguments(path, tmp_path / "run", recipe))
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["count", "2,2"], "needs 3"),
        (["export", "nonsense"], "needs 3"),
        (["export", "x", "--to", "tflite"], "allowed: onnx"),
        (["generate", "/no/such/run", "--budget", "3"], "no run directory"),
        (["run", "--budgets", "3,x", "--out", "unused"], "needs positive numbers"),
        (["run", "--table", "nothing.csv", "--out", "unused"], "needs --accuracy"),
        (["run", "--accuracy", "a", "--out", "unused"], "not given"),
        (["run", "--rounds", "2", "--out", "unused"], "neither is given"),
        (["run", "--seed", "-1", "--out", "unused"], "greater than or equal to 0"),
        (
            [
                "search",
                "--table",
                "t.csv",
                "--accuracy",
                "a",
                "--cost",
                "c",
                "--budgets",
                "3",
                "--method",
                "luck",
            ],
            "no search method is called 'luck'",
        ),
        (["run", "--out", "/proc/nothing"], "cannot make the run directory"),
    ],
)
def test_bad_arguments(
    arguments: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = call(*arguments)
    assert done.returncode == 2
    assert says in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_duplicate_rows_count_once(tmp_path: Path, recipe: Path) -> None:
    table = own_table(200)
    pd.concat([table, table.iloc[:5]]).to_csv(tmp_path / "t.csv", index=False)
    done = call(*table_arguments(tmp_path / "t.csv", tmp_path / "run", recipe))
    assert done.returncode == 0
    assert "5 row(s)" in done.stdout
    assert len(pd.read_parquet(tmp_path / "run" / "table.parquet")) == 200


def test_stops_in_every_stage_then_completes(tmp_path: Path, recipe: Path, table_run: Path) -> None:
    table, out = table_run.parent / "t.csv", tmp_path / "run"
    command = [sys.executable, "-m", "pnag", *map(str, table_arguments(table, out, recipe))]
    # A stop before each of these files exists is a stop in the stage that writes it.
    for file, sign in (
        ("recipe.yaml", signal.SIGINT),
        ("table.parquet", signal.SIGKILL),
        ("evaluator.safetensors", signal.SIGINT),
        ("generator.safetensors", signal.SIGKILL),
        ("front.parquet", signal.SIGINT),
    ):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        while process.poll() is None and not (out / file).exists():
            time.sleep(0.01)
        process.send_signal(sign)
        _, message = process.communicate(timeout=60)
        assert b"Traceback" not in message
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert pd.read_parquet(out / "front.parquet").equals(
        pd.read_parquet(table_run / "front.parquet")
    )


def test_stops_while_measuring_and_proving_then_completes(tmp_path: Path, recipe: Path) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-m", "pnag", "run", "--out", str(out), "--recipe", str(recipe)]
    signs = (signal.SIGINT, signal.SIGKILL)
    for stop, file in enumerate(
        (
            "cost/latency_table.json",  # between blocks and networks
            "cost/latency_model.json",
            "table.parquet",
            "front.parquet",  # while the ladder is timed
            "cost/front_calibration.json",
            "models",  # while exporting
        )
    ):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        while process.poll() is None and not (out / file).exists():
            time.sleep(0.01)
        process.send_signal(signs[stop % 2])
        _, message = process.communicate(timeout=60)
        assert b"Traceback" not in message, message
        if stop == 1:
            measured = (out / "cost" / "latency_table.json").read_bytes()
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (out / "cost" / "latency_table.json").read_bytes() == measured
    answers = json.loads((out / "architectures.json").read_text())
    models = sorted(path.name for path in (out / "models").glob("*.onnx"))
    assert models == sorted(f"pnag-{a['budget']:g}ms.onnx" for a in answers)


@pytest.mark.parametrize("limit", [5_000, 60_000])
def test_a_full_disk_is_a_message_and_loses_nothing(
    tmp_path: Path, table_run: Path, recipe: Path, limit: int
) -> None:
    arguments = table_arguments(table_run.parent / "t.csv", tmp_path / "run", recipe)
    full = subprocess.run(
        [sys.executable, "-m", "pnag", *map(str, arguments)], capture_output=True, text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )  # fmt: skip
    assert full.returncode == 2
    assert "cannot write" in full.stderr and "Traceback" not in full.stderr
    assert call(*arguments).returncode == 0
    front = pd.read_parquet(tmp_path / "run" / "front.parquet")
    assert front.equals(pd.read_parquet(table_run / "front.parquet"))


def test_rounds_ask_in_files_and_go_on(tmp_path: Path, recipe: Path) -> None:
    own_table().to_csv(tmp_path / "t.csv", index=False)
    arguments = [*table_arguments(tmp_path / "t.csv", tmp_path / "run", recipe),
                 "--rounds", 1, "--per-round", 20]  # fmt: skip
    first = call(*arguments)
    asked = tmp_path / "run" / "rounds" / "round-1.csv"
    assert "round 1 of 1: fill in top1 and ms in" in " ".join(first.stdout.split())
    rows = pd.read_csv(asked)
    assert len(rows) == 20 and not set(rows["arch"]) & set(own_table()["arch"])
    unanswered = call(*arguments)  # asks again, and loses nothing
    assert unanswered.stdout.count("reused") == 4
    assert pd.read_csv(asked).equals(rows)

    rows["top1"] = 0.9
    rows.to_csv(asked, index=False)
    half = call(*arguments)
    assert half.returncode == 2 and "row 1: ms is nan" in half.stderr
    tokens = SPACE.encode(rows["arch"])
    rows["ms"] = count_batch(SPACE, tokens, resolution=64).macs / 1e6
    rows.to_csv(asked, index=False)
    done = call(*arguments)
    assert done.returncode == 0 and "fill in" not in done.stdout
    assert len(pd.read_parquet(tmp_path / "run" / "table.parquet")) == 620
    without = call(*arguments[:-4], "--budgets", 40)  # what was learnt stays learnt
    assert "with 20 rows from 1 round(s)" in without.stdout
    assert len(pd.read_parquet(tmp_path / "run" / "table.parquet")) == 620
    own_table().to_csv(tmp_path / "other.csv", index=False)
    other = call(*table_arguments(tmp_path / "other.csv", tmp_path / "run", recipe))
    assert other.returncode == 2 and "asked for another table" in " ".join(other.stderr.split())
    front = pd.read_parquet(tmp_path / "run" / "front.parquet")
    assert front["accuracy"].max() > 0.8  # what the round has told is believed


@pytest.mark.parametrize("method", ["random", "evo", "pnag"])
def test_search_methods_on_a_table(tmp_path: Path, method: str) -> None:
    table = own_table()
    table.to_csv(tmp_path / "t.csv", index=False)
    budget = table["ms"].median()
    done = call("search", "--table", tmp_path / "t.csv", "--accuracy", "top1", "--cost", "ms",
                "--budgets", budget, "--method", method, "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)
    assert result["cost"] <= budget * 1.02
    assert result["accuracy"] > table["top1"][table["ms"] <= budget].max() - 0.005


def test_count_and_export(tmp_path: Path) -> None:
    arch = "2,2,2,2,2:" + ",".join(["3,3,0,0"] * 5) + ":" + ",".join(["3,3,0,0"] * 5)
    counts = json.loads(call("count", arch, "--json").stdout)
    assert counts["params"] == pnag.count(arch).params
    out = tmp_path / "n.onnx"
    done = call("export", arch, "--out", out, "--resolution", 64, "--num-classes", 10)
    assert done.returncode == 0, done.stderr
    assert onnxruntime.InferenceSession(out).get_outputs()[0].shape == [1, 10]
