"""How large a run on own images should be: from the images and from how fast this machine is."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from accelerate import Accelerator

from pnag.networks.supernet import Supernet
from pnag.space import SearchSpace
from pnag.training.batches import steps_per_epoch, train_batches
from pnag.training.images import ImageData
from pnag.training.loop import Losses, to_device
from pnag.training.phases import PHASES
from pnag.training.settings import FinetuneSettings, FitSettings, SupernetSettings
from pnag.training.subnets import Settings, SubnetEvaluator, fastest_precision
from pnag.training.supernet_training import phase_losses

WIDTHS = (1.0, 0.75, 0.5, 0.35, 0.25)
ENOUGH_EPOCHS = 40  # to prefer a wider supernet
EPOCHS = (6, 200)  # least and most of the supernet
TUNING_EPOCHS = (1, 75)  # the paper's 75 (section E) at most
SHARES = {"supernet": 0.6, "collecting": 0.15, "fine-tuning": 0.2}  # of the minutes; rest: timing
ARCHITECTURES = (300, 4000)  # least and most to collect
VALIDATION = 2000  # images that a subnet is judged on: +-1 % of standard error at most
CALIBRATION = 512  # images that its batch norms are calibrated on
LEAST_STEPS = 8  # an epoch

Fit = TypeVar("Fit", bound=FitSettings)


@dataclass(frozen=True)
class SupernetPlan:
    """The supernet's size, and the minutes that its training should take."""

    width_mult: float
    epochs: int
    minutes: float


@dataclass(frozen=True)
class AnswersPlan:
    """How many architectures to collect, rounds included, and how long to fine-tune each answer.

    Attributes:
        collecting_minutes, finetune_minutes: expected, the latter of all answers together.
    """

    architectures: int
    finetune_epochs: int
    collecting_minutes: float
    finetune_minutes: float


def evaluator_settings(device: torch.device, validation: int = VALIDATION) -> Settings:
    """How subnets are judged: on so many images, if there are, in the device's best precision."""
    return Settings(CALIBRATION, validation, fastest_precision(device))


def suited_batch(fit: Fit, data: ImageData) -> Fit:
    """The same with a smaller batch where the images would not fill LEAST_STEPS of them."""
    most = max(2, len(data.train) // LEAST_STEPS // 2 * 2)
    return replace(fit, batch_size=min(fit.batch_size, most))


def plan_supernet(
    data: ImageData,
    settings: SupernetSettings,
    *,
    minutes: float,
    accelerator: Accelerator,
    width_mult: float | None = None,
    epochs: int | None = None,
) -> SupernetPlan:
    """Time a few steps of each width; take the widest that gets enough epochs in the time.

    Args:
        minutes: for the whole run. width_mult, epochs: what the user has decided already.
    """
    seconds = SHARES["supernet"] * minutes * 60
    per_epoch = steps_per_epoch(data, settings.fit.batch_size)
    for width in (width_mult,) if width_mult else WIDTHS:
        epoch = per_epoch * _supernet_step(data, settings, width, accelerator)
        if (epochs or ENOUGH_EPOCHS) * epoch <= seconds:
            break
    chosen = epochs or int(np.clip(seconds / epoch, *EPOCHS))
    return SupernetPlan(width, chosen, round(chosen * epoch / 60, 2))


def plan_answers(
    data: ImageData,
    settings: FinetuneSettings,
    width_mult: float,
    *,
    minutes: float,
    answers: int,
    accelerator: Accelerator,
    architectures: int | None = None,
    finetune_epochs: int | None = None,
) -> AnswersPlan:
    """Time a few random subnets, and steps of fine-tuning one.

    Args:
        answers: networks that will be fine-tuned.
        architectures, finetune_epochs: what the user has decided already.
    """
    each, step = _subnet_seconds(data, width_mult, settings, accelerator)
    affordable = SHARES["collecting"] * minutes * 60 / each
    collected = architectures or int(np.clip(affordable, *ARCHITECTURES))
    epoch = answers * step * steps_per_epoch(data, settings.fit.batch_size)
    affordable = SHARES["fine-tuning"] * minutes * 60 / epoch
    tuning = finetune_epochs or int(np.clip(affordable, *TUNING_EPOCHS))
    return AnswersPlan(
        collected, tuning, round(collected * each / 60, 2), round(tuning * epoch / 60, 2)
    )


def _supernet_step(
    data: ImageData, settings: SupernetSettings, width_mult: float, accelerator: Accelerator
) -> float:
    """Seconds of a step, averaged over the phases by their epochs."""
    model = Supernet(width_mult, len(data.classes))
    to_device(model, accelerator.device)
    model.train()
    images, labels = _batch(data, settings.fit, accelerator)
    phases = PHASES[settings.method]
    costs: list[float] = []
    for number, phase in enumerate(phases):
        if number not in (0, len(phases) // 2, len(phases) - 1):
            costs.append(costs[-1])  # phases next to each other draw alike
            continue
        losses = phase_losses(model, phase, settings, model if number else None, 0)

        def step(turn: int, losses: Losses = losses) -> None:
            with accelerator.autocast():
                for loss in losses(images, labels, turn):
                    loss.backward()

        costs.append(_seconds(step, accelerator))
        model.zero_grad()
    return float(np.dot([phase.epochs for phase in phases], costs))


def _subnet_seconds(
    data: ImageData, width_mult: float, settings: FinetuneSettings, accelerator: Accelerator
) -> tuple[float, float]:
    """Seconds to judge a random subnet, and of one step of its fine-tuning."""
    supernet = Supernet(width_mult, len(data.classes))
    to_device(supernet, accelerator.device)
    evaluator = SubnetEvaluator(supernet.eval(), data, evaluator_settings(accelerator.device))
    space = SearchSpace()
    tokens = space.sample(5, np.random.default_rng(0))
    each = _seconds(lambda turn: evaluator.accuracies(tokens[turn : turn + 1]), accelerator)
    network = supernet.subnet(space.decode(tokens[:1])[0]).train()
    images, labels = _batch(data, settings.fit, accelerator)

    def step(_: int) -> None:
        with accelerator.autocast():
            torch.nn.functional.cross_entropy(network(images), labels).backward()

    return each, _seconds(step, accelerator)


def _batch(
    data: ImageData, fit: FitSettings, accelerator: Accelerator
) -> tuple[torch.Tensor, torch.Tensor]:
    return next(
        train_batches(
            data,
            fit.batch_size,
            epoch=0,
            seed=0,
            rank=accelerator.process_index,
            world_size=accelerator.num_processes,
            device=accelerator.device,
            augment=fit.augment,
        )
    )


def _seconds(work: Callable[[int], object], accelerator: Accelerator, turns: int = 4) -> float:
    """Mean of all turns but the first, which warms up."""
    taken = []
    for turn in range(turns):
        started = time.perf_counter()
        work(turn)
        if accelerator.device.type == "cuda":  # it is timed only when asked for a result
            torch.cuda.synchronize(accelerator.device)
        taken.append(time.perf_counter() - started)
    return float(np.mean(taken[1:]))
