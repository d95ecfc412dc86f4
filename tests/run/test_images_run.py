"""`pnag run --images` on small real images: from nothing to networks that hold their budgets."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import pytest
from small_runs import call
from stopped_runs import stop_at

from pnag.images.batches import eval_batches
from pnag.images.images import load_images
from pnag.run.preprocessing import supernet_preprocessing


def arguments(out: Path, recipe: Path) -> list[object]:
    options = "--images digits --classes 4 --width-mult 0.25 --epochs 6 --finetune-epochs 3"
    options += " --architectures 60 --rounds 1 --per-round 10 --runtime stub --json"
    return ["run", "--out", out, "--recipe", recipe, *options.split()]


def test_digits_from_images_to_networks(tmp_path: Path, recipe: Path, stub: str) -> None:
    pytest.importorskip("sklearn")
    out = tmp_path / "run"
    command = arguments(out, recipe)
    # Stopped in training, judging and fine-tuning, then run to its end.
    for file, sign in (
        ("supernet/*.checkpoint.safetensors", signal.SIGKILL),
        ("collected/*.csv", signal.SIGINT),
        ("finetuned/*.safetensors", signal.SIGKILL),
    ):
        said = stop_at(command, sign, out, file, tmp_path / "said")
        assert list(out.glob(file)) and "Traceback" not in said, said
    done = call(*command)
    assert done.exit_code == 0, done.stderr
    metrics = json.loads(done.stdout)
    answers = metrics["answers"]
    assert len(answers) == 5
    assert all(a["cost"] <= a["budget"] for a in answers)
    assert all(a["test_top1"] > 0.8 and a["test_top5"] >= a["test_top1"] for a in answers)
    assert metrics["known"] == []

    table = pd.read_parquet(out / "table.parquet")
    assert len(table) == 60 and table["accuracy"].between(0, 1).all()
    told = metrics["predictors"]["accuracy"]
    assert told["rows"] == 60 and 0 < told["mean_error"] < 2 * told["deviation"]
    assert table["accuracy"].max() > 0.5

    # The exported file is the fine-tuned network, and its description makes its input.
    data = load_images("digits", resolution=None, cache=out / "images", classes=4)
    how = json.loads((out / "models" / "preprocessing.json").read_text())
    assert how["resolution"] == 32 and how["classes"] == list(data.classes)
    assert len(data.classes) == 4 and set(data.classes) < set("0123456789")
    assert supernet_preprocessing(out / "supernet.safetensors", 4) == how
    best = answers[-1]
    session = onnxruntime.InferenceSession(out / best["onnx"])
    hits = []
    pixels = data.test.images.astype(np.float32) / 255
    mean, std = (np.float32(how[name])[:, None, None] for name in ("mean", "std"))
    for image, label in zip((pixels - mean) / std, data.test.labels, strict=True):
        hits.append(session.run(None, {"images": image[None]})[0].argmax() == label)
    assert np.mean(hits) == pytest.approx(best["test_top1"], abs=0.005)
    assert sum(len(labels) for _, labels in eval_batches(data, "test", 100)) == best["test_images"]

    # Asked for a budget of the run, `generate` gives the network that was tuned for it, whatever
    # the front says, and the command that exports it as it is.
    kept, budget = json.loads((out / "architectures.json").read_text()), answers[-1]["budget"]
    other = [*kept[:-1], kept[0] | {"budget": budget}]
    (out / "architectures.json").write_text(json.dumps(other))
    found = call("generate", out, "--budget", budget)
    assert found.stdout.startswith(kept[0]["arch"])
    assert f"pnag export {out} --budget {budget} --to onnx" in " ".join(found.stdout.split())
    (out / "architectures.json").write_text(json.dumps(kept))
    for answer in answers:
        own = json.loads((out / answer["onnx"]).with_suffix(".preprocessing.json").read_text())
        assert own == how

    # The supernet's weights alone make a table, too.
    csv = tmp_path / "more" / "table.csv"
    done = call("collect", "--supernet", out / "supernet.safetensors", "--images", "digits",
                "--out", csv, "--architectures", 6)  # fmt: skip
    assert done.exit_code == 0, done.stderr
    collected = pd.read_parquet(csv.with_suffix(".parquet"))
    assert list(collected) == ["arch", "accuracy", "images", "params", "macs", "memory"]
    assert len(collected) == 6 and len(pd.read_csv(csv)) == 6

    page = (out / "report.html").read_text()
    assert "Top-1 (test)" in page and "Supernet" in page
    again = call(*command)
    assert again.exit_code == 0 and "training the supernet" not in again.stderr
    assert json.loads(again.stdout)["answers"] == answers


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("run --images nowhere/at/all --out {out}", "nowhere/at/all"),
        ("run --epochs 3 --out {out}", "--epochs goes with --images"),
        ("run --images digits --table t.csv --accuracy a --cost b --out {out}", "one of them"),
        ("run --images digits --train-method best --out {out}", "progressive"),
        (
            "run --images digits --start scratch --train-method transfer --out {out}",
            "starts from fresh ones",
        ),
        ("run --images digits --classes 11 --out {out}", "11"),
        ("run --images digits --on-corrupt ignore --out {out}", "skip"),
        ("train --out {out}", "--images"),
        ("collect --supernet no.safetensors --images digits --out {out}.csv", "no.safetensors"),
    ],
)
def test_mistakes_are_told(options: str, message: str, tmp_path: Path) -> None:
    words = options.format(out=tmp_path / "run").split()
    done = call(*words)
    assert done.exit_code == 2, done.stderr
    assert message in done.stderr
