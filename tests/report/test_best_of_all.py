"""Today's published networks on the page and in the terminal."""

from __future__ import annotations

import re
from pathlib import Path

from made_runs import TODAYS
from rich.console import Console

from pnag.commands.bodies.report import load_results
from pnag.report.best_of_all import (
    best_of_all_sections,
    best_of_all_tables,
    margin_text,
    published_data,
)
from pnag.report.figures import accuracy_over_cost


def test_the_page_says_what_is_best_of_all_and_how_to_export_it(runs: Path) -> None:
    metrics = load_results(runs / "cpu").metrics
    page = (runs / "cpu" / "report.html").read_text()
    for answer in metrics["answers"]:
        held = [row for row in metrics["published"] if row["measured_ms"] <= answer["budget"]]
        assert answer["best"]["top1"] >= max(row["top1"] for row in held)
        assert f">{answer['best']['export']}</code>" in re.sub("</?span[^>]*>", "", page)
    assert {a["best"]["name"] for a in metrics["answers"]} & set(TODAYS)
    assert all(f">{row['name']}</span>" in page for row in metrics["published"])
    assert "apache-2.0" in page and "chosen from ImageNet-22k, distilled" in page
    assert "answers leave 2.0% for the latency model" in page
    assert margin_text({}) == "" and margin_text({"margin": 0.0}) == ""


def test_both_fronts_are_drawn(runs: Path) -> None:
    results = load_results(runs / "cpu")
    data = published_data(results.metrics)
    tops, times = ([p[name] for p in data["front"]] for name in ("top1", "measured_ms"))
    assert tops == sorted(tops) and times == sorted(times) and len(tops) == 4
    marked = {p["name"]: p["on_front"] for p in data["timed"]}
    assert marked == {"lcnet_100": True, "levit_128s*": True, "hgnetv2_b0*": True,
                      "levit_256*": True}  # fmt: skip
    figure = accuracy_over_cost(results.metrics, results.sampled, results.front)
    (axes,) = figure.axes
    assert "published front (measured)" in axes.get_legend_handles_labels()[1]


def test_the_terminal_says_it_too(runs: Path) -> None:
    metrics = load_results(runs / "cpu").metrics
    console = Console(width=100, record=True)
    for table in best_of_all_tables(metrics):
        console.print(table)
    said = console.export_text()
    assert "levit_128s*" in said and "pnag zoo export" in said
    assert all(f"{a['budget']:g}" in said for a in metrics["answers"])


def test_runs_without_them_are_silent(runs: Path) -> None:
    for name in ("mine", "own"):
        metrics = load_results(runs / name).metrics
        assert best_of_all_sections(metrics) == "" and best_of_all_tables(metrics) == []
        assert published_data(metrics) == {"front": [], "timed": []}
