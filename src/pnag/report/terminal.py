"""The tables that a run prints."""

from __future__ import annotations

from typing import Any

from rich.markup import escape
from rich.table import Table

from pnag.report.cells import answer_cells, answer_header, measured_cell
from pnag.report.compare import Comparison, accuracy_text, is_best, mark_name, mark_text


def answers_table(metrics: dict[str, Any]) -> Table:
    """The answers, one row a budget."""
    timed = "proof" in metrics
    title = f"Best network for each budget ({escape(metrics['unit'])})"
    table = Table(title=title, title_justify="left")
    for name in answer_header(metrics) + (["held"] if timed else []):
        table.add_column(name, justify="right", style="bold" if name == "budget" else None)
    for a in metrics["answers"]:
        held = ["[green]yes[/green]" if a["held"] else "[red]no[/red]"] if timed else []
        table.add_row(*answer_cells(a), *held)
    return table


def architecture_lines(metrics: dict[str, Any]) -> list[str]:
    """The answers' architectures, one a line: too long for a column of the table."""
    return [f"[bold]{a['budget']:g}[/bold]  {escape(a['arch'])}" for a in metrics["answers"]]


def known_table(metrics: dict[str, Any]) -> Table:
    """The networks people know, timed in the same interleaved run."""
    table = Table(title="Timed in the same run", title_justify="left")
    table.add_column("network", style="bold", no_wrap=True)
    table.add_column("top-1 (published)", justify="right")
    table.add_column("ms (measured)", justify="right")
    table.add_column("beaten by the answer for")
    budgets = {a["arch"]: a["budget"] for a in metrics["answers"]}
    for k in metrics["known"]:
        beaten = k["beaten_by"]
        table.add_row(
            k["name"],
            f"{k['top1']:.1%}",
            measured_cell(k),
            f"[green]yes, {budgets[beaten]:g} ms[/green]" if beaten else "no",
        )
    table.caption = "published by: " + "; ".join(
        dict.fromkeys(k["source"] for k in metrics["known"])
    )
    table.caption_justify = "left"
    return table


def latency_errors_table(runtimes: list[str], errors: list[dict[str, Any]]) -> Table:
    """How well the latency model predicts unseen networks, one row a runtime.

    Args:
        errors: the fields of `ModelError`, and `minutes` that measuring took.
    """
    table = Table(
        title=f"Latency model on {errors[0]['networks']} unseen networks", title_justify="left"
    )
    table.add_column("runtime", style="bold", no_wrap=True)
    for name in ("mean error", "within 5 %", "within 10 %", "tau", "minutes"):
        table.add_column(name, justify="right")
    for name, e in zip(runtimes, errors, strict=True):
        table.add_row(
            name,
            f"{e['mape']:.1%}",
            f"{e['within_5']:.0%}",
            f"{e['within_10']:.0%}",
            f"{e['tau']:.3f}",
            f"{e['minutes']:.1f}",
        )
    return table


def compare_table(comparison: Comparison) -> Table:
    """Each run's answers, budgets aligned; the best at a budget in green."""
    table = Table(title="Best network of each run", title_justify="left")
    table.add_column(escape(mark_name(comparison)), style="bold", justify="right")
    for run in comparison.runs:
        table.add_column(escape(run.name), justify="right")
    for mark, answers in comparison.rows:
        cells = []
        for a in answers:
            if a is None:
                cells.append("-")
                continue
            text = f"{accuracy_text(comparison, a['accuracy'])}, {a['cost']:.4g}"
            best = is_best(comparison, a, answers)
            cells.append(f"[green]{text}[/green]" if best else text)
        table.add_row(mark_text(comparison, mark), *cells)
    table.caption = f"predicted accuracy, cost ({escape(comparison.unit)})"
    table.caption_justify = "left"
    return table
