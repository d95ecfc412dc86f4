"""One page and one table of several fronts: devices, or methods on one device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import pandas as pd

from pnag.errors import PnagError
from pnag.families import Family
from pnag.report.drawing import legend
from pnag.report.markup import page, table
from pnag.report.page import front_columns

ANSWER = ("budget", "arch", "accuracy", "cost", "params", "macs")  # what is told of one
PLACES = (0.2, 0.4, 0.6, 0.8, 1.0)  # parts of each range, where ranges do not meet


@dataclass(frozen=True)
class Compared:
    """One front among others.

    Attributes:
        name: short, unique among those compared. path: where it comes from.
        about: where its numbers come from, as HTML; `device` the same in a word, or None.
        unit: of its cost, None where its file does not say. percent: whether accuracies are
            fractions, None where its file does not say. meaning: what they are, for people.
        kind: the same for those that can be compared.
        export_options: of `pnag export`, for its networks.
        budgets: that it was asked for. front: `arch`, `accuracy`, `cost`, `params`, `macs` by
            growing cost and accuracy.
        family: of its architectures.
        margin: share of a prediction by which it may be too small; answers hold budgets even so.
        answered: its own answers where they do not follow from the front, as `answers_data` has
            them.
    """

    name: str
    path: str
    about: str
    device: str | None
    unit: str | None
    percent: bool | None
    meaning: str
    export_options: str
    budgets: list[float]
    front: pd.DataFrame
    family: Family
    margin: float = 0.0
    kind: str = ""
    answered: Sequence[dict[str, Any]] = ()

    @property
    def ends(self) -> tuple[float, float]:
        """Cost of its cheapest and of its most expensive architecture."""
        return float(self.front["cost"].iloc[0]), float(self.front["cost"].iloc[-1])

    @property
    def range(self) -> tuple[float, float]:
        """The budgets that its cheapest and its most expensive architecture hold."""
        low, high = self.ends
        return low * (1 + self.margin), high * (1 + self.margin)

    @property
    def fractions(self) -> bool:
        """Whether its accuracies can be fractions; otherwise they are percentages, or no such."""
        return bool(self.front["accuracy"].max() <= 1)

    def answer(self, budget: float) -> dict[str, Any] | None:
        """Its best architecture within a budget, as `pnag generate` answers; None if all cost more.

        The cheapest may use up the margin.
        """
        for own in self.answered:
            if own["budget"] == budget:
                return {name: own[name] for name in ANSWER}
        costs = self.front["cost"].to_numpy()
        # A budget that is an end of the range is within it, whatever rounding makes of it.
        within = budget / (1 + self.margin) * (1 + 1e-12)
        index = int(np.searchsorted(costs, within, side="right")) - 1
        if index < 0:
            if costs[0] > budget:
                return None
            index = 0
        row = self.front.iloc[index]
        return {
            "budget": budget,
            "arch": row["arch"],
            "accuracy": float(row["accuracy"]),
            "cost": float(row["cost"]),
            "params": int(row["params"]),
            "macs": int(row["macs"]),
        }


@dataclass(frozen=True)
class Comparison:
    """Fronts and their answers, side by side.

    Attributes:
        runs: at least one. unit: of every cost.
        percent: whether all accuracies are fractions. mixed: whether only some can be.
        by: "budget" where all ranges meet and each is asked for the same; else "place", the same
            part of its own range each.
        rows: budget or place, and each run's answer.
    """

    runs: list[Compared]
    unit: str
    percent: bool
    mixed: bool
    by: str
    rows: list[tuple[float, list[dict[str, Any] | None]]]

    def as_json(self) -> dict[str, Any]:
        """What `pnag compare --json` prints."""
        runs = [
            {"name": r.name, "path": r.path, "device": r.device, "cheapest": r.ends[0],
             "dearest": r.ends[1]}
            for r in self.runs
        ]  # fmt: skip
        rows = [
            {self.by: at, "answers": {r.name: a for r, a in zip(self.runs, answers, strict=True)}}
            for at, answers in self.rows
        ]
        return {"unit": self.unit, "aligned_by": self.by, "runs": runs, "rows": rows}


def compare(runs: list[Compared]) -> Comparison:
    """Align the budgets of several fronts.

    Raises:
        PnagError: if there are not two, or their costs are of different units.
    """
    if len(runs) < 2:
        raise PnagError(f"give at least two runs to compare, not {len(runs)}")
    units = {run.unit: run.name for run in runs if run.unit is not None}
    if len(units) > 1:
        listed = ", ".join(f"{name} in {unit}" for unit, name in units.items())
        raise PnagError(f"costs are of different units: {listed}; compare runs of one unit")
    percents = {run.percent for run in runs if run.percent is not None}
    fractions = {run.fractions for run in runs}
    lows, highs = zip(*(run.range for run in runs), strict=True)
    by = "budget" if max(lows) <= min(highs) else "place"
    if by == "budget":
        marks = sorted({budget for run in runs for budget in run.budgets})
        rows = [(budget, [run.answer(budget) for run in runs]) for budget in marks]
    else:
        rows = [(place, [run.answer(budget_at(run, place)) for run in runs]) for place in PLACES]
    percent = percents == {True} and fractions == {True}
    return Comparison(runs, next(iter(units), "cost"), percent, len(fractions) > 1, by, rows)


def budget_at(run: Compared, place: float) -> float:
    """The budget at a part of a run's range, 0 its cheapest architecture, 1 its most expensive."""
    low, high = run.range
    return high if place == 1 else low + place * (high - low)


def accuracy_text(comparison: Comparison, accuracy: float) -> str:
    """An accuracy as the comparison shows it."""
    return f"{accuracy:.2%}" if comparison.percent else f"{accuracy:.5g}"


def mark_name(comparison: Comparison) -> str:
    """What `mark_text` says."""
    return f"budget ({comparison.unit})" if comparison.by == "budget" else "part of its range"


def mark_text(comparison: Comparison, mark: float) -> str:
    """A row's budget or place."""
    return f"{mark:.4g}" if comparison.by == "budget" else f"{mark:.0%}"


def warnings(comparison: Comparison) -> list[str]:
    """What a reader should know before believing that accuracies can be compared."""
    meanings = {run.kind for run in comparison.runs if run.kind}
    texts = []
    if len(meanings) > 1:
        listed = " ".join(f"{run.name}: {run.meaning}" for run in comparison.runs if run.meaning)
        texts.append(f"Accuracies are of different kinds. {listed}")
    tables = [run.name for run in comparison.runs if run.percent is False]
    if tables and len(tables) < len(comparison.runs) and meanings:
        texts.append(
            f"Accuracies of {', '.join(tables)} come from tables of yours: compare them only if "
            "they are of the same kind."
        )
    if comparison.mixed:
        others = ", ".join(run.name for run in comparison.runs if not run.fractions)
        texts.append(
            f"Accuracies of {others} are above 1, and those of the others are fractions: their "
            "units differ, so they are shown as they are, and none is marked as the best."
        )
    unknown = ", ".join(run.name for run in comparison.runs if run.unit is None)
    if unknown:
        texts.append(
            f"The unit of the costs of {unknown} is not known: compare them only if it is "
            + ("that of the others." if comparison.unit == "cost" else f"{comparison.unit}, too.")
        )
    if comparison.by == "place":
        texts.append(
            "Some ranges do not meet, so each run is asked for the same part of its own range "
            "(0 % its cheapest architecture, 100 % its most expensive), not for the same budget."
        )
    return texts


def is_best(
    comparison: Comparison, answer: dict[str, Any], answers: list[dict[str, Any] | None]
) -> bool:
    """Whether an answer is the most accurate of several to one budget, if that can be decided."""
    if comparison.by != "budget" or comparison.mixed:
        return False
    known = [a["accuracy"] for a in answers if a]
    return len(known) > 1 and answer["accuracy"] == max(known)


def compare_page(comparison: Comparison) -> str:
    """The comparison as one self-contained page."""
    header = [escape(mark_name(comparison)), *(escape(run.name) for run in comparison.runs)]
    rows = []
    for mark, answers in comparison.rows:
        cells = []
        for a in answers:
            if a is None:
                cells.append("–")
                continue
            text = accuracy_text(comparison, a["accuracy"])
            shown = f"<b class='yes'>{text}</b>" if is_best(comparison, a, answers) else text
            cells.append(
                f"{shown}<br><span class='muted'>{a['cost']:.4g} {escape(comparison.unit)}, "
                f"{a['params'] / 1e6:.3g}M</span>"
            )
        rows.append([mark_text(comparison, mark), *cells])
    families = {run.family.name: run.family for run in comparison.runs}
    data = {
        "unit": comparison.unit,
        "percent": comparison.percent,
        "by": comparison.by,
        "legend": legend(*families.values()).as_json(),
        "runs": [
            {
                "name": run.name,
                "exportOptions": run.export_options,
                "answered": run.answered,
                "front": front_columns(run.front, run.family),
                "budgets": run.budgets,
                "margin": run.margin,
            }
            for run in comparison.runs
        ],
    }
    names = [f"<li><b>{escape(run.name)}</b>: {run.about}</li>" for run in comparison.runs]
    return page(
        "compare.html",
        "compare.js",
        data,
        title="pnag: " + escape(" / ".join(run.name for run in comparison.runs)),
        about="".join(names),
        warnings="".join(f"<p class='muted'>{escape(w)}</p>" for w in warnings(comparison)),
        unit=escape(comparison.unit) if comparison.by == "budget" else "% of each range",
        answers=table(header, rows, "Best of each front within the budget"),
        best="<p class='muted'>Bold: the best at that budget. Under it: predicted cost, "
        "parameters.</p>"
        if comparison.by == "budget" and not comparison.mixed
        else "<p class='muted'>Under the accuracy: predicted cost, parameters.</p>",
    )
