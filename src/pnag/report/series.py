"""Numbers of charts, shortened to what the eye can see on a page."""

from __future__ import annotations

from collections.abc import Iterable

CURVE = 600  # points of a training curve that are drawn


def short(values: Iterable[float]) -> list[float]:
    """Five digits, which look like all of them on a chart."""
    return [float(f"{value:.5g}") for value in values]


def curve(values: list[float | None]) -> list[list[float]]:
    """(step, value) of a curve, means of as many steps each as it takes to have few points."""
    known = [(step, value) for step, value in enumerate(values, 1) if value is not None]
    each = -(-len(known) // CURVE) or 1
    parts = [known[start : start + each] for start in range(0, len(known), each)]
    return [
        [part[-1][0], float(f"{sum(value for _, value in part) / len(part):.6g}")] for part in parts
    ]
