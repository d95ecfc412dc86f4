"""Rounds that train the supernet too: what will be judged has been trained.

Each round asks for the most promising architectures, trains the supernet further on networks like
these and like the front so far, and only then judges. Accuracies of different weights cannot be
compared: what was trained longer would look like the better architecture, and an answer would be
picked among both. So a round judges the whole table again, and after the last one all rows are of
the weights that answers are cut out of. The plan counts these judgements.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pnag.families.checkpoints import described
from pnag.families.elastic_network import ElasticNetwork
from pnag.files import file_fingerprint
from pnag.run.display import Bar
from pnag.run.image_run import ImageRun
from pnag.search.front import pareto_front
from pnag.search.rounds import promising
from pnag.space import Tokens
from pnag.supernet.loop import Step
from pnag.supernet.round_training import train_round
from pnag.supernet.settings import SupernetSettings
from pnag.supernet.weights import save_described

Floats = NDArray[np.float64]
Show = Callable[[int, int], None]
"""Given how much of how much is done."""
Judge = Callable[[Path, Tokens, Show], Floats]
"""The file of the supernet's weights and tokens (N, T) to accuracies (N,)."""


def adapt_in_rounds(
    run: ImageRun,
    supernet: ElasticNetwork,
    settings: SupernetSettings,
    table: tuple[Tokens, Floats, Floats],
    cost: Callable[[Tokens], Floats],
    judge: Judge,
    *,
    per_round: int,
) -> tuple[Tokens, Floats, Floats]:
    """Ask, train and judge, in each round; write the supernet as it is after the last one.

    Args:
        supernet: as it was before, which is trained in place.
        settings: how each round trains it.
        table: tokens (N, T), accuracy (N,) and cost (N,).
        cost: predicted, of (N, T) tokens.
        judge: with the weights that the supernet has by then.

    Returns:
        The table grown by up to `per_round` rows a round, all judged with the last weights.

    Raises:
        PnagError: as `train_round`.
    """
    files, rounds, seed = run.run, run.recipe.rounds, run.recipe.seed
    tokens, accuracy, costs = table
    weights: Path = files.supernet
    for number in range(1, rounds + 1):
        name = f"round {number} of {rounds}"
        asked = promising(
            supernet.family.space, tokens, accuracy, costs, cost, per_round, seed + number - 1,
            from_rounds=len(tokens) - len(table[0]),
        )  # fmt: skip
        if not len(asked):  # all of a small space is known
            break
        liked = np.concatenate([pareto_front(tokens, accuracy, costs).tokens, asked])
        with run.display.bar(f"{name}: training the supernet") as bar:
            weights = train_round(
                supernet, liked, run.data, settings, files.supernet_phases,
                before=file_fingerprint(weights), seed=seed + number,
                accelerator=run.accelerator, notice=run.notice,
                watch=_show(bar),
            )  # fmt: skip
        tokens = np.concatenate([tokens, asked])
        with run.display.bar(f"{name}: judging subnets") as bar:
            accuracy, costs = judge(weights, tokens, bar.update), cost(tokens)
    save_described(supernet, files.supernet_of_rounds, described(files.supernet))
    return tokens, accuracy, costs


def _show(bar: Bar) -> Callable[[Step], None]:
    return lambda step: bar.update(step.done, step.total, f"loss {step.loss:.2f}")
