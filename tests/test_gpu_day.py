"""scripts/gpu_day.sh runs to its end where there is no GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[1] / "scripts" / "gpu_day.sh"


@pytest.mark.timeout(900)  # two minutes of work, more on a busy machine
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU: run scripts/gpu_day.sh")
def test_the_tiny_day_measures_everything_on_a_cpu(tmp_path: Path) -> None:
    def run(*options: str) -> subprocess.CompletedProcess[str]:
        command = ["bash", str(SCRIPT), "--out", str(tmp_path), *options]
        environment = os.environ | {"PYTHON": sys.executable}
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)

    refused = run("--parts", "step")
    assert refused.returncode == 2 and "torch finds no GPU; --tiny runs on a CPU" in refused.stderr
    done = run("--tiny", "--minutes", "0.1")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    found = {file.stem: json.loads(file.read_text()) for file in tmp_path.glob("gpu_*.json")}
    assert found.keys() == {
        "gpu_tests", "gpu_step", "gpu_judging", "gpu_latency", "gpu_search", "gpu_whole_run"
    }  # fmt: skip
    assert all(rows["tiny"] for rows in found.values())
    assert found["gpu_step"]["pnag sandwich, batch 8, images on the device: images/s"] > 0
    assert len(found["gpu_whole_run"]["test top-1"]) == 5
