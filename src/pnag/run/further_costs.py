"""What a run keeps of costs besides its own: f takes budgets of them too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pnag.cost.counted import COUNTED, CountedCost
from pnag.cost.latency_model import LatencyModel
from pnag.errors import PnagError
from pnag.files import read_json, write_json
from pnag.run.display import Display
from pnag.run.run_directory import RunDirectory
from pnag.run.size import Size
from pnag.search.predictor import Predictor
from pnag.space import SearchSpace

Kept = Predictor | CountedCost | LatencyModel
"""What a file can keep of a cost: a fit to a table's column, a count, or a device."""


def further_costs(run: RunDirectory) -> dict[str, Path]:
    """The files of what predicts costs besides the run's own, by name; none in a run of one cost.

    Raises:
        PnagError: if the list of them is damaged.
    """
    if not run.further_costs.exists():
        return {}
    named = read_json(run.further_costs)
    if not isinstance(named, dict):
        raise PnagError(f"{run.further_costs} is not a list of costs; run `pnag run` again")
    return {name: run.further_costs.parent / str(file) for name, file in named.items()}


def load_kept_cost(path: Path, space: SearchSpace) -> Kept:
    """Read what predicts a cost, whichever kind the file holds.

    Raises:
        PnagError: if the file is missing, damaged or of another space.
    """
    if path.suffix != ".json":
        return Predictor.load(path, space)
    raw = read_json(path)
    counted = isinstance(raw, dict) and "name" in raw
    return CountedCost.load(path) if counted else LatencyModel.load(path)


def suffix_of(cost: Kept) -> str:
    """Of the file that keeps what predicts a cost."""
    return "safetensors" if isinstance(cost, Predictor) else "json"


def further_files(run: RunDirectory, suffixes: Sequence[str]) -> list[Path]:
    """The files of what predicts further costs, and of the list of them; none without any.

    Args:
        suffixes: of each file, in the order of the costs.
    """
    files = [run.further_cost(number, suffix) for number, suffix in enumerate(suffixes, 1)]
    return [run.further_costs, *files] if files else []


def keep_further_costs(run: RunDirectory, costs: Mapping[str, Kept]) -> None:
    """Write what predicts costs besides the run's own; none leaves a run of one cost."""
    run.further_costs.unlink(missing_ok=True)
    files = {}
    for number, (name, cost) in enumerate(costs.items(), 1):
        path = run.further_cost(number, suffix_of(cost))
        cost.save(path)
        files[name] = path.name
    if files:
        write_json(run.further_costs, files)


def counted_costs(size: Size) -> dict[str, CountedCost]:
    """Parameters, multiply-adds and memory of networks of one size, by name."""
    return {
        name: CountedCost(name, size.of.name, size.resolution, size.num_classes) for name in COUNTED
    }


def counted_costs_stage(run: RunDirectory, size: Size, display: Display) -> None:
    """Let f take budgets of parameters, multiply-adds and memory beside those of latency."""

    def work() -> None:
        keep_further_costs(run, counted_costs(size))

    outputs = further_files(run, ["json"] * len(COUNTED))
    run.stage("counted costs", size.identity(), outputs, work, display.reused)
