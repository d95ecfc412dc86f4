"""`pnag generate`: answers of a finished run to other budgets, several budgets, another device."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pnag.commands.bodies.another_device import Devices, device_run, own_names, size_of
from pnag.commands.bodies.several import LoadedRun, SeveralAnswer, answer_several
from pnag.cost.counted import COUNTED
from pnag.cost.load import split_name
from pnag.errors import PnagError
from pnag.files import exists
from pnag.run.amounts import amount
from pnag.run.budgets import Budget, check_units
from pnag.run.display import Display
from pnag.run.further_costs import further_costs
from pnag.run.margin import answer_with_margin, margin_of
from pnag.run.own_space import space_of_run
from pnag.run.recipe import RESERVED, Recipe, load_recipe, make_recipe
from pnag.run.run_directory import RunDirectory, finished_run
from pnag.run.size import Size
from pnag.run.trained import Answer, load_calibrated_front, most_likely, own_answer
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
        devices: FILE replaces the run's own cost, NAME=FILE adds a cost (`load_cost` reads it). A
            generator is trained for them once, and kept.
        size: the networks' size as the user gives it; checked where the run knows it.
        greedy: take the generator's most likely architecture.
        thorough: search long, where f's draws, what is known and a short search would answer;
            nothing is trained for devices that only add costs.

    Returns:
        An `Answer` to one budget of the run's own cost, else a `SeveralAnswer`.

    Raises:
        PnagError: for a run that is not finished, an unknown cost or device, and budgets that no
            architecture is within: names the one that cannot be held, and what can.
    """
    run = finished_run(path)
    recipe = make_recipe(load_recipe(run.recipe))
    given = _split(devices)
    names = own_names(recipe, given.own)
    named = _by_name(budgets, names)
    asked = {name: budget.amount for name, budget in named.items()}
    columns = [name for name in further_costs(run) if name not in names]
    _check_names(given, asked, (*names, *columns))
    own_column = [] if given.own else names
    check_units(named, [*own_column, *columns] if recipe.table else [])
    if greedy and list(asked) != [names[0]]:
        raise PnagError("--greedy goes with one budget of the run's own cost; leave it out")
    if greedy and thorough:
        raise PnagError("--greedy and --thorough are two ways to answer; leave one out")
    counted = [name for name in asked if name in COUNTED and name not in (*names, *columns)]
    of_networks = bool(devices or counted)
    if recipe.table and recipe.table.choices and (of_networks or size):
        raise _no_networks(path, [*names, *columns])
    sized = size_of(run, recipe, size) if size or of_networks else Size()
    if recipe.table and of_networks:
        _tell_size(sized, display)
    trained = run
    if given.own or (devices and not thorough):
        with torch_threads(recipe.torch_threads):
            trained = device_run(run, recipe, given, sized, display)
    if list(asked) == [names[0]] and not thorough:
        return _answer_one(trained, recipe, asked[names[0]], greedy=greedy)
    loaded = LoadedRun.of(trained, recipe, names[0], times=trained if given.own else run)
    others = [name for name in asked if name not in (names[0], *loaded.columns)]
    found = None if others or thorough else loaded.quick(asked)
    costs = {name: sized.cost(given.named.get(name, name)) for name in others}
    found = found or answer_several(loaded, asked, costs, display)
    return found if list(asked) != [names[0]] else _to_one(found)


def _to_one(found: SeveralAnswer) -> Answer:
    """What was found for one budget, as other answers to one are."""
    (budget,), (cost,) = found.budgets.values(), found.costs.values()
    return Answer(budget, found.arch, found.accuracy, cost, found.note, found.source)


def _answer_one(run: RunDirectory, recipe: Recipe, budget: float, *, greedy: bool) -> Answer:
    """The answer to one budget of the run's own cost; an error if nothing is within it.

    A run on images has tuned its own answers, which it does not choose by the front alone.
    """
    if recipe.images and not greedy and (known := own_answer(run, budget)):
        return known
    space = space_of_run(run, recipe)
    front, margin = load_calibrated_front(run, space), margin_of(run, recipe.margin)
    answer = answer_with_margin(front, space, budget, margin)
    return most_likely(run, space, budget, margin) if greedy else answer


def _tell_size(size: Size, display: Display) -> None:
    """Say what networks are counted and looked up, which a run of a table does not know."""
    display.note(
        f"[dim]costs of networks of {size.of.label} at {size.resolution}x{size.resolution} with "
        f"{size.num_classes} classes[/dim]"
    )


def _no_networks(path: Path, costs: list[str]) -> PnagError:
    """The error of a run on choices that is asked for what only networks have."""
    return PnagError(
        f"{path} is a run on a table's own choices, which are not networks that can be counted or "
        f"measured; its costs are {', '.join(costs)}"
    )


def _split(devices: list[str]) -> Devices:
    """The device that replaces the run's own, and the further ones by name."""
    own: str | None = None
    named: dict[str, str] = {}
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
    return Devices(own, named)


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


def _check_names(devices: Devices, asked: Mapping[str, float], names: tuple[str, ...]) -> None:
    """Refuse devices without a name or a budget of their own, and budgets of unknown costs.

    Args:
        names: of the run's costs.
    """
    for name in devices.named:
        if name in names or name in COUNTED or name in RESERVED:
            raise PnagError(f"--device {name}=... takes the name of another cost; use another")
        if name not in asked:
            raise PnagError(f"--device {name}=... has no budget; add --budget {name}=MILLISECONDS")
    for name in asked:
        if name not in devices.named and name not in COUNTED and name not in names:
            there = dict.fromkeys([*names, *COUNTED])
            raise PnagError(
                f"there is no cost {name!r}; there are {', '.join(there)}, and that of another "
                f"device with --device {name}=FILE"
            )
