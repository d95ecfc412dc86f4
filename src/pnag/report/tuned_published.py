"""Published networks that were fine-tuned beside the answers, for the terminal and for the page."""

from __future__ import annotations

from html import escape
from typing import Any

from rich.table import Table

from pnag.report.best_of_all import STAR, marked_name
from pnag.report.cells import measured_cell
from pnag.report.markup import section, table

TITLE = "Best of all that was fine-tuned, ours or published"
TUNED = "Published networks, fine-tuned and judged as the answers"
EXPLAINED = (
    "The best is chosen by top-1 on test images, so it is a little lower on others. Files lie in "
    "the run's directory."
)
BEST_HEADER = ("budget (ms)", "best", "top-1 (test)", "measured (ms)", "file")
HEADER = ("network", "for (ms)", "epochs", "top-1 (test)", "measured (ms)", "held for (ms)",
          "params")  # fmt: skip
Row = dict[str, Any]


def tuned_tables(metrics: Row) -> list[Table]:
    """For the terminal: the best for each budget, then the networks. None without these."""
    if not metrics.get("tuned_published"):
        return []
    best, tuned = (
        Table(title=title, title_justify="left", caption_justify="left", caption=caption)
        for title, caption in ((TITLE, EXPLAINED), (TUNED, STAR))
    )
    for into, header, rows in (
        (best, BEST_HEADER, _best_rows(metrics)),
        (tuned, HEADER, _tuned_rows(metrics)),
    ):
        for name in header:
            into.add_column(
                name, justify="left" if name in ("best", "network", "file") else "right"
            )
        for row in rows:
            into.add_row(*row)
    return [best, tuned]


def tuned_sections(metrics: Row) -> str:
    """For the page, as HTML: the same; or nothing."""
    if not metrics.get("tuned_published"):
        return ""
    rows = [list(map(escape, row)) for row in _best_rows(metrics)]
    best = table(list(BEST_HEADER), rows, TITLE) + f"<p class='muted'>{EXPLAINED}</p>"
    header = [*HEADER, "published top-1", "beyond ImageNet-1k", "licence of its weights"]
    rows = [
        [
            *map(escape, cells),
            f"{row['published_top1']:.1%}",
            escape(row["beyond"] or "nothing"),
            escape(row["licence"] or "not named"),
        ]
        for row, cells in zip(metrics["tuned_published"], _tuned_rows(metrics), strict=True)
    ]
    sources = "; ".join(dict.fromkeys(row["source"] for row in metrics["tuned_published"]))
    note = f"<p class='muted'>{STAR} Published by: {escape(sources)}.</p>"
    return section("best", TITLE, best) + section("tuned", TUNED, table(header, rows, TUNED) + note)


def _best_rows(metrics: Row) -> list[list[str]]:
    return [
        [f"{answer['budget']:g}", *(_best_cells(answer["best"]) if answer["best"] else _NONE)]
        for answer in metrics["answers"]
    ]


_NONE = ["none held it", "", "", ""]


def _best_cells(row: Row) -> list[str]:
    return [marked_name(row), f"{row['test_top1']:.2%}", measured_cell(row), row["onnx"]]


def _tuned_rows(metrics: Row) -> list[list[str]]:
    budgets = [answer["budget"] for answer in metrics["answers"]]
    return [
        [
            marked_name(row),
            _listed(row["budgets"]),
            f"{row['epochs']:.3g}",
            f"{row['test_top1']:.2%}",
            measured_cell(row),
            _listed([each for each in budgets if row["measured_ms"] <= each]) or "none",
            f"{row['params'] / 1e6:.3g}M",
        ]
        for row in metrics["tuned_published"]
    ]


def _listed(budgets: list[float]) -> str:
    return ", ".join(f"{each:g}" for each in budgets)
