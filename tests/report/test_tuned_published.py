"""Published networks that were fine-tuned beside the answers, on the page and in the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from made_runs import make_run
from rich.console import Console

from pnag.commands.bodies.report import load_results, results_of
from pnag.report.figures import accuracy_over_cost
from pnag.report.page import write_report
from pnag.report.tuned_published import tuned_sections, tuned_tables
from pnag.run.run_directory import RunDirectory
from pnag.run.tuned_rows import best_tuned


def tuned(metrics: dict[str, Any]) -> dict[str, Any]:
    """The metrics with two networks: one is the best for the dearest budget."""
    answers = metrics["answers"]
    common = {"network": "n", "source": "<timm>", "licence": "", "resolution": 64, "epochs": 7,
              "params": 4_200_000, "test_top5": 0.99, "test_images": 9, "measured_spread": 0.01,
              "onnx_difference": 0.0}  # fmt: skip
    rows = [
        common | {"name": "poor@64", "published_top1": 0.7, "beyond": "", "budgets": [1.5],
                  "test_top1": 0.1, "measured_ms": 0.01, "onnx": "models/poor@64.onnx"},
        common | {"name": "good@64", "published_top1": 0.8, "beyond": "distilled",
                  "budgets": [answers[-1]["budget"]], "test_top1": 0.999,
                  "measured_ms": 0.99 * answers[-1]["budget"], "onnx": "models/good@64.onnx"},
    ]  # fmt: skip
    answers = [a | {"best": best_tuned(a["budget"], answers, rows)} for a in answers]
    return metrics | {"tuned_published": rows, "answers": answers}


def test_what_is_best_of_all_is_shown(tmp_path: Path) -> None:
    metrics = tuned(make_run(tmp_path / "mine", "images"))
    best = [a["best"] for a in metrics["answers"]]
    assert best[-1]["name"] == "good@64" and not best[-1]["ours"]
    assert best[0]["name"] == "poor@64"  # the first answer does not hold its budget
    assert best[1]["ours"] and best[1]["name"].startswith("ours for ")

    console = Console(width=160, record=True)
    for table in tuned_tables(metrics):
        console.print(table)
    said = console.export_text()
    assert "good@64*" in said and "models/good@64.onnx" in said and "99.90%" in said
    assert said.count("poor@64") == 3  # twice with its file

    page = write_report(results_of(RunDirectory(tmp_path / "mine"), metrics))
    assert "Best of all that was fine-tuned" in page and "&lt;timm&gt;" in page
    shown = page[page.index('"tuned":[') :].partition("]")[0]
    assert '"name":"poor@64"' in shown and '"test_top1":0.1' in shown
    results = load_results(tmp_path / "mine")
    (axes,) = accuracy_over_cost(metrics, results.sampled, results.front).axes
    assert any("published networks, fine-tuned" in t for t in axes.get_legend_handles_labels()[1])


def test_a_budget_that_none_held(tmp_path: Path) -> None:
    metrics = tuned(make_run(tmp_path / "mine", "images"))
    assert best_tuned(0.001, metrics["answers"], metrics["tuned_published"]) == {}
    metrics["answers"][0]["best"] = {}
    assert "none held it" in tuned_sections(metrics)
    assert tuned_sections({}) == "" and tuned_tables({}) == []
