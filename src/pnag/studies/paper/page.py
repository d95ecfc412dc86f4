"""`experiment.html`: the paper's table and figures with ours, on one self-contained page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from pnag.families import family
from pnag.families.registry import family_of
from pnag.report.drawing import drawing, legend
from pnag.report.markup import inline_svg, page
from pnag.report.page import size_options, unsure_times
from pnag.report.series import curve, short
from pnag.studies.paper.figures import METHOD_NAMES, TABLE_BINS, Floats, draw_edges
from pnag.studies.paper.table import html_table


@dataclass(frozen=True)
class Experiment:
    """What the page shows.

    Attributes:
        title: of the page. about: paragraphs on what the numbers are.
        found: what `experiment.json` holds.
        networks: rows with `group`, `name`, `milliseconds`, `top1` (fraction), `params_m` and
            `macs_m` (millions); those of our space with `arch`, and `width_mult` if it is not 1.
        answers: of each method, one for each budget; some with `draws`, (n,) ms.
        figures: letters under which the paper shows accuracy over latency ("": it does not) and its
            architectures.
        papers: those, by budget.
        cost, accuracy: (M,) of the table's architectures, ms and fractions.
        losses, rewards: of evaluator and generator, step by step.
        models: figure A, as matplotlib wrote its SVG.
    """

    title: str
    about: list[str]
    found: dict[str, Any]
    networks: list[dict[str, Any]]
    answers: Mapping[str, list[dict[str, Any]]]
    figures: tuple[str, str]
    papers: Mapping[float, str]
    cost: Floats
    accuracy: Floats
    losses: list[float]
    rewards: list[float | None]
    models: str


def experiment_page(shown: Experiment) -> str:
    """The page, as HTML."""
    over_latency, pictures = shown.figures
    return page(
        "experiment.html",
        "experiment.js",
        _data(shown),
        title=escape(shown.title),
        about=unsure_times([shown.found["busy"]])
        + "".join(f"<p>{escape(text)}</p>" for text in shown.about),
        table=html_table(shown.found["rows"], "The paper's table, and here"),
        over_latency=f"Figure {over_latency}: accuracy over latency".removeprefix("Figure : "),
        figure=escape(pictures),
        paper=escape(shown.found["paper"]),
        machine=escape(shown.found["measured_on"]["device"]),
        sampled=f"{len(shown.cost):,}",
        models=inline_svg(shown.models, "Figure A: generator and evaluator, layer by layer"),
    )


def _data(shown: Experiment) -> dict[str, Any]:
    """Everything that the page's script shows."""
    return {
        "percent": True,
        "unit": "ms",
        "accuracyName": "Top-1",
        "costName": "Latency (measured)",
        "names": METHOD_NAMES,
        "networks": [_network(row, shown.found["measured_on"]) for row in shown.networks],
        "draws": _draws(shown),
        "foundHere": [
            _column(row["budget"], row["arch"], [f"{row['accuracy']:.2%}"])
            for row in shown.answers["pnag"]
        ],
        "papers": [_column(budget, arch, []) for budget, arch in shown.papers.items()],
        "legend": legend(family()).as_json(),
        "table": {
            "cost": _histogram(shown.cost),
            "accuracy": _histogram(shown.accuracy * 100),
        },
        "evaluator": curve(list(shown.losses)),
        "generator": curve(shown.rewards),
    }


def _column(budget: float, arch: str, foot: list[str]) -> dict[str, Any]:
    """An architecture among others side by side."""
    return {
        "head": f"{budget:g}", "drawing": drawing(family(), arch).as_json(), "foot": foot
    }  # fmt: skip


def _network(row: dict[str, Any], measured_on: dict[str, Any]) -> dict[str, Any]:
    """One point of figures D and E, as the page's cards have it."""
    network = {
        "group": row["group"],
        "name": row["name"],
        "cost": row["milliseconds"],
        "spread": round(row["spread"], 4),
        "accuracy": row["top1"],
        "params": round(row["params_m"] * 1e6),
        "macs": round(row["macs_m"] * 1e6),
    }
    if "arch" in row:
        device = measured_on | {"width_mult": row.get("width_mult", 1.0)}
        network |= {
            "arch": row["arch"],
            "drawing": drawing(family_of(device), row["arch"]).as_json(),
            "exportOptions": size_options(device),
        }
    return network


def _draws(shown: Experiment) -> dict[str, Any]:
    """Figure C: heights are percent of a method's draws, or of the table."""
    within = shown.found["within"]
    draws = {m: [np.array(row["draws"]) for row in shown.answers[m]] for m in within}
    edges = draw_edges(draws, shown.cost)

    def heights(costs: Floats) -> list[float]:
        return short(np.histogram(costs, edges)[0] * 100 / len(costs))

    return {
        "edges": short(edges),
        "table": heights(shown.cost),
        "budgets": [
            {
                "budget": budget,
                "tableWithin": float((shown.cost <= budget).mean()),
                "methods": {
                    method: {
                        "heights": heights(costs[number]),
                        "within": within[method][number]["share"],
                    }
                    for method, costs in draws.items()
                },
            }
            for number, budget in enumerate(shown.found["budgets"])
        ],
    }


def _histogram(values: Floats) -> dict[str, list[float]]:
    counts, edges = np.histogram(values, TABLE_BINS)
    return {"edges": short(edges), "heights": counts.tolist()}
