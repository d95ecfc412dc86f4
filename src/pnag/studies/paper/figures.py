"""The paper's figures A to E, from what a run and an experiment left behind.

F to H, the pictures of architectures, are `figures.architecture_columns`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from numpy.typing import NDArray

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Patch
from matplotlib.transforms import Bbox

from pnag.report.figures import LINES, draw_spreads, latency_ticks

Floats = NDArray[np.float64]
METHOD_COLOURS = {
    "pnag": "#d6336c",
    "evo": "#2b8a3e",
    "nas-mo": "#e8590c",
    "ofa-mo": "#1c7ed6",
    "paper": "#862e9c",
    "comparator": "#495057",
}
METHOD_NAMES = {
    "pnag": "PNAG",
    "evo": "EVO",
    "nas-mo": "NAS-MO",
    "ofa-mo": "OFA-MO",
    "paper": "PNAG (the paper's architectures)",
    "comparator": "known networks",
}
BINS = 40  # of figure C
TABLE_BINS = 60  # of the table's histograms
SMOOTHED = 25  # iterations of figure B: each one's budgets differ, so its mean jumps


@dataclass(frozen=True)
class Shapes:
    """Of the trained modules, read from their weights.

    Attributes:
        budgets: K. embedding: of a budget. hidden: of the LSTM. tokens: T decisions.
        features: of an architecture, among them its costs, one or several. neurons: of the
            evaluator's two hidden layers.
    """

    budgets: int
    embedding: int
    hidden: int
    tokens: int
    features: int
    costs: int
    neurons: tuple[int, int]

    @classmethod
    def of_weights(
        cls, generator: Mapping[str, tuple[int, ...]], evaluator: Mapping[str, tuple[int, ...]]
    ) -> Shapes:
        """From the shapes of all tensors in both files of weights, by name."""
        one = "embedding.vectors"  # a run of several costs has an embedding for each
        budgets, embedding = generator[one if one in generator else "embedding.parts.0.vectors"]
        tokens, hidden, _ = generator["heads"]
        first, features = evaluator["first.weight"]
        second, _ = evaluator["second.weight"]
        costs = 1 if one in evaluator else evaluator["embedding.unlimited"][0]
        return cls(budgets, embedding, hidden, tokens, features, costs, (first, second))


def models(shapes: Shapes) -> Figure:
    """Figure A: generator and evaluator as they are."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), width_ratios=(1.35, 1))
    _draw_generator(left, shapes)
    _draw_evaluator(right, shapes)
    return figure


def _box(axes: Axes, x: float, y: float, w: float, h: float, text: str, colour: str) -> None:
    style = "round,pad=0.02,rounding_size=0.06"
    axes.add_patch(FancyBboxPatch((x, y), w, h, boxstyle=style, fc=colour, ec="#343a40", lw=1))
    axes.text(x + w / 2, y + h / 2, text, ha="center", va="center", fontsize=8)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.add_patch(
        FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=9, color="#343a40", lw=1)
    )


def _blank(axes: Axes, title: str, width: float, height: float) -> None:
    axes.set_xlim(-0.1, width)
    axes.set_ylim(-0.35, height)
    axes.axis("off")
    axes.set_title(title, fontsize=10)


def _draw_generator(axes: Axes, shapes: Shapes) -> None:
    _blank(axes, r"(a) generator $f(B;\theta)$", 6.2, 4.0)
    decisions = (
        "depth\nunit 1",
        "width\nlayer 1",
        "kernel\nlayer 1",
        "…",
        "kernel,\nlast layer",
    )
    for step, name in enumerate(decisions):
        x = 1.25 * step
        if name == "…":
            axes.text(x + 0.5, 1.75, "…", ha="center", va="center", fontsize=14)
        else:
            _box(axes, x, 1.5, 1.0, 0.5, f"LSTM\n{shapes.hidden}", "#d0ebff")
            _box(axes, x, 2.75, 1.0, 0.6, name, "#ffe3e3")
            _arrow(axes, (x + 0.5, 2.02), (x + 0.5, 2.73))
            axes.text(x + 0.56, 2.36, "softmax", fontsize=6, color="#495057")
            _arrow(axes, (x + 0.5, 0.72), (x + 0.5, 1.48))
        if step + 1 < len(decisions):
            _arrow(axes, (x + 1.03, 1.75), (x + 1.23, 1.75))
            if name != "…" and decisions[step + 1] != "…":
                _arrow(axes, (x + 1.0, 2.8), (x + 1.3, 2.02))
    _box(
        axes, 0, 0.1, 6.0, 0.6,
        f"budget $B$: embedding of {shapes.embedding}\n"
        f"(a learnt vector for each of {shapes.budgets} budgets, linear in between)",
        "#fff3bf",
    )  # fmt: skip
    axes.text(
        0, -0.28,
        f"{shapes.tokens} decisions: per unit a depth, per layer that exists a width and a kernel",
        fontsize=7, color="#495057",
    )  # fmt: skip


def _draw_evaluator(axes: Axes, shapes: Shapes) -> None:
    _blank(axes, r"(b) evaluator $R(\beta\,|\,B;w)$", 4.3, 4.0)
    first, second = shapes.neurons
    choices = shapes.features - 1 - shapes.costs
    costs = "cost" if shapes.costs == 1 else f"{shapes.costs} costs"
    _box(
        axes, 0, 0.1, 2.5, 0.6,
        rf"$\beta$: {choices} one-hot choices," f"\npredicted accuracy and {costs}", "#ffe3e3",
    )  # fmt: skip
    _box(axes, 2.8, 0.1, 1.3, 0.6, f"$B$: embedding\nof {shapes.embedding}", "#fff3bf")
    _box(axes, 0.4, 1.1, 1.7, 0.45, f"linear {first}, ReLU", "#d0ebff")
    _box(axes, 0.4, 2.0, 1.7, 0.45, f"linear {second}, ReLU", "#d0ebff")
    _box(axes, 0.4, 2.9, 1.7, 0.45, "linear 1", "#d0ebff")
    axes.text(1.25, 3.72, r"$R$", ha="center", va="center", fontsize=11)
    for start, end in ((0.72, 1.08), (1.57, 1.98), (2.47, 2.88), (3.37, 3.6)):
        _arrow(axes, (1.25, start), (1.25, end))
    _arrow(axes, (3.45, 0.72), (2.13, 2.2))


def convergence(losses: Sequence[float], rewards: Sequence[float | None]) -> Figure:
    """Figure B: the generator's samples get better, the evaluator's ranking loss falls."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.1))
    known = [(i + 1, r * 100) for i, r in enumerate(rewards) if r is not None]
    steps, values = (np.array(column) for column in zip(*known, strict=True))
    left.plot(steps, values, color=METHOD_COLOURS["pnag"], lw=0.8, alpha=0.35)
    width = min(SMOOTHED, len(values))
    means = np.convolve(values, np.full(width, 1 / width), "valid")
    left.plot(
        steps[width - 1 :], means, color=METHOD_COLOURS["pnag"], lw=1.8,
        label=f"mean of the last {width}",
    )  # fmt: skip
    left.legend(loc="lower right", fontsize=8, frameon=False)
    left.set_xlabel("iteration")
    left.set_ylabel("mean accuracy within budget (%)")
    left.set_title("(a) generator", fontsize=10)
    right.plot(range(1, len(losses) + 1), losses, color=METHOD_COLOURS["ofa-mo"], lw=1.2)
    right.set_xlabel("step (all pairs of the table)")
    right.set_ylabel("pairwise ranking loss (F)")
    right.set_title("(b) evaluator", fontsize=10)
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.tight_layout()
    return figure


def draw_edges(draws: Mapping[str, Sequence[Floats]], sampled: Floats) -> Floats:
    """(BINS + 1,) edges of bins, the same for all histograms of figure C, in ms."""
    everything = np.concatenate([sampled, *(c for costs in draws.values() for c in costs)])
    return np.linspace(everything.min(), everything.max(), BINS + 1)


def draw_histograms(
    budgets: Sequence[float], draws: Mapping[str, Sequence[Floats]], sampled: Floats
) -> Figure:
    """Figure C: costs of what methods generate for each budget, and the share within it.

    Args:
        draws: for each method the (n,) costs for every budget. sampled: (M,) costs of the table.
    """
    figure, rows = plt.subplots(
        1 + len(budgets), 1, figsize=(7.5, 1.35 * (1 + len(budgets))), sharex=True
    )
    edges = draw_edges(draws, sampled)
    rows[0].hist(sampled, edges, color="#ced4da")
    rows[0].set_title("sampled uniformly: what there is", fontsize=8, loc="left")
    for number, (axes, budget) in enumerate(zip(rows[1:], budgets, strict=True)):
        axes.axvline(budget, color="#343a40", ls="--", lw=1)
        parts = []
        for method, costs in draws.items():
            within = float((costs[number] <= budget).mean())
            axes.hist(
                costs[number], edges, color=METHOD_COLOURS[method], alpha=0.55,
                weights=np.full(len(costs[number]), 100 / len(costs[number])),
            )  # fmt: skip
            parts.append(f"{METHOD_NAMES[method]} {within:.0%} within")
        axes.set_title(f"budget {budget:.3g} ms: {', '.join(parts)}", fontsize=8, loc="left")
        axes.set_ylabel("%", fontsize=8)
    handles = [Patch(color=METHOD_COLOURS[m], alpha=0.55, label=METHOD_NAMES[m]) for m in draws]
    rows[-1].set_xlabel("latency (ms)")
    for axes in rows:
        axes.tick_params(labelsize=7)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    figure.tight_layout()
    figure.legend(handles=handles, loc="upper right", ncols=len(handles), fontsize=8, frameon=False)
    return figure


@dataclass(frozen=True)
class Point:
    """A network in figures D and E.

    Attributes:
        top1: as a fraction. spread: of the latency, as a fraction of it.
    """

    group: str
    name: str
    milliseconds: float
    top1: float
    spread: float


def accuracy_over_latency(points: Sequence[Point], title: str) -> Figure:
    """Figures D and E: each method's answers as a line, comparators by name."""
    figure, axes = plt.subplots(figsize=(8.5, 5.4))
    for group in METHOD_NAMES:
        own = sorted((p for p in points if p.group == group), key=lambda p: p.milliseconds)
        if not own:
            continue
        x, y = [p.milliseconds for p in own], [p.top1 * 100 for p in own]
        colour, label = METHOD_COLOURS[group], METHOD_NAMES[group]
        draw_spreads(axes, x, y, [p.spread for p in own], colour)
        if group == "comparator":
            axes.scatter(x, y, s=22, color=colour, label=label, zorder=2)
        else:
            front = group == "pnag"
            axes.plot(
                x, y, marker="*" if front else "o", ms=11 if front else 5, lw=1.6, color=colour,
                label=label, zorder=4 if front else 3, ls="-" if group != "paper" else ":",
            )  # fmt: skip
    axes.set_xscale("log")
    low = min(p.milliseconds * (1 - p.spread) for p in points)
    high = max(p.milliseconds * (1 + p.spread) for p in points)
    ticks = latency_ticks(low * 0.9, high * 1.2)
    axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axes.minorticks_off()
    axes.set_xlim(low * 0.9, high * 1.3)
    axes.set_xlabel(f"latency (ms, measured in turns; {LINES})")
    axes.set_ylabel("ImageNet top-1 (%)")
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.3)
    # Below, as every corner may have a point in it.
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.11), ncols=3, fontsize=8, frameon=False)
    figure.tight_layout()
    figure.draw_without_rendering()  # settles where points are
    _name_comparators(axes, points)
    return figure


def _name_comparators(axes: Axes, points: Sequence[Point]) -> None:
    """Names beside points, on the first side where they cover neither a point nor a name."""
    sides = ((6, 3), (6, -9), (-6, 3), (-6, -9), (6, -14), (-6, -14))
    radius = 9  # of the largest point, in pixels
    around = {}
    for p in points:
        at = axes.transData.transform((p.milliseconds, p.top1 * 100))
        around[p] = Bbox.from_extents(*(at - radius), *(at + radius))
    names: list[Bbox] = []
    for p in points:
        if p.group != "comparator":
            continue
        name = axes.annotate(
            p.name, (p.milliseconds, p.top1 * 100), xytext=(0, 0), textcoords="offset points",
            fontsize=6.5, color=METHOD_COLOURS["comparator"],
        )  # fmt: skip
        taken = [*names, *(box for other, box in around.items() if other != p)]
        for x, y in (*sides, sides[0]):  # the first again, where all are crowded
            name.xyann = (x, y)
            name.set_horizontalalignment("left" if x > 0 else "right")
            box = name.get_window_extent()
            if not any(box.overlaps(other) for other in taken):
                break
        names.append(box)


def table_histograms(cost: Floats, accuracy: Floats, unit: str) -> Figure:
    """Costs and accuracies of the architectures that were sampled."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 2.9))
    left.hist(cost, TABLE_BINS, color=METHOD_COLOURS["ofa-mo"], alpha=0.8)
    left.set_xlabel(f"cost ({unit})")
    left.set_ylabel("architectures")
    right.hist(accuracy * 100, TABLE_BINS, color=METHOD_COLOURS["pnag"], alpha=0.8)
    right.set_xlabel("accuracy (%)")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.suptitle(f"{len(cost):,} architectures, sampled uniformly", fontsize=10)
    figure.tight_layout()
    return figure
