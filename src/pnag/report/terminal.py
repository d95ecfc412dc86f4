"""The tables that a run prints."""

from __future__ import annotations

from typing import Any

from rich.table import Table


def answers_table(metrics: dict[str, Any]) -> Table:
    """The answers, one row a budget."""
    unit = metrics["unit"]
    timed = "proof" in metrics
    table = Table(title=f"Best network for each budget ({unit})", title_justify="left")
    table.add_column("budget", justify="right", style="bold")
    table.add_column("top-1 (predicted)" if timed else "accuracy (predicted)", justify="right")
    table.add_column("predicted", justify="right")
    if timed:
        for name in ("measured", "params", "MAdds", "held"):
            table.add_column(name, justify="right")
    table.add_column("architecture", overflow="fold", ratio=1)
    for a in metrics["answers"]:
        accuracy = f"{a['accuracy']:.2%}" if timed else f"{a['accuracy']:.4g}"
        cells = [f"{a['budget']:g}", accuracy, f"{a['cost']:.4g}"]
        if timed:
            cells += [
                f"{a['measured_ms']:.2f} ±{a['measured_spread']:.1%}",
                f"{a['params'] / 1e6:.1f}M",
                f"{a['macs'] / 1e6:.0f}M",
                "[green]yes[/green]" if a["held"] else "[red]no[/red]",
            ]
        table.add_row(*cells, a["arch"])
    return table


def known_table(metrics: dict[str, Any]) -> Table:
    """The networks people know, timed in the same interleaved run."""
    table = Table(title="Timed in the same run", title_justify="left")
    table.add_column("network", style="bold")
    table.add_column("top-1 (published)", justify="right")
    table.add_column("measured (ms)", justify="right")
    table.add_column("an answer is faster and more accurate")
    table.add_column("source", style="dim")
    budgets = {a["arch"]: a["budget"] for a in metrics["answers"]}
    for k in metrics["known"]:
        beaten = k["beaten_by"]
        table.add_row(
            k["name"],
            f"{k['top1']:.1%}",
            f"{k['measured_ms']:.2f} ±{k['measured_spread']:.1%}",
            f"[green]yes, the {budgets[beaten]:g} ms one[/green]" if beaten else "no",
            k["source"],
        )
    return table
