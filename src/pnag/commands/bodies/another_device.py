"""A finished run's accuracies with other devices' costs: a generator for them, without images."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape

from pnag.cost.counted import COUNTED, CountedCost
from pnag.cost.latency_model import LatencyModel
from pnag.cost.latency_table import LatencyTable
from pnag.errors import PnagError
from pnag.files import expand_home, file_fingerprint, fingerprint, write_bytes
from pnag.run.budgets import device_name
from pnag.run.display import Display
from pnag.run.further_costs import (
    Kept,
    counted_costs,
    further_costs,
    further_files,
    keep_further_costs,
    load_kept_cost,
    suffix_of,
)
from pnag.run.named_family import named_family
from pnag.run.own_space import space_of_run
from pnag.run.recipe import Recipe, search_settings
from pnag.run.run_directory import RunDirectory
from pnag.run.search_stages import search_stages
from pnag.run.size import Size
from pnag.run.tables import read_table, write_table
from pnag.search.predictor import Predictor
from pnag.space import SearchSpace


@dataclass(frozen=True)
class Devices:
    """What `--device` names.

    Attributes:
        own: takes the place of the run's own cost; None keeps that.
        named: further costs by name. All are as `load_cost` takes them.
    """

    own: str | None
    named: Mapping[str, str]

    def identity(self) -> dict[str, Any]:
        """By the files' content, wherever they lie and however they are called."""
        own = {"cost": _content(self.own)} if self.own else {}
        named = {name: _content(spec) for name, spec in sorted(self.named.items())}
        return own | ({"named": named} if named else {})


def _content(spec: str) -> str:
    return spec if spec in COUNTED else file_fingerprint(expand_home(spec))


def own_names(recipe: Recipe, device: str | None) -> tuple[str, ...]:
    """What the run's own cost is called, the usual name first.

    Args:
        device: that takes its place, if any does.
    """
    if device:
        names = (device,) if device in COUNTED else ("latency", "ms")
        further = recipe.table.further_costs if recipe.table else ()
        return tuple(name for name in names if name not in further) or (
            f"{names[0]} of the device",
        )
    if recipe.table:
        return (recipe.table.cost,)
    return ("latency", "ms", device_name(recipe.latency.runtime))


def size_of(run: RunDirectory, recipe: Recipe, given: dict[str, Any]) -> Size:
    """The size of a run's networks.

    Args:
        given: the parts of `Size` that the user gives. A run that measured a device knows its
            size; one from a table does not, and what is not given is as in `Size`.

    Raises:
        PnagError: if the run's networks are of another size than the user says, or of a family
            that has one width, and the user gives one.
    """
    if recipe.table is not None:
        of = named_family(recipe.table.family, given.get("width_mult"))
        return Size.of_identity(given | of.identity())
    size = Size.of_identity(LatencyTable.load(run.latency_table).identity)
    own = size.identity()
    for name, value in given.items():
        if value != own.get(name):
            has = f"have {own[name]:g}" if name in own else f"are of {size.of.label}"
            raise PnagError(
                f"--{name.replace('_', '-')} is {value:g}, but the networks of {run.path} "
                f"{has}; leave it out, or make a run of that size"
            )
    return size


def device_run(
    run: RunDirectory, recipe: Recipe, devices: Devices, size: Size, display: Display
) -> RunDirectory:
    """Train evaluator and generator of a finished run's accuracies for other devices' costs.

    The generator takes budgets of the run's further costs, of what is counted of networks and of
    the named devices too. What is made is kept in `devices` of the run's directory and reused where
    nothing has changed.

    Args:
        size: of the run's networks.

    Raises:
        PnagError: if there is no such cost, it is of another size, or the run's directory cannot
            be written.
    """
    space = space_of_run(run, recipe)
    names, kept = own_names(recipe, devices.own), further_costs(run)
    own = size.cost(devices.own) if devices.own else load_kept_cost(run.cost_model, space)
    further = _further(kept, space, devices, size, besides=names)
    identity = devices.identity() | size.identity()
    device = _directory(run, devices, fingerprint(identity))
    own_file = {
        CountedCost: device.counted_cost,
        LatencyModel: device.latency_model,
        Predictor: device.cost_predictor,
    }[type(own)]

    def work() -> None:
        own.save(own_file)
        keep_further_costs(device, further)
        write_bytes(device.accuracy_predictor, run.accuracy_predictor.read_bytes())
        table = read_table(run.table)
        tokens = space.encode(table["arch"])
        new = {name: cost for name, cost in further.items() if name not in kept}
        for name, cost in (new | ({"cost": own} if devices.own else {})).items():
            table[name] = cost.predict(tokens)
        write_table(table, device.table)

    outputs = [own_file, device.accuracy_predictor, device.table]
    outputs += further_files(device, [suffix_of(cost) for cost in further.values()])
    inputs = identity | _inputs(run, kept, list(further))
    device.stage("table", inputs, outputs, work, display.reused)
    search_stages(device, space, search_settings(recipe), recipe.seed, display)
    display.note(f"budgets of {escape(', '.join([names[0], *further]))} are answered at once")
    return device


def _further(
    kept: Mapping[str, Path],
    space: SearchSpace,
    devices: Devices,
    size: Size,
    *,
    besides: Collection[str],
) -> dict[str, Kept]:
    """What predicts costs besides the own one, by name, whatever the devices' order is.

    Args:
        kept: files of the run's further costs. besides: names of the own one.
    """
    found: dict[str, Kept] = {name: load_kept_cost(path, space) for name, path in kept.items()}
    found = {**counted_costs(size), **found}  # a table's column goes before a count of its name
    found |= {name: size.cost(spec) for name, spec in sorted(devices.named.items())}
    return {name: cost for name, cost in found.items() if name not in besides}


def _directory(run: RunDirectory, devices: Devices, key: str) -> RunDirectory:
    """Where what is trained for these devices is kept."""
    try:
        return RunDirectory(run.devices / key)
    except PnagError as error:
        search = "" if devices.own else ", or search without keeping anything (--thorough)"
        raise PnagError(
            f"cannot keep a generator for another device in {run.devices}; copy {run.path} to "
            f"where you can write{search}"
        ) from error


def _inputs(run: RunDirectory, kept: Mapping[str, Path], further: list[str]) -> dict[str, Any]:
    """What a device's table depends on besides the devices."""
    files = {"table": run.table, "accuracy": run.accuracy_predictor, "run's cost": run.cost_model}
    found = {name: file_fingerprint(path) for name, path in files.items()}
    of_kept = {name: file_fingerprint(path) for name, path in kept.items()}
    return found | {"kept": of_kept, "further": further}
