"""What a finished run knows: predictors, generator and front, loaded from its directory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from pnag.cost.front_calibration import AS_PREDICTED, FrontCalibration
from pnag.errors import PnagError
from pnag.files import read_json, write_bytes
from pnag.imagenet import ImagenetTop1
from pnag.run.amounts import rounded_up
from pnag.run.further_costs import further_costs, load_kept_cost
from pnag.run.run_directory import RunDirectory
from pnag.run.tables import read_table
from pnag.search.evaluator import Evaluator
from pnag.search.front import Front
from pnag.search.gaussian_process import GaussianProcess
from pnag.search.generator import Generator
from pnag.search.labels import Labels, Predicts
from pnag.search.predictor import Predictor, space_fingerprint
from pnag.search.sources import SOURCES, F
from pnag.search.vector_front import Known
from pnag.space import SearchSpace

Floats = NDArray[np.float64]
GAUSSIAN_PROCESS = "GaussianProcess of kernel 2"  # weights mean nothing with another kernel


def load_labels(run: RunDirectory, space: SearchSpace) -> Labels:
    """The predictors that the run's table came from or was fitted to."""
    return Labels(
        space,
        _load_accuracy(run.accuracy_predictor, space),
        load_kept_cost(run.cost_model, space),
        tuple(load_kept_cost(path, space) for path in further_costs(run).values()),
    )


def _load_accuracy(path: Path, space: SearchSpace) -> Predicts:
    """The shipped predictor of ImageNet accuracies, or a Gaussian process of one's own table."""
    try:
        with safe_open(path, "pt") as file:
            shipped = "pnag_predictor" in (file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise PnagError(f"cannot read {path}: {error}; run `pnag run` again") from error
    if not shipped:
        return load_gaussian_process(path, space)
    return ImagenetTop1(space) if space.resolutions else Predictor.load(path, space)


def save_gaussian_process(process: GaussianProcess, path: Path) -> None:
    """Write a Gaussian process without its factor, atomically."""
    _save(process.state(), GAUSSIAN_PROCESS, path, process.space)


def load_gaussian_process(path: Path, space: SearchSpace) -> GaussianProcess:
    """Read what `save_gaussian_process` wrote.

    Raises:
        PnagError: if the file is not one.
    """
    try:
        return GaussianProcess.from_state(space, load_state(path, GAUSSIAN_PROCESS, space))
    except (KeyError, ValueError) as error:
        raise PnagError(f"{path} is not a Gaussian process of pnag: {error}") from error


def save_module(module: nn.Module, path: Path, space: SearchSpace) -> None:
    """Write a module's weights, marked with the space they belong to."""
    state = {name: tensor.contiguous() for name, tensor in module.state_dict().items()}
    _save(state, type(module).__name__, path, space)


def _save(state: dict[str, Tensor], kind: str, path: Path, space: SearchSpace) -> None:
    # One entry: safetensors writes several in an order that changes from process to process, and
    # stages are reused by their files' hashes.
    write_bytes(path, save(state, {"pnag": f"{kind} {space_fingerprint(space)}"}))


def load_state(path: Path, kind: str, space: SearchSpace) -> dict[str, Tensor]:
    """Read what `save_module` wrote.

    Raises:
        PnagError: if the file is missing, truncated, foreign, or of another space.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise PnagError(f"cannot read {path}: {error}; run `pnag run` again") from error
    if metadata.get("pnag") != f"{kind} {space_fingerprint(space)}":
        raise PnagError(f"{path} does not hold the weights of this search space's {kind.lower()}")
    return state


def weight_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor in a file of weights, by name.

    Raises:
        PnagError: if the file cannot be read.
    """
    try:
        with safe_open(path, "pt") as file:
            return {n: tuple(file.get_slice(n).get_shape()) for n in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise PnagError(f"cannot read {path}: {error}; run `pnag run` again") from error


def load_evaluator(path: Path, space: SearchSpace) -> Evaluator:
    """A trained evaluator.

    Raises:
        PnagError: if the file is not one.
    """
    state = load_state(path, "Evaluator", space)
    try:
        neurons, features = state["first.weight"].shape
        evaluator = Evaluator(features, *_embedding(state, neurons))
        evaluator.load_state_dict(state)
    except (KeyError, RuntimeError, ValueError) as error:
        raise PnagError(f"{path} is not an evaluator of pnag: {error}") from error
    return evaluator.eval()


def _embedding(state: dict[str, Tensor], hidden: int) -> tuple[Tensor, int, int]:
    """Trained budgets, size of the hidden state and dimension of a module's budget embedding."""
    if "embedding.budgets" in state:
        return state["embedding.budgets"], hidden, state["embedding.vectors"].shape[1]
    costs = len(state["embedding.unlimited"])
    budgets = [state[f"embedding.parts.{c}.budgets"] for c in range(costs)]
    return torch.stack(budgets, 1), hidden, state["embedding.unlimited"].shape[1]


def load_generator(path: Path, space: SearchSpace) -> Generator:
    """The trained generator.

    Raises:
        PnagError: if the file is not one.
    """
    state = load_state(path, "Generator", space)
    try:
        generator = Generator(space, *_embedding(state, state["from_hidden"].shape[0]))
        generator.load_state_dict(state)
    except (KeyError, RuntimeError, ValueError) as error:
        raise PnagError(f"{path} is not a generator of pnag: {error}") from error
    return generator.eval()


def load_front(path: Path, space: SearchSpace) -> Front:
    """The front file.

    Raises:
        PnagError: if it is not one.
    """
    frame = read_table(path)
    try:
        return Front(
            space.encode(frame["arch"]),
            frame["accuracy"].to_numpy(dtype=float),
            frame["cost"].to_numpy(dtype=float),
            _places(frame["from"]) if "from" in frame else None,
        )
    except (KeyError, ValueError) as error:
        raise PnagError(f"{path} is not a front of pnag: {error}") from error


def _places(names: pd.Series) -> NDArray[np.int64]:
    """(N,) places in `SOURCES` of a column of its names."""
    return np.array([SOURCES.index(name) for name in names], np.int64)


def load_vector_front(run: RunDirectory, space: SearchSpace) -> Known:
    """The best architectures of many vectors of budgets.

    Raises:
        PnagError: if the file is not there or not one.
    """
    frame = read_table(run.vector_front)
    try:
        costs = ["cost", *further_costs(run)]
        return Known(
            space.encode(frame["arch"]),
            frame["accuracy"].to_numpy(dtype=float),
            frame[costs].to_numpy(dtype=float),
            _places(frame["from"]),
        )
    except (KeyError, ValueError) as error:
        raise PnagError(f"{run.vector_front} is not a front of pnag: {error}") from error


def load_front_calibration(run: RunDirectory) -> FrontCalibration:
    """The correction of predicted latencies; where the run has timed no ladder, none."""
    path = run.front_calibration
    return FrontCalibration.load(path) if path.exists() else AS_PREDICTED


def uncorrected_cost(run: RunDirectory, cost: float) -> float:
    """The predictor's own cost for one, or a budget, that the timed ladder has corrected."""
    return load_front_calibration(run).uncorrected(cost)


def load_calibrated_front(run: RunDirectory, space: SearchSpace) -> Front:
    """The front with its costs corrected by the timed ladder, where the run has one."""
    front = load_front(run.front, space)
    return replace(front, cost=load_front_calibration(run)(front.cost))


def shown(arch: str) -> dict[str, Any]:
    """An architecture as files show it: `arch` is its text, or `choices` a value by each column."""
    return {"choices": json.loads(arch)} if arch.startswith("{") else {"arch": arch}


@dataclass(frozen=True)
class Answer:
    """The network for one budget.

    Attributes:
        budget: as asked. arch: text form. accuracy, cost: predicted.
        note: what the user should know, e.g. that the budget is above every cost; may be empty.
        source: where it comes from, one of `SOURCES`; empty where that is not known.
    """

    budget: float
    arch: str
    accuracy: float
    cost: float
    note: str = ""
    source: str = ""

    def as_json(self) -> dict[str, Any]:
        """What `architectures.json` holds for it."""
        values = {
            "budget": self.budget,
            **shown(self.arch),
            "accuracy": self.accuracy,
            "cost": self.cost,
        }
        said = {"note": self.note, "from": self.source}
        return values | {name: text for name, text in said.items() if text}

    @classmethod
    def of_json(cls, values: Mapping[str, Any]) -> Answer:
        """What `as_json` gave, or a file has with more beside it."""
        arch = values["arch"] if "arch" in values else json.dumps(values["choices"])
        return cls(
            values["budget"],
            arch,
            values["accuracy"],
            values["cost"],
            values.get("note", ""),
            values.get("from", ""),
        )


def answer(front: Front, space: SearchSpace, budget: float, unit: str = "") -> Answer:
    """The most accurate architecture of the front within a budget.

    Raises:
        PnagError: if the budget is not a positive number or below the cheapest architecture.
    """
    if not np.isfinite(budget) or budget <= 0:
        raise PnagError(f"the budget must be a positive number, not {budget}")
    index = front.best(budget)
    if index is None:
        raise PnagError(
            f"no architecture has a cost within {budget:g}{unit}: the cheapest costs "
            f"{front.cost[0]:.4g}{unit}; ask for at least {rounded_up(float(front.cost[0])):g}"
        )
    note = ""
    if index == len(front.cost) - 1 and budget > front.cost[-1] * 1.02:
        note = (
            f"budget {budget:g}{unit} is more than the best architecture costs "
            f"({front.cost[-1]:.4g}{unit}); no larger one is predicted to be better"
        )
    return answer_at(front, space, index, budget, note)


def answer_at(front: Front, space: SearchSpace, index: int, budget: float, note: str) -> Answer:
    """The architecture at one place of a front, as the answer to a budget."""
    return Answer(
        float(budget),
        space.text(front.tokens[index : index + 1])[0],
        float(front.accuracy[index]),
        float(front.cost[index]),
        note,
        "" if front.source is None else SOURCES[front.source[index]],
    )


def own_answer(run: RunDirectory, budget: float) -> Answer | None:
    """What a run itself has answered to a budget; None if it was not asked for that."""
    if not run.answers.exists():
        return None
    answers = map(Answer.of_json, read_json(run.answers))
    return next((known for known in answers if known.budget == budget), None)


def most_likely(run: RunDirectory, space: SearchSpace, budget: float, margin: float) -> Answer:
    """The generator's single most likely architecture for a budget, within it or not.

    Args:
        margin: share of a prediction that the generator is asked to leave free.
    """
    asked = uncorrected_cost(run, budget / (1 + margin))
    tokens = load_generator(run.generator, space).sample(torch.tensor([asked], dtype=torch.float64))
    accuracy, predicted = load_labels(run, space).label(tokens)
    cost = load_front_calibration(run)(predicted)
    note = "predicted to cost more than the budget" if cost[0] > budget else ""
    return Answer(
        budget, space.text(tokens)[0], float(accuracy[0]), float(cost[0]), note, SOURCES[F]
    )
