"""A whole run on own images, on the GPU: `pnag run --images`.

Measuring and searching are cut short: the minutes are for the images.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import Options, Rows

RECIPE = """
latency: {rounds: 3, calibration: 16, check: 8}
evaluator: {steps: 30}
generator: {iterations: 100}
"""
TINY = """
latency: {rounds: 3, calibration: 3, check: 2}
supernet: {fit: {epochs: 1, batch_size: 32}}
finetune: {fit: {epochs: 1, batch_size: 32}}
evaluator: {steps: 2}
generator: {iterations: 2, samples: 4}
"""


def measure(options: Options) -> Rows:
    """Test top-1 of each answer, and what was planned."""
    source = options.images or "digits"
    with tempfile.TemporaryDirectory() as folder:
        recipe = Path(folder) / "recipe.yaml"
        recipe.write_text(TINY if options.tiny else RECIPE)
        out = Path(folder) / "run"
        command = [
            sys.executable, "-m", "pnag", "run", "--images", source, "--out", str(out),
            "--start", "scratch", "--recipe", str(recipe), "--minutes", str(options.minutes),
            "--rounds", "1",
        ]  # fmt: skip
        if options.tiny:
            command += [
                "--resolution", "32", "--width-mult", "0.1", "--epochs", "1",
                "--finetune-epochs", "1", "--architectures", "20", "--per-round", "2",
            ]  # fmt: skip
        else:
            command += ["--resolution", "64", "--width-mult", "1.0"]
        if options.device.type == "cuda":
            command += ["--runtime", "cuda"]
        started = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        print(done.stdout[-5000:], done.stderr[-3000:], flush=True)
        if done.returncode:
            raise RuntimeError(f"pnag run ended with {done.returncode}")
        seconds = time.perf_counter() - started
        metrics = json.loads((out / "metrics.json").read_text())
        plan = json.loads((out / "plan" / "supernet.json").read_text())
    answers = metrics["answers"]
    return {
        "images": Path(source).name,
        "wall seconds": round(seconds, 1),
        "supernet": json.dumps(plan["plan"]),
        "budgets, ms": [answer["budget"] for answer in answers],
        "measured, ms": [answer.get("measured_ms") for answer in answers],
        "test top-1": [answer.get("test_top1") for answer in answers],
    }
