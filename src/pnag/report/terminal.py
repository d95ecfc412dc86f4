"""The tables that a run prints."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from pnag.report.cells import answer_cells, answer_header, measured_cell


def answers_table(metrics: dict[str, Any]) -> Table:
    """The answers, one row a budget."""
    timed = "proof" in metrics
    table = Table(title=f"Best network for each budget ({metrics['unit']})", title_justify="left")
    for name in answer_header(metrics) + (["held"] if timed else []):
        table.add_column(name, justify="right", style="bold" if name == "budget" else None)
    for a in metrics["answers"]:
        held = ["[green]yes[/green]" if a["held"] else "[red]no[/red]"] if timed else []
        table.add_row(*answer_cells(a), *held)
    return table


def architecture_lines(metrics: dict[str, Any]) -> list[str]:
    """The answers' architectures, one a line: too long for a column of the table."""
    return [f"[bold]{a['budget']:g}[/bold]  {a['arch']}" for a in metrics["answers"]]


def known_table(metrics: dict[str, Any]) -> Table:
    """The networks people know, timed in the same interleaved run."""
    table = Table(title="Timed in the same run", title_justify="left")
    table.add_column("network", style="bold", no_wrap=True)
    table.add_column("top-1 (published)", justify="right")
    table.add_column("measured (ms)", justify="right")
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
