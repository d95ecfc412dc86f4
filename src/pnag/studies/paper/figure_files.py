"""All figures of an experiment as files."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from pnag.report.drawing import drawing, legend
from pnag.report.figures import architecture_columns, save_figure
from pnag.run.display import Display
from pnag.studies.paper import figures
from pnag.studies.paper.answers import DRAWN
from pnag.studies.paper.devices import papers_architectures
from pnag.studies.paper.study import Study


def draw_figures(
    study: Study,
    answers: dict[str, list[dict[str, Any]]],
    networks: list[dict[str, Any]],
    busy: str,
    display: Display,
) -> None:
    """Figures A to H as SVG and PNG into the folder `figures`.

    Args:
        networks: the points of D and E. busy: why their times are unsure; may be empty.
    """
    over_latency, pictures = study.paper.figures
    of, device = study.size.of, study.measured_on
    here = f"{study.paper.title} in the paper; here {device['device']}, {device['runtime']}"
    points = [
        figures.Point(row["group"], row["name"], row["milliseconds"], row["top1"], row["spread"])
        for row in networks
    ]
    draws = {method: [np.array(row["draws"]) for row in answers[method]] for method in DRAWN}
    found = {f"{row['budget']:g} ms": row["arch"] for row in answers["pnag"]}
    papers = {f"PNAG-{b:g}": arch for b, arch in papers_architectures(study.device).items()}

    def columns(archs: dict[str, str]) -> Figure:
        return architecture_columns([(t, drawing(of, a)) for t, a in archs.items()], legend(of))

    drawn = {
        "A-models": lambda: figures.models(study.shapes),
        "B-convergence": lambda: figures.convergence(study.losses, study.rewards),
        "C-latency-of-draws": lambda: figures.draw_histograms(
            study.budgets, draws, study.table_costs
        ),
        f"{over_latency}-accuracy-over-latency".lstrip("-"): lambda: figures.accuracy_over_latency(
            points, "\n".join(filter(None, (here, busy)))
        ),
        f"{pictures}-found-here": lambda: columns(found),
        f"{pictures}-of-the-paper": lambda: columns(papers),
        "table-histograms": lambda: figures.table_histograms(
            study.table_costs, study.problem.accuracy, "ms"
        ),
    }
    with display.bar("drawing figures") as bar:
        for done, (name, draw) in enumerate(drawn.items(), 1):
            save_figure(draw(), study.folder / "figures" / name)
            bar.update(done, len(drawn), name)
