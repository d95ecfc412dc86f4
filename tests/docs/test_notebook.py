"""The notebook's cells run, with a search that takes seconds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import yaml

NOTEBOOK = Path(__file__).parents[2] / "examples" / "quickstart.ipynb"
QUICK = {
    "predictor": {"members": 2, "hidden": 16, "epochs": 4, "batch": 64},
    "evaluator": {"steps": 10, "hidden": 32},
    "generator": {"iterations": 20, "samples": 16, "refine_steps": 2, "hidden": 16},
    "front": {"budgets": 16, "draws": 16, "rounds": 8, "children": 256},
}


def test_the_notebook_runs_from_top_to_bottom(tmp_path: Path) -> None:
    cells = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    code = "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
    (tmp_path / "quick.yaml").write_text(yaml.safe_dump(QUICK))
    quick = code.replace("show=False,", "show=False, recipe='quick.yaml',").replace("4000", "300")
    assert quick.count("quick.yaml") == 1 and "300, np.random" in quick, "the cells have changed"
    done = subprocess.run(
        [sys.executable, "-c", quick],
        cwd=tmp_path, env=None, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Answer(budget=250.0" in done.stdout
