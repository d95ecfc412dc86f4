"""The table that the authors of PNAG publish: made up here, in their format."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import pnag
from pnag.errors import PnagError
from pnag.run.budgets import check_units, read_budget
from pnag.run.tables import read_rows, user_table

SPACE = pnag.SearchSpace()


def write_authors(path: Path, rows: int) -> None:
    """A list of architectures with made-up accuracies and seconds at two widths."""
    rng = np.random.default_rng(0)
    tokens = SPACE.sample_unique(rows, rng)
    table = [
        {
            "arch": text,
            **{
                width: {
                    "top1_acc": 70 + float(rng.random()),
                    "mobile_latency": 0.1 + float(rng.random()) / 10,
                    "cpu_latency": 0.03 + float(rng.random()) / 100,
                    "gpu_latency": 0.1 + float(rng.random()) / 10,
                }
                for width in ("w1.0", "w1.2")
            },
        }
        for text in SPACE.text(tokens)
    ]
    path.write_text(json.dumps(table))


def test_the_authors_table_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "architectures.json"
    write_authors(path, 60)
    raw = json.loads(path.read_text())
    frame, notes = user_table(
        path, "w1.2.top1_acc", "w1.2.cpu_latency", SPACE, ("w1.0.gpu_latency",)
    )
    assert frame["arch"].tolist() == [row["arch"] for row in raw]
    assert frame["accuracy"].tolist() == [row["w1.2"]["top1_acc"] for row in raw]
    assert frame["cost"].to_numpy() == pytest.approx(
        [1000 * row["w1.2"]["cpu_latency"] for row in raw]
    )
    assert frame["w1.0.gpu_latency"].between(100, 200).all()
    assert any("w1.2.cpu_latency" in note and "taken as ms" in note for note in notes)
    budget = read_budget("30ms")
    assert budget is not None
    check_units({"w1.2.cpu_latency": budget}, "w1.2.cpu_latency")
    with pytest.raises(PnagError, match=r"has no column 'w1\.4\.top1_acc'.*'w1\.0\.top1_acc'"):
        read_rows(path, "w1.4.top1_acc", "w1.2.cpu_latency", SPACE)


def test_what_is_missing_in_a_row_is_told(tmp_path: Path) -> None:
    path = tmp_path / "architectures.json"
    write_authors(path, 60)
    raw = json.loads(path.read_text())
    del raw[4]["w1.2"]["cpu_latency"]
    path.write_text(json.dumps(raw))
    with pytest.raises(PnagError, match=r"row 5: w1\.2\.cpu_latency must be .*, not nan"):
        read_rows(path, "w1.2.top1_acc", "w1.2.cpu_latency", SPACE)


def test_an_architecture_in_a_mapping_stays_one(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    text = SPACE.text(SPACE.sample(1, np.random.default_rng(0)))[0]
    depths, kernels, widths = ([int(x) for x in part.split(",")] for part in text.split(":"))
    row = {"config": {"d": depths, "ks": kernels, "e": widths}, "top1": 0.7, "ms": 30.0}
    path.write_text(json.dumps([row]))
    frame, _ = read_rows(path, "top1", "ms", SPACE)
    assert frame["arch"].tolist() == [text]
