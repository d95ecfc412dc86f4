"""Settings and tables for runs that take seconds, and how tests give a command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from typer.testing import CliRunner, Result

import pnag
from pnag.commands.main import app
from pnag.families import count_batch, family

SPACE = pnag.SearchSpace()
QUICK: dict[str, Any] = {
    "architectures": 400,
    "resolutions": [224],
    "images": {"precision": "float32"},  # of processes that are stopped, as of this one
    "compare": 0,
    "latency": {"rounds": 3, "calibration": 8, "check": 6},
    "predictor": {"members": 2, "hidden": 16, "epochs": 4, "batch": 64},
    "evaluator": {"steps": 10, "hidden": 32},
    "generator": {"iterations": 40, "samples": 16, "refine_steps": 2, "hidden": 16},
    "front": {"budgets": 16, "draws": 16, "rounds": 8, "children": 256},
    "supernet": {"fit": {"epochs": 1, "batch_size": 32, "learning_rate": 0.1}},
    "finetune": {"fit": {"epochs": 1, "batch_size": 32, "learning_rate": 0.05}},
}


def call(*arguments: object) -> Result:
    """Of this process: where importing torch anew takes longer than what is asked for."""
    return CliRunner().invoke(app, [str(a) for a in arguments])


def own_table(rows: int = 600) -> pd.DataFrame:
    tokens = SPACE.sample_unique(rows, np.random.default_rng(0))
    macs = count_batch(family(), tokens, resolution=64).macs / 1e6
    quality = SPACE.features(tokens) @ np.linspace(0, 1, SPACE.num_features)
    return pd.DataFrame({"arch": SPACE.text(tokens), "top1": 0.5 + quality / 100, "ms": macs})


def table_arguments(table: Path, out: Path, recipe: Path) -> list[object]:
    return ["run", "--table", table, "--accuracy", "top1", "--cost", "ms", "--out", out,
            "--recipe", recipe]  # fmt: skip
