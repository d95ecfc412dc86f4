"""Every number of a recipe has a range: what is outside is refused by name, its ends work."""

from __future__ import annotations

import math
import types
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import numpy as np
import pytest
import yaml
from pydantic import BaseModel
from typer.testing import CliRunner

from pnag.commands.main import app
from pnag.errors import PnagError
from pnag.ranges import Interval
from pnag.run.recipe import Recipe, make_recipe
from pnag.search.budgets import trained_budgets
from pnag.search.evaluator import EvaluatorSettings, train_evaluator
from pnag.search.front import FrontSettings, find_front
from pnag.search.labels import Labels
from pnag.search.policy_gradient import GeneratorSettings, train_generator
from pnag.search.predictor_fit import PredictorSettings, fit_predictor
from pnag.space import SearchSpace, Tokens

Number = tuple[tuple[str | int, ...], type, Interval | None]
"""Where a number stands in a recipe, int or float, and its range."""
SOURCES: dict[str, dict[str, Any]] = {
    "images": {"source": "images", "images": {"source": "folder"}},
    "table": {"source": "table", "table": {"path": "t.csv", "accuracy": "a", "cost": "c"}},
}


def numbers(kind: Any, place: tuple[str | int, ...] = ()) -> Iterator[Number]:
    """Every number that a type can hold, read off its annotations."""
    if get_origin(kind) is Annotated:
        plain, *notes = get_args(kind)
        interval = next((note for note in notes if isinstance(note, Interval)), None)
        for where, number, _ in numbers(plain, place):
            yield where, number, interval
    elif kind in (int, float):
        yield place, kind, None
    elif get_origin(kind) in (types.UnionType, Union):
        for part in get_args(kind):
            yield from numbers(part, place)
    elif get_origin(kind) is tuple:
        yield from numbers(get_args(kind)[0], (*place, 0))
    elif isinstance(kind, type) and (issubclass(kind, BaseModel) or is_dataclass(kind)):
        hints = get_type_hints(kind, include_extras=True)
        names = (
            list(kind.model_fields)
            if issubclass(kind, BaseModel)
            else [field.name for field in fields(kind)]
        )
        for name in names:
            yield from numbers(hints[name], (*place, name))


ALL = list(numbers(Recipe))


def values_with(place: tuple[str | int, ...], value: float) -> dict[str, Any]:
    """A recipe that has `value` at a place and is right otherwise."""
    values: dict[str, Any] = yaml.safe_load(yaml.safe_dump(SOURCES.get(str(place[0]), {})))
    *path, last = place
    if last == 0:  # of a tuple
        *path, last = path
        here = [value, 1.0] if last in ("scale", "ratio") else [value]
    else:
        here = value  # type: ignore[assignment]
    section = values
    for name in path:
        section = section.setdefault(name, {})
    section[str(last)] = here
    return values


def outside(kind: type, interval: Interval) -> list[float]:
    """Numbers just beyond either end of a range."""
    ends = {name: getattr(interval, name) for name in ("gt", "ge", "lt", "le")}
    wrong: list[float] = [math.nan, math.inf, -math.inf]
    wrong += [ends[name] for name in ("gt", "lt") if ends[name] is not None]
    for name, way in (("ge", -1), ("le", 1)):
        if ends[name] is not None:
            end = ends[name]
            wrong.append(end + way if kind is int else math.nextafter(end, way * math.inf))
    return wrong


def test_all_numbers_are_looked_at() -> None:
    assert len(ALL) > 60
    paths = {".".join(map(str, place)) for place, _, _ in ALL}
    assert {"seed", "evaluator.steps", "budgets.0", "finetune.fit.augment.scale.0"} <= paths


@pytest.mark.parametrize(("place", "kind", "interval"), ALL, ids=lambda x: str(x)[:50])
def test_what_is_outside_is_refused_by_name(
    place: tuple[str | int, ...], kind: type, interval: Interval | None, tmp_path: Path
) -> None:
    name = ".".join(map(str, place))
    assert interval is not None, f"{name} has no range"
    assert interval.ge is not None or interval.gt is not None, f"{name} can be anything below"
    if kind is int:  # of which too many fit into no memory
        assert interval.le is not None or interval.lt is not None, f"{name} can be anything above"
    for value in outside(kind, interval):
        with pytest.raises(PnagError, match=name.replace(".", r"\.")) as error:
            make_recipe(values_with(place, value))
        assert f"{name} is {value!r}" in str(error.value)
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(values_with(place, math.nan)))
    done = CliRunner().invoke(app, ["run", "--recipe", str(path), "--out", str(tmp_path / "out")])
    assert done.exit_code == 2 and f"{name} is nan" in " ".join(done.stderr.split())
    assert not (tmp_path / "out").exists()


def test_settings_made_in_python_have_the_same_ranges() -> None:
    with pytest.raises(ValueError, match="steps must be at least 1 and at most 1,000,000, not 0"):
        EvaluatorSettings(steps=0)
    with pytest.raises(ValueError, match=r"learning_rate must be more than 0 .*not nan"):
        GeneratorSettings(learning_rate=math.nan)
    with pytest.raises(ValueError, match="both to 0"):
        GeneratorSettings(entropy=0)
    assert GeneratorSettings(entropy=0, final_entropy=0).entropy_weight(0.5) == 0


def test_a_section_names_what_does_not_fit_together() -> None:
    with pytest.raises(PnagError, match=r"generator: entropy is 0\.0 and final_entropy is 0\.01"):
        make_recipe({"generator": {"entropy": 0}})


@pytest.mark.parametrize("source", [{}, SOURCES["images"], SOURCES["table"]])
def test_accuracies_of_another_resolution_are_refused(source: dict[str, Any]) -> None:
    with pytest.raises(
        PnagError, match=r"resolutions is \(112,\): it must be some of 128, 160, 192, "
    ):
        make_recipe(source | {"resolution": 112})
    assert make_recipe(source | {"resolution": 224}).resolutions == (224,)
    assert make_recipe(source | {"resolutions": [224, 160]}).resolutions == (160, 224)
    assert make_recipe(source).resolutions == (128, 160, 192, 224)


class _Sum:
    """Of a toy truth: the sum of an architecture's settings, or its root."""

    def __init__(self, power: float) -> None:
        self.power = power

    def predict(self, tokens: Tokens) -> np.ndarray[Any, np.dtype[np.float64]]:
        values: np.ndarray[Any, np.dtype[np.float64]] = SearchSpace().values(tokens).sum(1)
        return values**self.power


def smallest(kind: Any, **others: float) -> Any:
    """Settings with the least number allowed everywhere, where such a one exists."""
    least = {
        str(place[0]): interval.ge
        for place, _, interval in numbers(kind)
        if interval is not None and interval.ge is not None
    }
    return kind(**least | others)


@pytest.mark.parametrize("samples", [1, 2])
def test_the_smallest_numbers_work(samples: int) -> None:
    space, rng = SearchSpace(), np.random.default_rng(0)
    tokens = space.sample(50, rng)
    labels = Labels(space, _Sum(0.5), _Sum(1.0))
    features, accuracy, cost = labels.describe(tokens)
    predictor = fit_predictor(space, tokens, cost.numpy(), settings=smallest(PredictorSettings))
    assert np.isfinite(predictor.predict(tokens)).all()
    budgets = trained_budgets(cost.numpy(), 2)
    evaluator, losses = train_evaluator(
        features, accuracy, cost, budgets, smallest(EvaluatorSettings)
    )
    settings = smallest(GeneratorSettings, iterations=3, samples=samples, refine_steps=1)
    generator, _ = train_generator(space, evaluator, budgets, labels.describe, settings)
    modules = [*evaluator.parameters(), *generator.parameters()]
    assert np.isfinite(losses).all() and all(bool(p.isfinite().all()) for p in modules)
    front, _ = find_front(
        space, generator, labels.label, smallest(FrontSettings, rounds=1), start=tokens[:2]
    )
    space.check(front.tokens)
