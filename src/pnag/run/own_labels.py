"""The predictors of a user's own table, and how far they can be trusted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from rich.markup import escape

from pnag.errors import PnagError
from pnag.run.display import Display
from pnag.search.cost_fit import fit_cost_predictor
from pnag.search.cross_validation import Floats, PredictionError, error_of_fit, error_of_process
from pnag.search.gaussian_process import GaussianProcess, fit_gaussian_process, rows_used
from pnag.search.predictor import Predictor
from pnag.search.predictor_fit import PredictorSettings
from pnag.space import SearchSpace, Tokens

LOW_TAU = 0.5  # below it there is a warning
NO_TAU = 0.3  # of a cost: below it no budget is promised; shuffled costs of 50 rows stay below it


@dataclass(frozen=True)
class OwnLabels:
    """What is fitted to a table.

    Attributes:
        accuracy: without its factor, a gigabyte that only a spread needs.
        further: of further costs, by name.
        errors: of `accuracy`, `cost` and the further ones, on rows left out.
    """

    accuracy: GaussianProcess
    cost: Predictor
    further: dict[str, Predictor]
    errors: dict[str, PredictionError]


def fit_labels(
    space: SearchSpace,
    frame: pd.DataFrame,
    settings: PredictorSettings,
    seed: int,
    display: Display,
    further: Sequence[str] = (),
) -> OwnLabels:
    """The predictors of accuracy and costs, fitted to a table that `user_table` has checked.

    Args:
        further: columns of further costs.
    """
    tokens = space.encode(frame["arch"])
    accuracy = frame["accuracy"].to_numpy(dtype=float)

    def fit_without(some: Tokens, values: Floats) -> Callable[[Tokens], Floats]:
        return fit_cost_predictor(space, some, values, settings=settings, seed=seed).predict

    fitted, errors = {}, {}
    for name in ("cost", *further):
        costs = frame[name].to_numpy(dtype=float)
        with display.bar(f"fitting the {name} predictor") as bar:
            fitted[name] = fit_cost_predictor(
                space, tokens, costs, settings=settings, seed=seed, progress=bar.update
            )
        with display.bar("checking it on rows left out") as bar:
            errors[name] = error_of_fit(fit_without, tokens, costs, seed, bar.update)
    with display.bar("fitting the accuracy predictor") as bar:
        process = fit_gaussian_process(space, tokens, accuracy, seed=seed, progress=bar.update)
    errors = {"accuracy": accuracy_error(process, accuracy, seed)} | errors
    return OwnLabels(replace(process, factor=None), fitted.pop("cost"), fitted, errors)


def accuracy_error(process: GaussianProcess, accuracy: Floats, seed: int) -> PredictionError:
    """Of a process that `fit_gaussian_process` has just made of all accuracies with that seed."""
    used = rows_used(len(accuracy), np.random.default_rng(seed))
    return error_of_process(process, accuracy[used], seed)


def as_json(errors: dict[str, PredictionError]) -> dict[str, Any]:
    """What a run keeps of the errors; `rough` is what there is a warning of."""
    return {name: asdict(error) | {"rough": error.tau < LOW_TAU} for name, error in errors.items()}


def tell_errors(
    errors: dict[str, dict[str, Any]],
    columns: dict[str, str],
    display: Display,
    fix: str = "bring more rows, or more exact ones",
) -> None:
    """Print how well accuracy and cost are predicted, and warn about bad predictions.

    Args:
        errors: as `as_json` gives them. columns: what the user calls accuracy and cost.
        fix: what makes predictions better.
    """
    for name, error in errors.items():
        column = escape(columns[name])
        display.note(
            f"  {column} of {error['rows']:,} rows left out: mean error "
            f"{error['mean_error']:.3g} (standard deviation {error['deviation']:.3g}), "
            f"tau {error['tau']:.3f}"
        )
        if error["rough"]:
            display.note(
                f"  [yellow]{column} is predicted badly (tau {error['tau']:.2f}; 0 is chance, 1 "
                f"the true order): take its predictions as a rough guess; {fix}[/yellow]"
            )


def refuse_unknown_cost(
    errors: dict[str, dict[str, Any]], column: str, source: str, name: str = "cost"
) -> None:
    """Refuse a cost that cannot be predicted from the architectures: no budget could be promised.

    Args:
        name: of the cost in `errors`, whose column is `column`.

    Raises:
        PnagError: names the column, its tau and what to do.
    """
    tau = errors[name]["tau"]
    if tau < NO_TAU:
        raise PnagError(
            f"{source}: {column} cannot be predicted from the architectures: on rows left out "
            f"Kendall's tau of predicted and true order is {tau:.2f} (0 is chance, {NO_TAU:g} is "
            "needed), so no budget can be promised. Check that each row has the cost of its own "
            "architecture, or bring more rows or more exact costs"
        )
