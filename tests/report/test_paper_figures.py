"""The paper's figures are drawn, from shapes and numbers like a run's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from pnag.report.figures import save_figure
from pnag.search.evaluator import Evaluator
from pnag.search.generator import Generator
from pnag.space import SearchSpace
from pnag.studies.paper.figures import (
    Point,
    Shapes,
    accuracy_over_latency,
    convergence,
    draw_histograms,
    models,
    table_histograms,
)


def test_the_models_are_drawn_with_their_own_sizes(tmp_path: Path) -> None:
    space, budgets = SearchSpace(), torch.linspace(1, 2, 7, dtype=torch.float64)
    of = [
        {name: tuple(value.shape) for name, value in module.state_dict().items()}
        for module in (
            Generator(space, budgets, hidden=48, dimension=24),
            Evaluator(space.num_features + 2, budgets, hidden=96, dimension=24),
        )
    ]
    shapes = Shapes.of_weights(*of)
    assert shapes == Shapes(7, 24, 48, 45, 137, 1, (96, 96))
    svg, png = save_figure(models(shapes), tmp_path / "A")
    text = svg.read_text()
    assert "linear 96, ReLU" in text and "135 one-hot choices" in text
    assert png.stat().st_size > 10_000
    several = torch.stack([budgets, 2 * budgets, 3 * budgets], 1)
    of = [
        {name: tuple(value.shape) for name, value in module.state_dict().items()}
        for module in (
            Generator(space, several, hidden=48, dimension=24),
            Evaluator(space.num_features + 4, several, hidden=96, dimension=24),
        )
    ]
    svg, _ = save_figure(models(Shapes.of_weights(*of)), tmp_path / "several")
    text = svg.read_text()
    assert "135 one-hot choices" in text and "predicted accuracy and 3 costs" in text


def test_histograms_tell_the_share_within_each_budget(tmp_path: Path) -> None:
    draws = {"pnag": [np.array([1.0, 2, 3, 4]), np.array([1.0, 2, 3, 4])],
             "ofa-mo": [np.array([5.0, 6]), np.array([1.0, 6])]}  # fmt: skip
    figure = draw_histograms([3.0, 4.5], draws, np.linspace(1, 8, 50))
    titles = [axes.get_title(loc="left") for axes in figure.axes[1:]]
    assert titles == [
        "budget 3 ms: PNAG 75% within, OFA-MO 0% within",
        "budget 4.5 ms: PNAG 100% within, OFA-MO 50% within",
    ]
    save_figure(figure, tmp_path / "C")


def test_the_rest_is_drawn(tmp_path: Path) -> None:
    points = [
        Point("pnag", "PNAG-30", 5.0, 0.76, 0.1), Point("comparator", "ResNet-18", 20.0, 0.698, 0.3)
    ]  # fmt: skip
    for number, figure in enumerate(
        (
            convergence([1.0, 0.5, 0.2], [None, 0.7, 0.75]),
            accuracy_over_latency(points, "here"),
            table_histograms(np.linspace(1, 2, 90), np.linspace(0.7, 0.8, 90), "ms"),
        )
    ):
        assert all(path.stat().st_size for path in save_figure(figure, tmp_path / f"{number}"))
