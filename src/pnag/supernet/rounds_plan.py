"""How many rounds train a supernet further, and how long: from how fast this machine is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from accelerate import Accelerator

from pnag.families.base import Family
from pnag.images.batches import steps_per_epoch
from pnag.images.images import ImageData
from pnag.supernet.plan import minutes_of, rounded_epochs
from pnag.supernet.round_training import EPOCHS
from pnag.supernet.settings import SupernetSettings
from pnag.supernet.step_times import round_step


@dataclass(frozen=True)
class RoundsPlan:
    """How many rounds train the supernet further, and how long.

    Attributes:
        epochs: of each round. minutes: that all should take, without the judging.
    """

    rounds: int
    epochs: float
    minutes: float


def plan_rounds(
    data: ImageData,
    settings: SupernetSettings,
    family: Family,
    *,
    minutes: float,
    rounds: int,
    accelerator: Accelerator,
) -> RoundsPlan:
    """Time a few steps of a round.

    Args:
        settings: with a batch. minutes: for the whole run.
        rounds: at most; fewer where the minutes do not suffice for half an epoch in each, and
            one in any case.
    """
    step = round_step(data, settings, family, accelerator)
    epoch = step * steps_per_epoch(data, settings.fit.batch_size)
    seconds = minutes_of("rounds", minutes, adapting=True, in_rounds=True) * 60
    rounds = int(np.clip(seconds / (epoch * EPOCHS[0]), 1, rounds))
    epochs = rounded_epochs(float(np.clip(seconds / (epoch * rounds), *EPOCHS)))
    return RoundsPlan(rounds, epochs, round(rounds * epochs * epoch / 60, 2))
