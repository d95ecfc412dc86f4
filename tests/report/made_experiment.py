"""An experiment as `pnag experiment` leaves it, made in a moment from made-up answers and times."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from made_runs import DEVICE, make_run
from rich.console import Console
from safetensors.torch import save_file

from pnag.cost.front_calibration import AS_PREDICTED
from pnag.cost.latency_model import LatencyModel
from pnag.files import write_json
from pnag.run.display import Display
from pnag.run.recipe import make_recipe
from pnag.run.run_directory import RunDirectory
from pnag.search.evaluator import Evaluator
from pnag.search.generator import Generator
from pnag.search.labels import Labels
from pnag.search.methods import Problem
from pnag.space import SearchSpace
from pnag.studies.paper.answers import DRAWN, METHODS
from pnag.studies.paper.devices import DEVICES, zoo_networks
from pnag.studies.paper.experiment import save_results
from pnag.studies.paper.study import Study, scaled_budgets

SPACE = SearchSpace()
COST = LatencyModel(1.0, np.linspace(0.2, 0.8, 90))


def make_experiment(path: Path, device: str, unsteady: int = 0) -> tuple[Study, dict[str, Any]]:
    """Fill the run directory `path`, and its folder of the experiment.

    Args:
        unsteady: disturbed turns, on a machine whose speed moved by 31 %.

    Returns:
        The study, and what its `experiment.json` holds.
    """
    make_run(path, "imagenet")
    run, rng = RunDirectory(path), np.random.default_rng(0)
    write_json(run.latency_table, {"identity": DEVICE | {"batch": 1, "resolution": 224}})
    budgets = torch.linspace(1, 2, 7, dtype=torch.float64)
    save_file(Generator(SPACE, budgets).state_dict(), run.generator)
    save_file(Evaluator(SPACE.num_features + 2, budgets).state_dict(), run.evaluator)
    tokens = SPACE.sample(2000, rng)
    cost = COST.predict(tokens)
    accuracy = 0.78 - 0.1 * np.exp(-cost / cost.mean()) - 0.01 * rng.random(len(cost))
    labels = Labels(SPACE, COST, COST)
    scaled = scaled_budgets(DEVICES[device], device, labels, AS_PREDICTED)
    problem = Problem(SPACE, tokens, accuracy, cost, labels)
    study = Study(
        device, run, make_recipe({}), problem, AS_PREDICTED, scaled, path / f"experiment-{device}"
    )

    def answer(method: str, budget: float, worse: int) -> dict[str, Any]:
        within = np.flatnonzero(cost <= max(budget, float(np.sort(cost)[9])))
        best = within[np.argsort(-accuracy[within])[worse]]
        draws = rng.normal(budget * (0.97 + 0.01 * worse), budget * 0.02 * (1 + worse), 300)
        row = {"budget": budget, "arch": SPACE.text(tokens[best : best + 1])[0]}
        row |= {"accuracy": accuracy[best], "cost": cost[best]}
        return row | ({"draws": draws.tolist()} if method in DRAWN else {})

    answers = {
        method: [answer(method, budget, worse) for budget in scaled]
        for worse, method in enumerate(("pnag", *METHODS))
    }
    timed = {row["arch"]: row["cost"] for rows in answers.values() for row in rows}
    keys = [network.key for network in zoo_networks(device)]
    timed |= dict(zip(keys, np.geomspace(scaled[0] * 0.8, scaled[-1] * 2, len(keys)), strict=True))
    times = {"networks": {name: {"milliseconds": ms, "spread": 0.01} for name, ms in timed.items()},
             "speed": 1.0, "drift": 0.31 if unsteady else 0.01, "remeasured": 0,
             "unsteady": unsteady}  # fmt: skip
    return study, save_results(study, answers, times, Display(Console(quiet=True)))
