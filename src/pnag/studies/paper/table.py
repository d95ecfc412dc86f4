"""The paper's tables with our numbers beside the printed ones: terminal, Markdown and HTML."""

from __future__ import annotations

from html import escape
from typing import Any

from rich.table import Table

from pnag.report.markup import table

COLUMNS = (
    "architecture",
    "paper: ms", "top-1", "params", "MAdds", "GPU days",
    "here: budget", "ms", "top-1", "params", "MAdds",
)  # fmt: skip
# What a terminal of less than so many characters shows: names, milliseconds, top-1, budgets.
WIDE, NARROW = 132, (0, 1, 2, 6, 7, 8)


def experiment_cells(row: dict[str, Any]) -> list[str]:
    """One row's texts, in the order of COLUMNS; "-" for what there is not.

    Top-1 here is the predicted one of our answers; of other networks it is the printed one, which
    is not repeated.
    """
    printed = row.get("printed") or {}

    def number(value: float | None, digits: int, scale: float = 1) -> str:
        return "-" if value is None else f"{value * scale:.{digits}f}"

    return [
        row["name"],
        number(printed.get("latency_ms"), 1),
        number(printed.get("top1"), 1, 100),
        number(printed.get("params_m"), 1),
        number(printed.get("macs_m"), 0),
        printed.get("search_gpu_days") or "-",
        number(row.get("budget"), 2),
        _milliseconds(row),
        number(row.get("top1"), 2, 100),
        number(row.get("params_m"), 1),
        number(row.get("macs_m"), 0),
    ]


def _milliseconds(row: dict[str, Any]) -> str:
    """The measured time with its spread."""
    if row.get("milliseconds") is None:
        return "-"
    return f"{row['milliseconds']:.2f} ±{row['spread']:.1%}"


def _is_ours(row: dict[str, Any]) -> bool:
    return bool(row["group"] == "pnag")


def _notes(rows: list[dict[str, Any]]) -> list[str]:
    """The distinct notes of rows, in their order."""
    return list(dict.fromkeys(row["note"] for row in rows if row.get("note")))


def terminal_table(rows: list[dict[str, Any]], title: str, width: int) -> Table:
    """For a terminal of so many characters; our own rows stand out."""
    columns = [c for c in range(len(COLUMNS)) if width >= WIDE or c in NARROW]
    shown = Table(title=title, title_justify="left", pad_edge=False)
    for c in columns:
        shown.add_column(COLUMNS[c], justify="right" if c else "left", no_wrap=True)
    for row in rows:
        cells = experiment_cells(row)
        shown.add_row(*(cells[c] for c in columns), style="bold" if _is_ours(row) else None)
    return shown


def markdown_table(rows: list[dict[str, Any]]) -> str:
    """For documents, with the notes below."""
    lines = [
        "| " + " | ".join(COLUMNS) + " |",
        "|" + "|".join([" --- "] + [" ---: "] * (len(COLUMNS) - 1)) + "|",
    ]
    notes = _notes(rows)
    for row in rows:
        cells = experiment_cells(row)
        if row.get("note"):
            cells[0] += f" [{notes.index(row['note']) + 1}]"
        if _is_ours(row):
            cells = [f"**{cell}**" for cell in cells]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *(f"{n + 1}. {note}" for n, note in enumerate(notes))]) + "\n"


def html_table(rows: list[dict[str, Any]], label: str) -> str:
    """For the page: what cannot be rebuilt has the reason in the place of our numbers.

    Args:
        label: of the table, for screen readers.
    """
    groups: list[tuple[str, int]] = []
    for column in COLUMNS:
        group, _, _ = column.rpartition(": ")
        if group or not groups:
            groups.append((group, 1))
        else:
            groups[-1] = (groups[-1][0], groups[-1][1] + 1)
    before_ours = len(COLUMNS) - groups[-1][1]
    notes = _notes([row for row in rows if row["group"]])
    shown = []
    for row in rows:
        cells = [escape(cell) for cell in experiment_cells(row)]
        if row["group"] is None:
            cells[before_ours:] = [escape(row["note"])]
        elif row.get("note"):
            cells[0] += f" <sup>{notes.index(row['note']) + 1}</sup>"
        shown.append([f"<b>{cell}</b>" for cell in cells] if _is_ours(row) else cells)
    header = [  # a hyphen that is not broken at, as columns are narrow
        escape(column.rpartition(": ")[2]).replace("-", "\N{NON-BREAKING HYPHEN}")
        for column in COLUMNS
    ]
    below = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return table(header, shown, label, groups) + (
        f"<ol class='muted'>{below}</ol>" if notes else ""
    )
