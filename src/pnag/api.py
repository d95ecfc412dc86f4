"""Runs from Python: what `pnag run`, `pnag generate` and `pnag export` do, as functions.

```python
run = pnag.find(table="times.csv", accuracy="top1", cost="ms", out="runs/times")
run.answer(7.5).arch
run.answer(ms=7.5, params="6M").costs
run.export("onnx", budget=7.5, weights="supernet.safetensors", images="photos")
```
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, Unpack

import pandas as pd
from rich.console import Console
from rich.text import Text

from pnag.commands.bodies.asked_recipe import asked_values
from pnag.commands.bodies.export import NOTE, Asked, export_all
from pnag.commands.bodies.exportable import FRESH
from pnag.commands.bodies.generate import generate_for
from pnag.commands.bodies.several import SeveralAnswer
from pnag.commands.options import look_for, parse_budget, parse_named_budgets
from pnag.consoles import make_console
from pnag.errors import PnagError
from pnag.files import read_json
from pnag.near_names import near
from pnag.run.display import Display
from pnag.run.recipe import make_recipe
from pnag.run.run import run_pipeline
from pnag.run.run_directory import finished_run
from pnag.run.tables import read_table
from pnag.run.trained import Answer, load_front_calibration

Amount = float | str
"""A budget: a number, or text with a multiple or a unit, such as "6M" or "7.5ms"."""


class Options(TypedDict, total=False):
    """The options of `pnag run` (`pnag run --help` explains each), without the dashes."""

    budgets: Sequence[float] | float | str
    table: Path | str
    accuracy: str
    cost: Sequence[str] | str
    choices: Sequence[str] | str
    images: Path | str
    classes: int
    on_corrupt: str
    max_megapixels: float
    cache: Path | str
    minutes: float
    start: Path | str
    weights: Path | str
    family: str
    resolution: int
    resolutions: Sequence[int] | int | str
    width_mult: float
    epochs: int
    train_method: str
    finetune_epochs: int
    also_finetune: int
    architectures: int
    rounds: int
    train_in_rounds: bool
    per_round: int
    published: bool
    runtime: str
    threads: int
    adb: str
    margin: float
    compare: int | str
    time_again: bool
    ray_address: str
    seed: int
    recipe: Path | str


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        path: its directory.
    """

    path: Path

    @property
    def answers(self) -> tuple[Answer, ...]:
        """The answers to the run's own budgets, cheapest first."""
        return tuple(map(Answer.of_json, read_json(finished_run(self.path).answers)))

    @property
    def front(self) -> pd.DataFrame:
        """Columns `arch`, `accuracy`, `cost` (predicted) and `from`, one row for each network.

        Costs are corrected as those of answers are, by networks that the run has timed; in
        `front.parquet` they are not.
        """
        files = finished_run(self.path)
        front, calibration = read_table(files.front), load_front_calibration(files)
        return front.assign(cost=calibration(front["cost"].to_numpy(dtype=float)))

    @property
    def metrics(self) -> dict[str, Any]:
        """All of `metrics.json`, such as measured answers, predictors' errors and the device."""
        found: dict[str, Any] = read_json(finished_run(self.path).metrics)
        return found

    def answer(
        self, budget: Amount | None = None, *, thorough: bool = False, **budgets: Amount
    ) -> Answer | SeveralAnswer:
        """The best network within a budget, or within several at once.

        Args:
            budget: for the run's own cost.
            thorough: search for half a minute instead of answering at once.
            budgets: for other costs by their names, such as `params="6M"`.

        Raises:
            PnagError: for an unknown cost, budgets that no network is within, or no budget.
        """
        if budget is None and not budgets:
            raise PnagError("there is no budget to answer; give one, such as answer(7.5)")
        written = [f"{name}={amount}" for name, amount in budgets.items()]
        if budget is not None:
            written.insert(0, str(budget))
        return generate_for(
            self.path, parse_named_budgets(written), [], {},
            greedy=False, thorough=thorough, display=_display(show=False),
        )  # fmt: skip

    def export(
        self,
        to: str = "onnx",
        *,
        budget: Amount | None = None,
        weights: Path | str | None = None,
        images: Path | str | None = None,
        out: Path | str | None = None,
        batch: int = 1,
    ) -> list[Path]:
        """Write the run's networks in the format of a runtime, each checked against torch.

        Those of a run on images are fine-tuned. All others have fresh weights, which predict
        nothing, unless `weights` are given; a warning says so, and what else is uncertain.

        Args:
            to: a format of `pnag export --to`.
            budget: export only the best answer within it; None exports all answers.
            weights: supernet that the weights are of: "published" (Once-for-All's, of ImageNet), a
                run's `supernet.safetensors`, or a checkpoint.
            images: on which the batch norms of a subnet of `weights` are measured, named as for
                `find`; without them the supernet's are kept, which fit no single subnet.
            out: folder for the files; None is the run's `exports`.
            batch: how many images the network takes at a time.

        Returns:
            The networks' files. Beside each are its preprocessing and an example that loads it.

        Raises:
            PnagError: for an unknown format or one whose package is missing, if no answer is within
                the budget, and for weights or images that do not fit.
        """
        if not isinstance(batch, int) or batch < 1:
            raise PnagError(f"batch must be a whole number from 1, not {batch!r}")
        asked = Asked(
            to,
            None if out is None else Path(out),
            None if budget is None else parse_budget(str(budget)),
            None if weights is None else str(weights),
            None if images is None else str(images),
            batch=batch,
        )
        look_for(asked.images)
        files: list[Path] = []
        lines = list(export_all(str(self.path), asked, written=files.append))
        said = [line.removeprefix(NOTE) for line in lines if line.startswith(NOTE)]
        notes = [Text.from_markup(line).plain for line in said]
        if any(note.endswith(FRESH) for note in notes):
            notes.append("give `weights` of a trained supernet, such as 'published' on ImageNet")
        if notes:
            warnings.warn("\n".join(notes), stacklevel=2)
        return files


def find(out: Path | str, *, show: bool = True, **options: Unpack[Options]) -> Run:
    """Do all that `pnag run` does, or continue a run that was stopped.

    Args:
        out: the run's directory.
        show: whether to show progress on standard error.
        options: those of `pnag run`, with lists instead of commas.

    Raises:
        PnagError: for an unknown option, and for anything else that the user can fix.
    """
    _refuse_unknown(options)
    given = {name: _as_given(name, value) for name, value in options.items() if value is not None}
    recipe = make_recipe(asked_values(given))
    look_for(given.get("images"))
    run_pipeline(
        recipe, Path(out), _display(show=show), given.get("ray_address"),
        time_again=given.get("time_again", False),
    )  # fmt: skip
    return Run(Path(out))


def open_run(path: Path | str) -> Run:
    """A run that has finished.

    Raises:
        PnagError: if there is none.
    """
    return Run(finished_run(Path(path)).path)


def _as_given(name: str, value: Any) -> Any:
    """An option as the command line has it.

    Raises:
        PnagError: for a value that is neither a path nor a name.
    """
    if name in ("table", "cache", "recipe", "images", "start", "weights"):
        if not isinstance(value, str | os.PathLike):
            raise PnagError(f"{name} must be a path or a name, not of type {type(value).__name__}")
        return Path(value) if name in ("table", "cache", "recipe") else str(value)
    if name in ("cost", "choices", "budgets", "resolutions", "compare"):
        several = isinstance(value, Iterable) and not isinstance(value, str)
        texts = list(map(str, value)) if several else [str(value)]
        return texts if name in ("cost", "choices") else ",".join(texts)
    return value


def _refuse_unknown(options: Mapping[str, Any]) -> None:
    """Refuse an option that does not exist, which nothing else would check."""
    for name in options:
        if name not in Options.__annotations__:
            alike = near(name, Options.__annotations__)
            hint = f"there is {' or '.join(alike)}" if alike else "`pnag run --help` lists all"
            raise PnagError(f"there is no option {name!r} of find; {hint}")


def _display(*, show: bool) -> Display:
    """A display of a run's progress on standard error, or one that shows nothing."""
    return Display(make_console(stderr=True) if show else Console(quiet=True))
