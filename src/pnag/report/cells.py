"""What a table of answers shows, for the terminal and for the page alike."""

from __future__ import annotations

from typing import Any


def answer_header(timed: bool) -> list[str]:
    """Names of the columns; `timed` where the run measured this machine."""
    first = "top-1 (predicted)" if timed else "accuracy (predicted)"
    header = ["budget", first, "cost (predicted)"]
    return header + (["measured (ms)", "params", "MAdds"] if timed else [])


def answer_cells(answer: dict[str, Any]) -> list[str]:
    """One answer of `metrics.json` in those columns."""
    timed = "measured_ms" in answer
    accuracy = f"{answer['accuracy']:.2%}" if timed else f"{answer['accuracy']:.5g}"
    cells = [f"{answer['budget']:g}", accuracy, f"{answer['cost']:.4g}"]
    if timed:
        cells += [
            measured_cell(answer),
            f"{answer['params'] / 1e6:.1f}M",
            f"{answer['macs'] / 1e6:.0f}M",
        ]
    return cells


def measured_cell(timed: dict[str, Any]) -> str:
    """Measured milliseconds with their spread, of an answer or a known network."""
    return f"{timed['measured_ms']:.2f} ±{timed['measured_spread']:.1%}"
