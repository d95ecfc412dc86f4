"""A finished run as the paper's study sees it: all that the study takes from a run is here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pnag.commands.bodies.search import problem_of
from pnag.cost.front_calibration import FrontCalibration
from pnag.cost.latency_table import LatencyTable
from pnag.deploy.zoo import check_makers
from pnag.errors import PnagError
from pnag.files import read_json
from pnag.run.display import Display
from pnag.run.recipe import Recipe, load_recipe, make_recipe
from pnag.run.run_directory import RunDirectory, finished_run
from pnag.run.size import Size
from pnag.run.tables import read_table
from pnag.run.timing import runtime_of
from pnag.run.trained import (
    answer,
    load_calibrated_front,
    load_front_calibration,
    load_generator,
    load_labels,
    weight_shapes,
)
from pnag.search.labels import Labels
from pnag.search.methods import Problem
from pnag.space import SearchSpace, Tokens
from pnag.studies.paper.devices import (
    DEVICES,
    Device,
    papers_architectures,
    printed_table,
    zoo_networks,
)
from pnag.studies.paper.figures import Shapes

SPACE = SearchSpace()


@dataclass(frozen=True)
class Study:
    """What all parts of an experiment need.

    Attributes:
        budgets: of this machine, in ms. As many as the paper's stand for those, one by one.
        folder: of the experiment, in the run directory.
    """

    device: str
    run: RunDirectory
    recipe: Recipe
    problem: Problem
    calibration: FrontCalibration
    budgets: tuple[float, ...]
    folder: Path

    @property
    def paper(self) -> Device:
        """The paper's device."""
        return DEVICES[self.device]

    @property
    def page(self) -> Path:
        """The page with everything."""
        return self.folder / "experiment.html"

    @property
    def size(self) -> Size:
        """Of the run's networks."""
        return Size()

    @property
    def rank(self) -> dict[float, int]:
        """Of each of the paper's budgets, the place of the one here that stands for it."""
        paired = len(self.budgets) == len(self.paper.budgets)
        return {theirs: n for n, theirs in enumerate(self.paper.budgets)} if paired else {}

    @cached_property
    def measured_on(self) -> dict[str, Any]:
        """What the run's latency table says about the device."""
        identity: dict[str, Any] = read_json(self.run.latency_table)["identity"]
        return identity

    @cached_property
    def table_costs(self) -> NDArray[np.float64]:
        """(M,) predicted milliseconds of the table's architectures."""
        return self.cost(self.problem.tokens)

    @property
    def losses(self) -> list[float]:
        """The evaluator's ranking loss, step by step."""
        losses: list[float] = read_json(self.run.evaluator_curve)["ranking_loss"]
        return losses

    @property
    def rewards(self) -> list[float | None]:
        """The mean accuracy within budget of the generator's draws, iteration by iteration."""
        rewards: list[float | None] = read_json(self.run.generator_curve)["accuracy_within_budget"]
        return rewards

    @property
    def shapes(self) -> Shapes:
        """Of the trained generator and evaluator."""
        generator, evaluator = self.run.generator, self.run.evaluator
        return Shapes.of_weights(weight_shapes(generator), weight_shapes(evaluator))

    def cost(self, tokens: Tokens) -> NDArray[np.float64]:
        """(N,) predicted milliseconds, corrected by the run's timed ladder."""
        return self.calibration(self.problem.labels.cost.predict(tokens))

    def uncorrected(self, budget: float) -> float:
        """A budget as the run's methods know it, without the ladder's correction."""
        return self.calibration.uncorrected(budget)

    def answer(self, budget: float) -> Tokens:
        """(1, T) the run's own answer to a budget, from its front.

        Raises:
            PnagError: if the cheapest architecture costs more.
        """
        front = load_calibrated_front(self.run, SPACE)
        return SPACE.encode([answer(front, SPACE, budget, " ms").arch])

    def draws(self, budget: float, number: int) -> Tokens:
        """(number, T) what the run's generator draws for a budget."""
        asked = torch.full((number,), self.uncorrected(budget), dtype=torch.float64)
        random = torch.Generator().manual_seed(self.recipe.seed)
        return load_generator(self.run.generator, SPACE).sample(asked, random)

    def stage(
        self, name: str, inputs: Any, output: Path, work: Callable[[], None], display: Display
    ) -> Any:
        """What a part of the experiment writes as JSON, from before if its inputs are the same."""
        stage = f"experiment {self.device}: {name}"
        self.run.stage(stage, inputs, [output], work, display.reused)
        return read_json(output)


def open_study(path: Path, device: str, budgets: list[float]) -> Study:
    """Load a finished `make run`; scale the paper's budgets to this machine.

    The paper's own architecture for a budget of 30 ms took it 29.7 ms: what that architecture takes
    here, times 30 / 29.7, is the budget here. So a budget leaves as much room on both machines.

    Raises:
        PnagError: for an unknown device, or a run that is not finished, is not of ImageNet's
            accuracies, or was measured on another machine or runtime; or if a library that builds
            networks of the table is not installed.
    """
    if device not in DEVICES:
        raise PnagError(f"there is no experiment {device!r}; there are {', '.join(DEVICES)}")
    finished_run(path)
    run = RunDirectory(path)
    recipe = make_recipe(load_recipe(run.recipe))
    if recipe.source != "imagenet":
        raise PnagError(
            f"the run {path} is of {recipe.source}: the paper's study needs ImageNet accuracies, "
            "as `make run` has them"
        )
    if recipe.resolutions != (Size.resolution,):
        raise PnagError(
            f"the networks of {path} choose among {', '.join(map(str, recipe.resolutions))} "
            f"pixels, but the paper's are of {Size.resolution}: make a run of its own with "
            f"`pnag run --resolutions {Size.resolution} --out DIRECTORY`"
        )
    # Now, and not after all searches, comes what is missing to build and to time the networks.
    check_makers(zoo_networks(device))
    LatencyTable.load(run.latency_table).check_runtime(runtime_of(recipe.latency).identity())
    labels = load_labels(run, SPACE)
    problem = problem_of(read_table(run.table), labels)
    calibration = load_front_calibration(run)
    scaled = tuple(sorted(budgets)) or scaled_budgets(DEVICES[device], device, labels, calibration)
    folder = run.path / f"experiment-{device}"
    return Study(device, run, recipe, problem, calibration, scaled, folder)


def scaled_budgets(
    device: Device, key: str, labels: Labels, calibration: FrontCalibration
) -> tuple[float, ...]:
    """The paper's budgets on this machine, in ms."""
    archs = papers_architectures(key)
    tokens = SPACE.encode([archs[budget] for budget in device.budgets])
    costs = calibration(labels.cost.predict(tokens))
    printed = {row.name: row.latency_ms for row in printed_table(device)}
    scaled = [
        cost * budget / (printed.get(f"PNAG-{budget:g}") or budget)
        for budget, cost in zip(device.budgets, costs, strict=True)
    ]
    return tuple(float(f"{value:.3g}") for value in scaled)
