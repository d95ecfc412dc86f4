"""`report.html`: one self-contained page of a run."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

from pnag.files import read_json
from pnag.pipeline.run_directory import RunDirectory
from pnag.pipeline.tables import read_table
from pnag.pipeline.trained import load_front_calibration
from pnag.report import figures
from pnag.report.cells import answer_cells, answer_header, measured_cell, what_accuracy_means

STYLE = """
:root { color-scheme: light dark; --card: #fff; --ink: #212529; --page: #f1f3f5; --line: #dee2e6 }
@media (prefers-color-scheme: dark) {
  :root { --card: #25262b; --ink: #e9ecef; --page: #1a1b1e; --line: #373a40 }
  figure { background: #fff; color: #212529 }
}
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 64rem; padding: 1rem;
  background: var(--page); color: var(--ink) }
section { background: var(--card); border: 1px solid var(--line); border-radius: .6rem;
  padding: 1rem 1.2rem; margin: 1rem 0; overflow-x: auto }
figure { margin: .5rem 0; border-radius: .4rem; padding: .3rem }
figure svg { max-width: 100%; height: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; width: 100% }
th, td { text-align: right; padding: .3rem .6rem; border-bottom: 1px solid var(--line) }
th:first-child, td:first-child { text-align: left }
code { font-size: .75rem; overflow-wrap: anywhere }
.grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(17rem, 1fr)); gap: 1rem }
.no { color: #e03131; font-weight: 600 }
.yes { color: #2f9e44; font-weight: 600 }
"""


def write_report(path: Path, metrics: dict[str, Any]) -> str:
    """The page of a run directory, as HTML.

    Args:
        path: the run directory. metrics: what its `metrics.json` holds.
    """
    timed = "proof" in metrics
    table, front = read_table(path / "table.parquet"), read_table(path / "front.parquet")
    calibration = load_front_calibration(RunDirectory(path))
    if calibration:  # beside measured answers, everything in their milliseconds
        for frame in (table, front):
            frame["cost"] = calibration(frame["cost"].to_numpy())
    losses = read_json(path / "logs" / "evaluator.json")["ranking_loss"]
    rewards = read_json(path / "logs" / "generator.json")["accuracy_within_budget"]
    parts = [_head(metrics), _answers(metrics)]
    parts.append(
        _section(
            "Accuracy over cost",
            _figure(figures.accuracy_over_cost(metrics, table, front), "accuracy over cost"),
        )
    )
    if metrics.get("known"):
        parts.append(_known(metrics))
    if timed:
        parts.append(_latency(metrics))
    if metrics["source"] == "images":
        curve = figures.supernet_curves(read_json(path / "logs" / "supernet.json")["rows"])
        parts.append(_section("Supernet", _figure(curve, "training of the supernet")))
    parts.append(
        _section(
            "Evaluator and generator",
            _figure(figures.training_curves(losses, rewards), "training curves"),
        )
    )
    pictures = "".join(
        f"<div><h3>{a['budget']:g} {html.escape(metrics['unit'])}</h3>"
        + _figure(figures.architecture_picture(a["arch"]), f"architecture for {a['budget']:g}")
        + f"<code>{a['arch']}</code></div>"
        for a in metrics["answers"]
    )
    parts.append(
        _section(
            "Architectures",
            "<p>Colour is the kernel, length the width (expand ratio).</p>"
            f"<div class='grid'>{pictures}</div>",
        )
    )
    body = "\n".join(parts)
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>pnag report</title><style>{STYLE}</style></head><body>{body}</body></html>"
    )


def _section(title: str, content: str) -> str:
    return f"<section><h2>{title}</h2>{content}</section>"


def _figure(svg: str, description: str) -> str:
    return f"<figure role='img' aria-label='{html.escape(description, quote=True)}'>{svg}</figure>"


def _rows(header: list[str], rows: list[list[str]]) -> str:
    head = "".join(f"<th>{name}</th>" for name in header)
    body = "".join("<tr>" + "".join(f"<td>{c}</td>" for c in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _head(metrics: dict[str, Any]) -> str:
    if "device" not in metrics:
        return (
            f"<h1>pnag</h1><p>From a table of {metrics['table']['architectures']:,} "
            f"architectures; cost is <b>{html.escape(metrics['unit'])}</b>.</p>"
        )
    d = metrics["device"]
    return (
        f"<h1>pnag</h1><p>Best networks for <b>{html.escape(d['device'])}</b>, {d['runtime']} "
        f"{d['version']}, {d['threads']} thread(s), batch 1, {d['resolution']}×"
        f"{d['resolution']}.</p>"
    )


def _answers(metrics: dict[str, Any]) -> str:
    timed = "proof" in metrics
    held = {True: "<span class='yes'>yes</span>", False: "<span class='no'>no</span>"}
    rows = [answer_cells(a) + ([held[a["held"]]] if timed else []) for a in metrics["answers"]]
    header = answer_header(metrics) + (["held"] if timed else [])
    note = f"<p>{html.escape(what_accuracy_means(metrics))}"
    note += " Held means measured within budget + 3 %.</p>" if timed else "</p>"
    return _section("Answers", _rows(header, rows) + note)


def _known(metrics: dict[str, Any]) -> str:
    budgets = {a["arch"]: a["budget"] for a in metrics["answers"]}
    rows = [
        [
            k["name"],
            f"{k['top1']:.1%}",
            measured_cell(k),
            f"yes, the {budgets[k['beaten_by']]:g} ms one" if k["beaten_by"] else "no",
            html.escape(k["source"]),
        ]
        for k in metrics["known"]
    ]
    header = ["network", "top-1 (published)", "measured (ms)", "an answer is better", "source"]
    speed = metrics["proof"]["speed"] - 1
    change = "slower" if speed > 0 else "faster"
    return _section(
        "Networks timed in the same run",
        _rows(header, rows) + f"<p>During this run the machine was {abs(speed):.1%} {change}"
        " than when the latency table was measured; the times above have that taken out.</p>",
    )


def _latency(metrics: dict[str, Any]) -> str:
    e = metrics["latency"]
    return _section(
        "Latency model",
        _figure(figures.predicted_over_measured(metrics), "predicted over measured latency")
        + f"<p>{e['networks']} networks that calibration never saw: {e['mape']:.1%} mean error, "
        f"{e['within_5']:.0%} within 5 %, {e['within_10']:.0%} within 10 %, Kendall tau "
        f"{e['tau']:.3f}. Speed of the machine: ±{e['drift']['spread']:.1%} over "
        f"{e['drift']['levels']} readings, {e['drift']['remeasured']} turns taken again, "
        f"{e['drift']['unsteady']} kept although unsteady.</p>",
    )
