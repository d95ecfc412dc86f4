"""What a run keeps of costs besides its own: f takes budgets of them too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pnag.cost.counted import COUNTED, CountedCost
from pnag.errors import PnagError
from pnag.files import read_json, write_json
from pnag.run.display import Display
from pnag.run.run_directory import RunDirectory
from pnag.run.size import Size
from pnag.search.predictor import Predictor


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


def further_files(run: RunDirectory, names: Sequence[str], suffix: str) -> list[Path]:
    """The files of what predicts further costs, and of the list of them; none without any."""
    numbers = range(1, len(names) + 1)
    return [run.further_costs, *(run.further_cost(n, suffix) for n in numbers)] if names else []


def keep_further_costs(run: RunDirectory, costs: Mapping[str, Predictor | CountedCost]) -> None:
    """Write what predicts costs besides the run's own; none leaves a run of one cost."""
    run.further_costs.unlink(missing_ok=True)
    files = {}
    for number, (name, cost) in enumerate(costs.items(), 1):
        path = run.further_cost(number, "json" if isinstance(cost, CountedCost) else "safetensors")
        cost.save(path)
        files[name] = path.name
    if files:
        write_json(run.further_costs, files)


def counted_costs_stage(run: RunDirectory, size: Size, display: Display) -> None:
    """Let f take budgets of parameters, multiply-adds and memory beside those of latency."""

    def work() -> None:
        counted = {
            name: CountedCost(name, size.of.name, size.resolution, size.num_classes)
            for name in COUNTED
        }
        keep_further_costs(run, counted)

    outputs = further_files(run, list(COUNTED), "json")
    run.stage("counted costs", size.identity(), outputs, work, display.reused)
