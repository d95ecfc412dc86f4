"""The report's figures, as SVG texts."""

from __future__ import annotations

import io
import math
from itertools import pairwise
from typing import Any

import matplotlib
import pandas as pd

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from pnag.space import Architecture

ANSWER, KNOWN, FRONT, CLOUD = "#d6336c", "#1c7ed6", "#2b8a3e", "#ced4da"
KERNEL_COLOURS = {3: "#74c0fc", 5: "#ffa94d", 7: "#f06595"}
WIDTH_LENGTHS = {3: 0.5, 4: 0.67, 6: 1.0}


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", bbox_inches="tight")
    plt.close(figure)
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def latency_ticks(low: float, high: float) -> list[float]:
    """Round numbers for a logarithmic axis, at least a few of them."""
    steps = (1, 1.2, 1.5, 2, 3, 4, 5, 6, 8)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [step * 10.0**decade for decade in decades for step in steps]
    return [tick for tick in ticks if low <= tick <= high]


def accuracy_over_cost(metrics: dict[str, Any], table: pd.DataFrame, front: pd.DataFrame) -> str:
    """The sampled table, the front, the answers and the networks people know."""
    timed, own = "proof" in metrics, metrics["source"] == "images"
    scale = 100 if timed else 1
    figure, axes = plt.subplots(figsize=(8, 4.8))
    sample = table.sample(min(3000, len(table)), random_state=0)
    axes.scatter(
        sample["cost"], sample["accuracy"] * scale, s=3, color=CLOUD, rasterized=True,
        label=f"architectures of the table ({'judged' if own else 'predicted'})",
    )  # fmt: skip
    axes.plot(front["cost"], front["accuracy"] * scale, color=FRONT, label="front (predicted)")
    answers = metrics["answers"]
    costs = [a["measured_ms"] if timed else a["cost"] for a in answers]
    axes.scatter(
        costs, [a["accuracy"] * scale for a in answers], color=ANSWER, zorder=3, s=50, marker="*",
        label="answers (latency measured)" if timed else "answers",
    )  # fmt: skip
    if own:
        axes.scatter(
            costs, [a["test_top1"] * scale for a in answers], color=KNOWN, zorder=3, s=30,
            label="answers, fine-tuned (test images)",
        )  # fmt: skip
    for k in metrics.get("known", []):
        axes.scatter(k["measured_ms"], k["top1"] * scale, color=KNOWN, zorder=3, s=24)
        axes.annotate(
            k["name"], (k["measured_ms"], k["top1"] * scale), xytext=(6, -3),
            textcoords="offset points", fontsize=8, color=KNOWN,
        )  # fmt: skip
    if metrics.get("known"):
        axes.scatter([], [], color=KNOWN, s=24, label="known networks (published, measured)")
    if timed:
        axes.set_xscale("log")
        shown = [k["measured_ms"] for k in metrics["known"]] + list(front["cost"])
        ticks = latency_ticks(min(shown) * 0.9, max(shown) * 1.1)
        axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
        axes.set_xlim(min(shown) * 0.9, max(shown) * 1.35)  # room for the last one's name
        axes.minorticks_off()
    axes.set_xlabel("latency (ms)" if timed else f"cost ({metrics['unit']})")
    axes.set_ylabel(("top-1 (%)" if own else "ImageNet top-1 (%)") if timed else "accuracy")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.11), ncols=2, fontsize=8, frameon=False)
    return _svg(figure)


def predicted_over_measured(metrics: dict[str, Any]) -> str:
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
    axes.scatter(
        [a["measured_ms"] for a in answers], [a["cost"] for a in answers], s=50, marker="*",
        color=ANSWER, label="answers",
    )  # fmt: skip
    axes.set_xlabel("measured (ms)")
    axes.set_ylabel("predicted (ms)")
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return _svg(figure)


def training_curves(losses: list[float], rewards: list[float | None]) -> str:
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
    return _svg(figure)


def supernet_curves(rows: list[dict[str, Any]]) -> str:
    """Loss and top-1 of the smallest, random and largest subnet over the supernet's phases."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 2.8))
    steps = [row["step"] for row in rows]
    left.plot(steps, [row["loss"] for row in rows], color=KNOWN)
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
    return _svg(figure)


def architecture_picture(text: str) -> str:
    """One architecture: a row a unit, a bar a layer; colour is kernel, length is width."""
    arch = Architecture.parse(text)
    figure, axes = plt.subplots(figsize=(4.2, 1.7))
    for unit, depth in enumerate(arch.depths):
        for layer in range(depth):
            position = unit * 4 + layer
            kernel, width = arch.kernels[position], arch.widths[position]
            length = 0.9 * WIDTH_LENGTHS[width]
            axes.add_patch(
                Rectangle((layer, unit + 0.1), length, 0.8, color=KERNEL_COLOURS[kernel])
            )
            axes.text(layer + 0.04, unit + 0.53, f"{kernel}·e{width}", va="center", fontsize=6)
    axes.set_xlim(0, 4)
    axes.set_ylim(5, 0)
    axes.set_yticks([u + 0.5 for u in range(5)], [f"unit {u + 1}" for u in range(5)], fontsize=6)
    axes.set_xticks([])
    for side in axes.spines.values():
        side.set_visible(False)
    axes.tick_params(length=0)
    axes.legend(
        handles=[Patch(color=c, label=f"{k}×{k}") for k, c in KERNEL_COLOURS.items()],
        fontsize=6, ncols=3, loc="upper center", bbox_to_anchor=(0.5, 0.0), frameon=False,
    )  # fmt: skip
    return _svg(figure)
