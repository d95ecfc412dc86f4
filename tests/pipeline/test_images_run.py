"""`pnag run --images` on small real images: from nothing to networks that hold their budgets."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from pnag.cli.main import app
from pnag.pipeline.preprocessing import supernet_preprocessing
from pnag.training.batches import eval_batches
from pnag.training.images import load_images

QUICK = {
    "latency": {"rounds": 3, "calibration": 8, "check": 6},
    "evaluator": {"steps": 10, "hidden": 32},
    "generator": {"iterations": 40, "samples": 16, "refine_steps": 2, "hidden": 16},
    "front": {"budgets": 16, "draws": 16, "rounds": 8, "children": 256},
    "supernet": {"fit": {"epochs": 1, "batch_size": 32, "learning_rate": 0.1}},
    "finetune": {"fit": {"epochs": 1, "batch_size": 32, "learning_rate": 0.05}},
}


def arguments(out: Path, recipe: Path) -> list[str]:
    options = f"--images digits --out {out} --recipe {recipe} --width-mult 0.25 --epochs 12 --json"
    options += " --architectures 60 --rounds 1 --per-round 10 --finetune-epochs 4"
    return [sys.executable, "-m", "pnag", "run", *options.split()]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("sklearn")
    path = tmp_path_factory.mktemp("recipe") / "quick.yaml"
    path.write_text(yaml.safe_dump(QUICK))
    return path


def test_digits_from_images_to_networks(tmp_path: Path, recipe: Path) -> None:
    out = tmp_path / "run"
    command = arguments(out, recipe)
    # Killed wherever it happens to be, then run to its end.
    for seconds in (8, 14):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    metrics = json.loads(done.stdout)
    answers = metrics["answers"]
    assert len(answers) == 5
    assert all(a["cost"] <= a["budget"] for a in answers)
    assert all(a["test_top1"] > 0.5 and a["test_top5"] >= a["test_top1"] for a in answers)
    assert metrics["known"] == []

    table = pd.read_parquet(out / "table.parquet")
    assert len(table) == 60 and table["accuracy"].between(0, 1).all()
    told = metrics["predictors"]["accuracy"]
    assert told["rows"] == 60 and 0 < told["mean_error"] < 2 * told["deviation"]
    assert table["accuracy"].max() > 0.4

    # The exported file is the fine-tuned network, and its description makes its input.
    data = load_images("digits", resolution=None, cache=out / "images")
    how = json.loads((out / "models" / "preprocessing.json").read_text())
    assert how["resolution"] == 32 and how["classes"] == list("0123456789")
    assert supernet_preprocessing(out / "supernet.safetensors", 10) == how
    best = answers[-1]
    session = onnxruntime.InferenceSession(out / best["onnx"])
    hits = []
    pixels = data.test.images.astype(np.float32) / 255
    mean, std = (np.float32(how[name])[:, None, None] for name in ("mean", "std"))
    for image, label in zip((pixels - mean) / std, data.test.labels, strict=True):
        hits.append(session.run(None, {"images": image[None]})[0].argmax() == label)
    assert np.mean(hits) == pytest.approx(best["test_top1"], abs=0.005)
    assert sum(len(labels) for _, labels in eval_batches(data, "test", 100)) == best["test_images"]

    # The supernet's weights alone make a table, too.
    csv = tmp_path / "more" / "table.csv"
    options = f"--supernet {out / 'supernet.safetensors'} --images digits --out {csv}"
    again = subprocess.run(
        [sys.executable, "-m", "pnag", "collect", *options.split(), "--architectures", "6"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    collected = pd.read_parquet(csv.with_suffix(".parquet"))
    assert list(collected) == ["arch", "accuracy", "images", "params", "macs", "memory"]
    assert len(collected) == 6 and len(pd.read_csv(csv)) == 6

    page = (out / "report.html").read_text()
    assert "Top-1 (test)" in page and "Supernet" in page
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 0 and "training the supernet" not in again.stderr
    assert json.loads(again.stdout)["answers"] == answers


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("run --images nowhere/at/all --out {out}", "nowhere/at/all"),
        ("run --epochs 3 --out {out}", "--epochs goes with --images"),
        ("run --images digits --table t.csv --accuracy a --cost b --out {out}", "one of them"),
        ("run --images digits --train-method best --out {out}", "progressive"),
        ("run --images digits --classes 11 --out {out}", "11"),
        ("run --images digits --on-corrupt ignore --out {out}", "skip"),
        ("train --out {out}", "--images"),
        ("collect --supernet no.safetensors --images digits --out {out}.csv", "no.safetensors"),
    ],
)
def test_mistakes_are_told(options: str, message: str, tmp_path: Path) -> None:
    words = options.format(out=tmp_path / "run").split()
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2, done.stderr
    assert message in done.stderr
