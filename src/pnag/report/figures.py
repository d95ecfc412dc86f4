"""The report's figures for papers, as SVG and PNG; on the page, its script draws them."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from pnag.files import write_bytes
from pnag.report.best_of_all import published_data
from pnag.report.cells import accuracy_axis, table_name
from pnag.report.drawing import Bar, Drawing, Legend, drawing, legend
from pnag.report.results import Results

ANSWER, KNOWN, FRONT, CLOUD = "#d6336c", "#1c7ed6", "#2b8a3e", "#ced4da"
OTHER = "#e8590c"
KERNEL_COLOURS = {3: "#6cbcf2", 5: "#f2a94b", 7: "#e584c0"}  # those of the page
OTHERS = ("known", "published", "tuned_published")  # networks that are timed beside the answers
LINES = "lines: the middle half of the turns"  # through measured points


def write_figures(folder: Path, results: Results) -> list[Path]:
    """Write every figure of a run into a folder, as SVG and as PNG of 200 dots per inch.

    Rows of choices have no picture, and so no figure of the answers' architectures.

    Returns:
        The files.
    """
    metrics, family = results.metrics, results.family
    losses = results.log("evaluator")["ranking_loss"]
    rewards = results.log("generator")["accuracy_within_budget"]
    figures = {
        "accuracy_over_cost": accuracy_over_cost(metrics, results.sampled, results.front),
        "training": training_curves(losses, rewards),
    }
    if family:
        columns = [
            (f"{a['budget']:g} {metrics['unit']}", drawing(family, a["arch"]))
            for a in metrics["answers"]
        ]
        figures["architectures"] = architecture_columns(columns, legend(family))
    if "latency" in metrics:
        figures["latency_model"] = predicted_over_measured(metrics)
    if metrics["source"] == "images":
        figures["supernet"] = supernet_curves(results.log("supernet")["rows"])
    files = []
    for name, figure in figures.items():
        files += save_figure(figure, folder / name)
    return files


def save_figure(figure: Figure, path: Path) -> list[Path]:
    """Write a figure to `path` with .svg and with .png at its end; close it.

    Letters stay letters in the SVG, so that they can be found and edited.
    """
    files = [path.with_name(f"{path.name}.{kind}") for kind in ("svg", "png")]
    for file in files:
        buffer = io.BytesIO()
        with plt.rc_context({"svg.fonttype": "none", "svg.hashsalt": "pnag"}):
            # no date, so that the same figure is the same file
            date = {"Date": None} if file.suffix == ".svg" else None
            figure.savefig(
                buffer, format=file.suffix[1:], bbox_inches="tight", dpi=200, metadata=date
            )
        write_bytes(file, buffer.getvalue())
    plt.close(figure)
    return files


def latency_ticks(low: float, high: float) -> list[float]:
    """Round numbers for a logarithmic axis, at least a few of them."""
    steps = (1, 1.2, 1.5, 2, 3, 4, 5, 6, 8)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [step * 10.0**decade for decade in decades for step in steps]
    return [tick for tick in ticks if low <= tick <= high]


def accuracy_over_cost(metrics: dict[str, Any], table: pd.DataFrame, front: pd.DataFrame) -> Figure:
    """The sampled table, the front, the answers and the networks people know."""
    timed, own = "proof" in metrics, metrics["source"] == "images"
    scale = 100 if timed else 1
    figure, axes = plt.subplots(figsize=(8, 4.8))
    sample = table.sample(min(3000, len(table)), random_state=0)
    axes.scatter(
        sample["cost"], sample["accuracy"] * scale, s=3, color=CLOUD, rasterized=True,
        label=table_name(metrics),
    )  # fmt: skip
    axes.plot(front["cost"], front["accuracy"] * scale, color=FRONT, label="front (predicted)")
    answers = metrics["answers"]
    costs = [a["measured_ms"] if timed else a["cost"] for a in answers]
    accuracies = [a["accuracy"] * scale for a in answers]
    if timed:
        draw_spreads(axes, costs, accuracies, spreads_of(answers), ANSWER)
    axes.scatter(
        costs, accuracies, color=ANSWER, zorder=3, s=50, marker="*",
        label=f"answers (latency measured; {LINES})" if timed else "answers",
    )  # fmt: skip
    if own:
        axes.scatter(
            costs, [a["test_top1"] * scale for a in answers], color=KNOWN, zorder=3, s=30,
            label="answers, fine-tuned (test images)",
        )  # fmt: skip
    for k in metrics.get("known", []):
        draw_spreads(axes, [k["measured_ms"]], [k["top1"] * scale], spreads_of([k]), KNOWN)
        axes.scatter(k["measured_ms"], k["top1"] * scale, color=KNOWN, zorder=3, s=24)
        axes.annotate(
            k["name"], (k["measured_ms"], k["top1"] * scale), xytext=(6, -3),
            textcoords="offset points", fontsize=8, color=KNOWN,
        )  # fmt: skip
    _draw_published(axes, metrics)
    if metrics.get("known"):
        axes.scatter([], [], color=KNOWN, s=24, label="known networks (published, measured)")
    if timed:
        others = [row for kind in OTHERS for row in metrics.get(kind, [])]
        _show_latencies(axes, [*costs, *(row["measured_ms"] for row in others), *front["cost"]])
    axes.set_xlabel("latency (ms)" if timed else f"cost ({metrics['unit']})")
    axes.set_ylabel(accuracy_axis(metrics) + (" (%)" if timed else ""))
    axes.set_title("\n".join(metrics.get("busy", [])), fontsize=7)
    axes.grid(alpha=0.3)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.11), ncols=2, fontsize=8, frameon=False)
    return figure


def _draw_published(axes: Axes, metrics: dict[str, Any]) -> None:
    """Published networks, as they are and fine-tuned, if the run has some."""
    published, tuned = published_data(metrics), metrics.get("tuned_published", [])
    if published["front"]:
        times = [row["measured_ms"] for row in published["timed"]]
        axes.scatter(times, [row["top1"] * 100 for row in published["timed"]], color=OTHER, s=18,
                     marker="^", label="today's networks (published, measured)")  # fmt: skip
        steps = [(row["measured_ms"], row["top1"] * 100) for row in published["front"]]
        axes.step(*zip(*steps, strict=True), where="post", color=OTHER, linestyle="--",
                  label="published front (measured)")  # fmt: skip
    if tuned:
        axes.scatter(
            [row["measured_ms"] for row in tuned], [row["test_top1"] * 100 for row in tuned],
            color=OTHER, s=18, marker="^", label="published networks, fine-tuned (test images)",
        )  # fmt: skip


def _show_latencies(axes: Axes, shown: list[float]) -> None:
    """A logarithmic axis over all that is shown."""
    axes.set_xscale("log")
    ticks = latency_ticks(min(shown) * 0.9, max(shown) * 1.1)
    axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axes.set_xlim(min(shown) * 0.9, max(shown) * 1.35)  # room for the last one's name
    axes.minorticks_off()


def spreads_of(timed: Sequence[dict[str, Any]]) -> list[float]:
    """Of answers or known networks, the spread of their times as a fraction."""
    return [row["measured_spread"] for row in timed]


def draw_spreads(
    axes: Axes, x: Sequence[float], y: Sequence[float], spreads: Sequence[float], colour: str
) -> None:
    """A line through each of (N,) measured points: half of its turns lie on it.

    Args:
        spreads: (N,) half the line's length, as a fraction of x.
    """
    errors = [value * spread for value, spread in zip(x, spreads, strict=True)]
    axes.errorbar(x, y, xerr=errors, fmt="none", ecolor=colour, elinewidth=1, zorder=2)


def predicted_over_measured(metrics: dict[str, Any]) -> Figure:
    """Latency of the check networks and of the answers against the latency model."""
    error = metrics["latency"]
    figure, axes = plt.subplots(figsize=(4.6, 4.4))
    answers = metrics["answers"]
    everything = error["measured_ms"] + [a["measured_ms"] for a in answers]
    low, high = min(everything) * 0.95, max(everything) * 1.05
    axes.fill_between(
        [low, high], [low * 0.95, high * 0.95], [low * 1.05, high * 1.05], color=CLOUD, alpha=0.5,
        label="within 5 %",
    )  # fmt: skip
    axes.plot([low, high], [low, high], color="#868e96", linewidth=1)
    axes.scatter(
        error["measured_ms"], error["predicted_ms"], s=12, color=KNOWN, label="unseen networks"
    )
    measured, predicted = [a["measured_ms"] for a in answers], [a["cost"] for a in answers]
    draw_spreads(axes, measured, predicted, spreads_of(answers), ANSWER)
    axes.scatter(measured, predicted, s=50, marker="*", color=ANSWER, label="answers")
    axes.set_xlabel(f"measured (ms; {LINES})")
    axes.set_ylabel("predicted (ms)")
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure


def training_curves(losses: list[float], rewards: list[float | None]) -> Figure:
    """Ranking loss of the evaluator; accuracy within budget of the generator's samples."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 2.8))
    left.plot(range(1, len(losses) + 1), losses, color=KNOWN)
    left.set_xlabel("step (whole table)")
    left.set_ylabel("ranking loss (F)")
    pairs = [(i + 1, r) for i, r in enumerate(rewards) if r is not None]
    right.plot([i for i, _ in pairs], [r for _, r in pairs], color=ANSWER)
    right.set_xlabel("iteration")
    right.set_ylabel("mean accuracy within budget")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.tight_layout()
    return figure


def supernet_curves(rows: list[dict[str, Any]]) -> Figure:
    """Loss and top-1 of the smallest, random and largest subnet over the supernet's phases."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 2.8))
    with_loss = [row for row in rows if "loss" in row]
    left.plot([row["step"] for row in with_loss], [row["loss"] for row in with_loss], color=KNOWN)
    left.set_ylabel("loss")
    looked = [row for row in rows if "largest" in row]
    for name, colour in (("smallest", KNOWN), ("random", "#15aabf"), ("largest", ANSWER)):
        tops = [row[name] * 100 for row in looked]
        right.plot([row["step"] for row in looked], tops, color=colour, label=name)
    right.set_ylabel("top-1 on validation images (%)")
    right.legend(frameon=False, fontsize=8)
    starts = [row["step"] for before, row in pairwise(rows) if before["phase"] != row["phase"]]
    for axes in (left, right):
        axes.set_xlabel("step (dotted: a phase begins)")
        axes.grid(alpha=0.3)
        for start in starts:
            axes.axvline(start, color="#adb5bd", lw=0.8, ls=":")
    figure.tight_layout()
    return figure


def architecture_columns(columns: list[tuple[str, Drawing]], meaning: Legend) -> Figure:
    """Architectures of one family side by side, as in the paper's Figures F to H.

    A column an architecture, a bar a layer, from the first unit on top to the last: colour is the
    kernel, length the width; a dashed place has no layer.

    Args:
        columns: (title, picture) of each, at least one. meaning: of colours and lengths.
    """
    bar, gap = 1.0, 0.9  # height of a layer's place, and between units
    wide = 1.25  # distance of columns, of which the longest bar takes 1
    sizes = [len(unit) * bar + gap for unit in columns[0][1].units]
    tops = [sum(sizes[:unit]) for unit in range(len(sizes))]
    figure, axes = plt.subplots(figsize=(0.9 + 1.25 * len(columns), 0.21 * sum(sizes) + 0.05))
    for place, (title, drawn) in enumerate(columns):
        left = place * wide
        pixels = f", {drawn.resolution}×{drawn.resolution}" if drawn.resolution else ""
        axes.text(left + 0.5, -0.5, title + pixels, ha="center", fontsize=9, weight="bold")
        for top, unit in zip(tops, drawn.units, strict=True):
            for row, layer in enumerate(unit):
                _draw_bar(axes, left, top + row * bar + 0.08, bar - 0.16, layer)
    axes.set_xlim(-0.1, len(columns) * wide - wide + 1.1)
    axes.set_ylim(sum(sizes), -1.4)
    centres = [top + (size - gap) / 2 for top, size in zip(tops, sizes, strict=True)]
    names = [f"unit {unit + 1}" for unit in range(len(sizes))]
    axes.set_yticks(centres, names, fontsize=8)
    axes.set_xticks([])
    for side in axes.spines.values():
        side.set_visible(False)
    axes.tick_params(length=0)
    handles = [Patch(fc=kernel_colour(k), ec="#495057", label=f"{k}×{k}") for k in meaning.kernels]
    handles.append(Patch(fill=False, ec="#adb5bd", ls="--", label="no layer"))
    axes.legend(
        handles=handles, fontsize=8, ncols=4, loc="upper center", bbox_to_anchor=(0.5, 0.02),
        frameon=False,
    )  # fmt: skip
    return figure


def kernel_colour(kernel: int) -> str:
    """Of a layer's bar; the paper's three have their own."""
    return KERNEL_COLOURS.get(kernel, CLOUD)


def _draw_bar(axes: Axes, left: float, y: float, height: float, layer: Bar | None) -> None:
    if layer is None:
        look: dict[str, Any] = {"fill": False, "ec": "#adb5bd", "ls": (0, (2, 2))}
        axes.add_patch(Rectangle((left, y), 1.0, height, lw=0.6, **look))
        return
    look = {"fc": kernel_colour(layer.kernel), "ec": "#495057"}
    axes.add_patch(Rectangle((left, y), layer.share, height, lw=0.6, **look))
    axes.text(
        left + layer.share / 2, y + height / 2, f"{layer.kernel}×{layer.kernel} e{layer.width}",
        ha="center", va="center_baseline", fontsize=5.5,
    )  # fmt: skip
