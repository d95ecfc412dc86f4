"""A finished run's accuracies with another device's costs: a generator for it, without images."""

from __future__ import annotations

from typing import Any

from pnag.cost.counted import COUNTED, CountedCost
from pnag.cost.latency_table import LatencyTable
from pnag.errors import PnagError
from pnag.files import expand_home, file_fingerprint, fingerprint, write_bytes, write_json
from pnag.run.display import Display
from pnag.run.named_family import named_family
from pnag.run.own_space import space_of_run
from pnag.run.recipe import Recipe, search_settings
from pnag.run.run_directory import RunDirectory
from pnag.run.search_stages import search_stages
from pnag.run.size import Size
from pnag.run.tables import read_table, write_table


def size_of(run: RunDirectory, recipe: Recipe, given: dict[str, Any]) -> Size:
    """The size of a run's networks.

    Args:
        given: what the user says of `Size`. A run that measured a device knows better; one from a
            table does not, and what is not given is as in `Size`.

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
    run: RunDirectory, recipe: Recipe, spec: str, size: Size, display: Display
) -> RunDirectory:
    """Train evaluator and generator of a finished run's accuracies for another cost.

    They are kept in `devices` of the run's directory and reused where nothing has changed.

    Args:
        spec: the cost, as `load_cost` takes it.
        size: of the run's networks.

    Raises:
        PnagError: if there is no such cost, it is of another size, or the run's directory cannot
            be written.
    """
    cost = size.cost(spec)
    identity = {
        "cost": spec if spec in COUNTED else file_fingerprint(expand_home(spec)),
        **size.identity(),
    }
    key = fingerprint(identity)
    try:
        device = RunDirectory(run.devices / key)
    except PnagError as error:
        raise PnagError(
            f"cannot keep a generator for another device in {run.devices}; copy {run.path} to "
            "where you can write"
        ) from error
    cost_file = device.counted_cost if isinstance(cost, CountedCost) else device.latency_model
    inputs = {
        **identity,
        "table": file_fingerprint(run.table),
        "accuracy": file_fingerprint(run.accuracy_predictor),
    }

    def work() -> None:
        write_json(device.path / "device.json", {"device": spec, **size.identity()})
        cost.save(cost_file)
        write_bytes(device.accuracy_predictor, run.accuracy_predictor.read_bytes())
        table = read_table(run.table)
        table["cost"] = cost.predict(size.of.space.encode(table["arch"]))
        write_table(table, device.table)

    outputs = [cost_file, device.accuracy_predictor, device.table]
    device.stage("table", inputs, outputs, work, display.reused)
    space, settings = space_of_run(device, recipe), search_settings(recipe)
    search_stages(device, space, settings, recipe.seed, display)
    return device
