"""What is best of all for each budget, ours or published, for the terminal and for the page."""

from __future__ import annotations

import re
from html import escape
from typing import Any

from rich.table import Table

from pnag.report.cells import measured_cell
from pnag.report.markup import section, table

TITLE = "Best of all that was timed, ours or published"
TODAYS = "Today's published networks, timed in the same run"
STAR = "* with more images than ImageNet-1k's, or a larger network as teacher."
EXPLAINED = "Published top-1 is of finished trainings; ours is predicted, before fine-tuning."
Row = dict[str, Any]


def published_data(metrics: Row) -> Row:
    """The networks of timm for the page's chart: all, and the front of all that were published."""
    todays = metrics.get("published", [])
    front: list[Row] = []
    for row in sorted([*metrics.get("known", []), *todays], key=lambda row: row["measured_ms"]):
        if not front or row["top1"] > front[-1]["top1"]:
            front.append(row)
    kept = ("measured_ms", "measured_spread", "top1")
    on_front = {row["name"] for row in front}
    return {
        "front": [{name: row[name] for name in ("measured_ms", "top1")} for row in front]
        if todays
        else [],
        "timed": [
            {name: row[name] for name in kept}
            | {"name": marked_name(row), "on_front": row["name"] in on_front}
            for row in todays
        ],
    }


def marked_name(row: Row) -> str:
    """With a star where it was trained on more than ImageNet-1k or by a teacher."""
    return f"{row['name']}*" if row["beyond"] else str(row["name"])


def margin_text(metrics: Row) -> str:
    """What answers leave of their budget, as the middle of a sentence; empty if nothing."""
    margin = metrics.get("margin")
    return f"; answers leave {margin:.1%} for the latency model's error" if margin else ""


def best_of_all_tables(metrics: Row) -> list[Table]:
    """For the terminal: the best for each budget, then today's networks. None without these."""
    if not metrics.get("published"):
        return []
    best = Table(title=TITLE, title_justify="left", caption_justify="left")
    for name, side in (("budget", "right"), ("best", "left"), ("top-1", "right"),
                       ("ms (measured)", "right")):  # fmt: skip
        best.add_column(name, justify="right" if side == "right" else "left")
    for answer in metrics["answers"]:
        row = answer["best"]
        cells = _best_cells(row) if row else ["none", "", ""]
        best.add_row(f"[bold]{answer['budget']:g}[/bold]", *cells)
    commands = dict.fromkeys(a["best"]["export"] for a in metrics["answers"] if a["best"])
    best.caption = "exported by: " + "\n".join(commands)
    todays = Table(title=TODAYS, title_justify="left", caption_justify="left")
    for name in ("network", "top-1", "ms (measured)", "beaten for"):
        todays.add_column(name, justify="left" if name == "network" else "right")
    for row, cells in zip(metrics["published"], _todays_rows(metrics), strict=True):
        todays.add_row(marked_name(row), *cells)
    todays.caption = f"{STAR} {EXPLAINED}"
    return [best, todays]


def best_of_all_sections(metrics: Row) -> str:
    """For the page, as HTML: the best for each budget, then today's networks; or nothing."""
    if not metrics.get("published"):
        return ""
    rows = []
    for answer in metrics["answers"]:
        row = answer["best"]
        ours = f"{_predicted(answer['accuracy'], 2)} at {measured_cell(answer)}"
        cells = [*map(escape, _best_cells(row)), _command(row)] if row else ["none", "", "", ""]
        if row and row["ours"]:
            cells[1] = _predicted(row["top1"], 1)
        rows.append([f"{answer['budget']:g}", ours, *cells])
    header = ["budget (ms)", "our answer", "best of all", "top-1", "ms (measured)", "exported by"]
    note = f"{STAR} {EXPLAINED} Slanted numbers are predicted."
    best = table(header, rows, TITLE) + f"<p class='muted'>{note}</p>"
    rows = [
        [
            f"<span title='{escape(row['network'])}'>{escape(row['name'])}</span>",
            *map(escape, cells),
            escape(row["beyond"] or "nothing"),
            escape(row["licence"] or "not named"),
            str(row["resolution"]),
        ]
        for row, cells in zip(metrics["published"], _todays_rows(metrics), strict=True)
    ]
    header = ["network", "top-1 (published)", "ms (measured)", "an answer is better",
              "beyond ImageNet-1k", "licence", "pixels"]  # fmt: skip
    sources = "; ".join(dict.fromkeys(escape(row["source"]) for row in metrics["published"]))
    note = (
        f"<p class='muted'>Published by: {sources}. Any of them is exported by <code>pnag zoo "
        "export NETWORK --pretrained</code>.</p>"
    )
    todays = section("todays", TODAYS, table(header, rows, TODAYS) + note)
    return section("best", TITLE, best) + todays


def _best_cells(row: Row) -> list[str]:
    """Name, top-1 and time of what is best."""
    return [marked_name(row), f"{row['top1']:.1%}", measured_cell(row)]


def _todays_rows(metrics: Row) -> list[list[str]]:
    """Top-1, time, and the budget whose answer is better, of each of today's networks."""
    budgets = {a["arch"]: a["budget"] for a in metrics["answers"]}
    return [
        [
            f"{row['top1']:.1%}",
            measured_cell(row),
            f"{budgets[row['beaten_by']]:g} ms" if row["beaten_by"] else "no",
        ]
        for row in metrics["published"]
    ]


def _command(row: Row) -> str:
    words = re.sub(r" (--[\w-]+)", r" <span class='option'>\1</span>", escape(row["export"]))
    return f"<code class='long'>{words}</code>"


def _predicted(top1: float, digits: int) -> str:
    return f"<em>{top1:.{digits}%}</em>"
