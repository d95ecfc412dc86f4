"""`pnag generate`: answers of a finished run to other budgets, several budgets, another device."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pnag.commands.bodies.another_device import device_run, size_of
from pnag.commands.bodies.several import LoadedRun, SeveralAnswer, answer_several
from pnag.cost.counted import COUNTED
from pnag.cost.load import split_name
from pnag.errors import PnagError
from pnag.files import exists
from pnag.run.amounts import amount
from pnag.run.budgets import Budget, check_units, device_name
from pnag.run.display import Display
from pnag.run.further_costs import further_costs
from pnag.run.margin import answer_with_margin, margin_of
from pnag.run.own_space import space_of_run
from pnag.run.recipe import Recipe, load_recipe, make_recipe
from pnag.run.run_directory import RunDirectory, finished_run
from pnag.run.size import Size
from pnag.run.trained import Answer, load_calibrated_front, most_likely
from pnag.threads import torch_threads


def generate_for(
    path: Path,
    budgets: Mapping[str, Budget],
    devices: list[str],
    size: dict[str, Any],
    *,
    greedy: bool,
    display: Display,
    thorough: bool = False,
) -> Answer | SeveralAnswer:
    """Answer a finished run's directory to one or several budgets.

    Args:
        budgets: by the cost's name; "" is the run's own cost.
        devices: FILE replaces the run's own cost, NAME=FILE adds a cost (`load_cost` reads it).
        size: what the user says of the networks' size; checked where the run knows it.
        greedy: take the generator's most likely architecture.
        thorough: search long, where f's draws, what is known and a short search would answer.

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
    columns = [] if own_device else list(further_costs(run))
    own = (names[0], *columns)
    others = {name: named_devices.get(name, name) for name in asked if name not in own}
    _check_names(others, named_devices, asked, (*names, *columns))
    check_units(named, [recipe.table.cost, *columns] if recipe.table and not own_device else [])
    if greedy and list(asked) != [names[0]]:
        raise PnagError("--greedy goes with one budget of the run's own cost; leave it out")
    if greedy and thorough:
        raise PnagError("--greedy and --thorough are two ways to answer; leave one out")
    if recipe.table and recipe.table.choices and (own_device or others or size):
        raise _no_networks(path, [*names, *columns])
    sized = size_of(run, recipe, size) if size or own_device or others else Size()
    if recipe.table and (own_device or others):
        display.note(
            f"[dim]costs of networks of {sized.of.label} at {sized.resolution}x"
            f"{sized.resolution} with {sized.num_classes} classes[/dim]"
        )
    costs = {name: sized.cost(spec) for name, spec in others.items()}
    if own_device:
        with torch_threads(recipe.torch_threads):
            run = device_run(run, recipe, own_device, sized, display)
    if list(asked) == [names[0]] and not thorough:
        return _answer_one(run, recipe, asked[names[0]], greedy=greedy)
    loaded = LoadedRun.of(run, recipe, names[0])
    found = loaded.quick(asked) if set(asked) <= set(own) and not thorough else None
    return found or answer_several(loaded, asked, costs, display)


def _answer_one(run: RunDirectory, recipe: Recipe, budget: float, *, greedy: bool) -> Answer:
    """The answer to one budget of the run's own cost; refused if none can hold it."""
    space = space_of_run(run, recipe)
    front, margin = load_calibrated_front(run, space), margin_of(run, recipe.margin)
    answer = answer_with_margin(front, space, budget, margin)
    return most_likely(run, space, budget, margin) if greedy else answer


def _no_networks(path: Path, costs: list[str]) -> PnagError:
    """What a run on choices says where something is asked that only networks have."""
    return PnagError(
        f"{path} is a run on a table's own choices, which are not networks that can be counted or "
        f"measured; its costs are {', '.join(costs)}"
    )


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
