"""`pnag generate`: answers of a finished run to other budgets, several budgets, another device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pnag.commands.bodies.another_device import device_run, size_of
from pnag.cost.counted import COUNTED
from pnag.cost.load import load_cost, split_name
from pnag.errors import PnagError
from pnag.files import exists
from pnag.run.amounts import amount
from pnag.run.budgets import Budget, check_units, device_name
from pnag.run.display import Display
from pnag.run.margin import answer_with_margin, margin_of
from pnag.run.recipe import Recipe, load_recipe, make_recipe
from pnag.run.run_directory import RunDirectory, finished_run
from pnag.run.size import Size, family_of_recipe
from pnag.run.stages import best_of_table
from pnag.run.tables import read_table
from pnag.run.trained import (
    Answer,
    load_calibrated_front,
    load_front,
    load_front_calibration,
    load_generator,
    load_labels,
    most_likely,
)
from pnag.search.front import Floats, draw_up_to
from pnag.search.labels import Predicts
from pnag.search.several_budgets import Costs, best_within, cheapest_within
from pnag.space import Tokens
from pnag.threads import torch_threads

STRETCHED = 2000  # architectures from the smallest to the largest, to start from


@dataclass(frozen=True)
class SeveralAnswer:
    """The network for several budgets at once.

    Attributes:
        budgets: as asked, by the cost's name. arch: text form.
        accuracy, costs: predicted; a cost for each budget, at most that budget.
    """

    budgets: dict[str, float]
    arch: str
    accuracy: float
    costs: dict[str, float]


def generate_for(
    path: Path,
    budgets: Mapping[str, Budget],
    devices: list[str],
    size: dict[str, Any],
    *,
    greedy: bool,
    display: Display,
) -> Answer | SeveralAnswer:
    """Answer a finished run's directory to one or several budgets.

    Args:
        budgets: by the cost's name; "" is the run's own cost.
        devices: FILE replaces the run's own cost, NAME=FILE adds a cost (`load_cost` reads it).
        size: what the user says of the networks' size; checked where the run knows it.
        greedy: take the generator's most likely architecture.

    Returns:
        An `Answer` to one budget of the run's own cost, else a `SeveralAnswer`.

    Raises:
        PnagError: for a run that is not finished, an unknown cost or device, and budgets that no
            architecture is within: names the one that cannot be held, and what can.
    """
    run = finished_run(path)
    recipe = make_recipe(load_recipe(run.recipe))
    own_device, named_devices = _split(devices)
    names = own_names(recipe, own_device)
    named = _by_name(budgets, names)
    asked = {name: budget.amount for name, budget in named.items()}
    further = {name: named_devices.get(name, name) for name in asked if name != names[0]}
    _check_names(further, named_devices, asked, names)
    check_units(named, recipe.table.cost if recipe.table and not own_device else None)
    if greedy and further:
        raise PnagError(
            "--greedy goes with one budget of the run's own cost: the generator knows no other"
        )
    sized = size_of(run, recipe, size) if size or own_device or further else Size()
    if recipe.table and (own_device or further):
        display.note(
            f"[dim]costs of networks of {sized.of.label} at {sized.resolution}x"
            f"{sized.resolution} with {sized.num_classes} classes[/dim]"
        )
    costs: dict[str, Predicts] = {
        name: load_cost(spec, sized.of, resolution=sized.resolution, num_classes=sized.num_classes)
        for name, spec in further.items()
    }
    if own_device:
        with torch_threads(recipe.torch_threads):
            run = device_run(run, recipe, own_device, sized, display)
    if not costs:
        space = family_of_recipe(recipe).space
        front, margin = load_calibrated_front(run, space), margin_of(run, recipe)
        result = answer_with_margin(front, space, asked[names[0]], margin)
        return most_likely(run, space, asked[names[0]]) if greedy else result
    return answer_several(run, recipe, names[0], asked, costs, display)


def own_names(recipe: Recipe, device: str | None) -> tuple[str, ...]:
    """What the run's own cost is called, the usual name first."""
    if device:
        return (device,) if device in COUNTED else ("latency", "ms")
    if recipe.table:
        return (recipe.table.cost,)
    return ("latency", "ms", device_name(recipe.latency.runtime))


def _split(devices: list[str]) -> tuple[str | None, dict[str, str]]:
    """The device that replaces the run's own, and the further ones by name."""
    own, named = None, {}
    for text in devices:
        parts = split_name(text)
        if parts and not exists(Path(text)):
            name, file = parts
            if name in named:
                raise PnagError(f"--device {name}=... is given twice; use another name")
            named[name] = file
        elif own:
            raise PnagError(
                f"--device names two devices to generate for, {own} and {text}; give further ones "
                "a name (--device NAME=FILE) and a budget (--budget NAME=MS)"
            )
        else:
            own = text
    return own, named


def _by_name(budgets: Mapping[str, Budget], names: tuple[str, ...]) -> dict[str, Budget]:
    """Budgets with the own cost under its usual name."""
    asked: dict[str, Budget] = {}
    for name, budget in budgets.items():
        usual = names[0] if name in ("", *names) else name
        if usual in asked:
            raise PnagError(
                f"there are two budgets for {usual}: {amount(asked[usual].amount)} and "
                f"{amount(budget.amount)}"
            )
        asked[usual] = budget
    return asked


def _check_names(
    further: dict[str, str],
    named_devices: dict[str, str],
    asked: dict[str, float],
    names: tuple[str, ...],
) -> None:
    for name in named_devices:
        if name in names or name in COUNTED:
            raise PnagError(f"--device {name}=... takes the name of another cost; use another")
        if name not in asked:
            raise PnagError(f"--device {name}=... has no budget; add --budget {name}=MILLISECONDS")
    for name in further:
        if name not in named_devices and name not in COUNTED:
            there = dict.fromkeys([*names, *COUNTED])
            raise PnagError(
                f"there is no cost {name!r}; there are {', '.join(there)}, and that of another "
                f"device with --device {name}=FILE"
            )


def answer_several(
    run: RunDirectory,
    recipe: Recipe,
    own: str,
    budgets: dict[str, float],
    costs: Mapping[str, Predicts],
    display: Display,
) -> SeveralAnswer:
    """The most accurate architecture found that is within all budgets.

    Starts from what the generator draws up to the budget of its own cost, and searches on.

    Args:
        own: name of the run's own cost. costs: the others, by name.

    Raises:
        PnagError: if none is within all: names the budget that cannot be held, and what can.
    """
    space = family_of_recipe(recipe).space
    labels, calibration = load_labels(run, space), load_front_calibration(run)
    names = list(budgets)
    limits = np.array([budgets[name] for name in names])

    def own_cost(tokens: Tokens) -> Floats:
        predicted = labels.cost.predict(tokens)
        return calibration(predicted) if calibration else predicted

    def all_costs(tokens: Tokens) -> Floats:
        return np.stack(
            [own_cost(tokens) if n == own else costs[n].predict(tokens) for n in names], axis=1
        )

    up_to = budgets.get(own, np.inf)
    if calibration:
        up_to = calibration.uncorrected(up_to)
    start = np.concatenate(
        [
            draw_up_to(load_generator(run.generator, space), up_to, recipe.front, recipe.seed),
            load_front(run.front, space).tokens,
            best_of_table(space, read_table(run.table)),
            space.sample_stretched(STRETCHED, np.random.default_rng(recipe.seed)),
        ]
    )

    def search(start: Tokens) -> tuple[Tokens, float]:
        with display.bar("searching within all budgets") as bar:
            return best_within(
                space, start, labels.accuracy.predict, all_costs, limits, recipe.front,
                seed=recipe.seed, progress=bar.update,
            )  # fmt: skip

    tokens, share = search(start)
    if share > 1:
        held = _what_can_be_held(start, tokens, all_costs, names, limits, recipe)
        tokens, share = search(np.concatenate([start, held]))
    values = all_costs(tokens)[0].tolist()
    return SeveralAnswer(
        budgets,
        space.text(tokens)[0],
        float(labels.accuracy.predict(tokens)[0]),
        dict(zip(names, values, strict=True)),
    )


def _what_can_be_held(
    start: Tokens,
    nearest: Tokens,
    costs: Costs,
    names: list[str],
    limits: Floats,
    recipe: Recipe,
) -> Tokens:
    """(1, T) an architecture within all budgets, where the search has overlooked it.

    Raises:
        PnagError: if there is none: names a budget that cannot be held and the least that can.
    """
    settings, seed = recipe.front, recipe.seed
    space = family_of_recipe(recipe).space
    start = np.concatenate([start, nearest])
    for which, name in enumerate(names):  # a budget that no architecture is within
        alone = np.where(np.arange(len(names)) == which, limits, np.inf)
        found = cheapest_within(space, start, costs, alone, which, settings, seed=seed)
        assert found is not None  # there are no other budgets
        if found[1] > limits[which]:
            raise PnagError(
                f"no architecture is within the budget {name} {amount(limits[which])}: the "
                f"cheapest has {amount(found[1])}"
            )
    which = int((costs(nearest)[0] / limits).argmax())
    found = cheapest_within(space, start, costs, limits, which, settings, seed=seed)
    others = " and ".join(
        f"{name} {amount(limit)}" for i, (name, limit) in enumerate(zip(names, limits, strict=True))
        if i != which
    )  # fmt: skip
    if found is None:
        raise PnagError(
            f"no architecture is within all budgets: not even {others} can be held together"
        )
    if found[1] > limits[which]:
        raise PnagError(
            f"no architecture is within all budgets: with {others}, the cheapest has "
            f"{names[which]} {amount(found[1])}, more than the budget "
            f"{amount(limits[which])}; allow that much, or raise another budget"
        )
    return found[0]
