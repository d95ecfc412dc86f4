"""How large a run on own images should be: from the images and from how fast this machine is."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
import torch
from accelerate import Accelerator

from pnag.networks.supernet import Supernet
from pnag.space import SearchSpace
from pnag.training.batches import steps_per_epoch, train_batches
from pnag.training.images import ImageData
from pnag.training.loop import to_device
from pnag.training.phases import PHASES
from pnag.training.settings import FinetuneSettings, SupernetSettings
from pnag.training.subnets import Settings, SubnetEvaluator, fastest_precision
from pnag.training.supernet_training import phase_losses

WIDTHS = (1.0, 0.75, 0.5, 0.35, 0.25)
ENOUGH_EPOCHS = 40  # to prefer a wider supernet
MOST_EPOCHS = 200
SHARES = {"supernet": 0.6, "collecting": 0.15, "fine-tuning": 0.2}  # of the minutes; rest: timing
ARCHITECTURES = (300, 4000)  # least and most to collect
VALIDATION = 2000  # images that a subnet is judged on: +-1 % of standard error at most
CALIBRATION = 512  # images that its batch norms are calibrated on


@dataclass(frozen=True)
class Plan:
    """What a run will do, decided once and kept.

    Attributes:
        width_mult: of the supernet. epochs: of all its phases.
        architectures: to collect, rounds included. finetune_epochs: of each answer.
        minutes: expected, by stage.
    """

    width_mult: float
    epochs: int
    architectures: int
    finetune_epochs: int
    minutes: dict[str, float]


def evaluator_settings(data: ImageData, validation: int = VALIDATION) -> Settings:
    """How subnets are judged: on so many images, if there are, in this machine's best precision."""
    return Settings(
        calibration=min(CALIBRATION, len(data.train)),
        validation=min(validation, len(data.validation)),
        precision=fastest_precision("cuda" if torch.cuda.is_available() else "cpu"),
    )


def make_plan(
    data: ImageData,
    supernet: SupernetSettings,
    finetune: FinetuneSettings,
    *,
    minutes: float,
    answers: int,
    accelerator: Accelerator,
    width_mult: float | None = None,
    epochs: int | None = None,
    architectures: int | None = None,
    finetune_epochs: int | None = None,
) -> Plan:
    """Time a few steps of each width; take the widest that gets enough epochs in the time.

    Args:
        minutes: for the whole run. answers: networks that will be fine-tuned.
        width_mult, epochs, architectures, finetune_epochs: what the user has decided already.
    """
    seconds = {name: share * minutes * 60 for name, share in SHARES.items()}
    per_epoch = steps_per_epoch(data, supernet.fit.batch_size)
    for width in (width_mult,) if width_mult else WIDTHS:
        step = _supernet_step(data, replace(supernet, width_mult=width), accelerator)
        affordable = int(seconds["supernet"] / (step * per_epoch))
        if affordable >= ENOUGH_EPOCHS:
            break
    chosen = epochs or min(max(affordable, 1), MOST_EPOCHS)
    each, tuning = _subnet_seconds(data, width, finetune, accelerator)
    low, high = ARCHITECTURES
    collected = architectures or int(np.clip(seconds["collecting"] / each, low, high))
    tune_steps = steps_per_epoch(data, finetune.fit.batch_size) * tuning
    tune = finetune_epochs or int(
        np.clip(seconds["fine-tuning"] / (tune_steps * answers), 1, finetune.fit.epochs)
    )
    expected = {
        "supernet": chosen * per_epoch * step / 60,
        "collecting": collected * each / 60,
        "fine-tuning": tune * tune_steps * answers / 60,
    }
    return Plan(width, chosen, collected, tune, {k: round(v, 1) for k, v in expected.items()})


def _supernet_step(data: ImageData, settings: SupernetSettings, accelerator: Accelerator) -> float:
    """Seconds of a step, averaged over the phases by their epochs."""
    model = Supernet(settings.width_mult, len(data.classes))
    to_device(model, accelerator)
    model.train()
    batches = train_batches(
        data, settings.fit.batch_size, epoch=0, seed=0, device=accelerator.device
    )
    images, labels = next(batches)
    phases = PHASES[settings.method]
    total = 0.0
    # Phases that draw alike cost alike: time the first, the last and one between.
    timed = {0: phases[0], len(phases) // 2: phases[len(phases) // 2], len(phases) - 1: phases[-1]}
    costs = {}
    for number, phase in timed.items():
        losses = phase_losses(model, phase, settings, model if number else None, 0)
        taken = []
        for step in range(4):
            started = time.perf_counter()
            for loss in losses(images, labels, step):
                loss.backward()
            synchronize(accelerator)
            taken.append(time.perf_counter() - started)
        costs[number] = float(np.mean(taken[1:]))
        model.zero_grad()
    for number, phase in enumerate(phases):
        nearest = max(n for n in costs if n <= number)
        total += phase.epochs * costs[nearest]
    return total


def synchronize(accelerator: Accelerator) -> None:
    """Wait for the GPU, where there is one: it is timed otherwise only for being asked."""
    if accelerator.device.type == "cuda":
        torch.cuda.synchronize(accelerator.device)


def _subnet_seconds(
    data: ImageData, width_mult: float, finetune: FinetuneSettings, accelerator: Accelerator
) -> tuple[float, float]:
    """Seconds to judge a random subnet, and of one step of its fine-tuning."""
    supernet = Supernet(width_mult, len(data.classes))
    to_device(supernet, accelerator)
    evaluator = SubnetEvaluator(supernet.eval(), data, evaluator_settings(data))
    space = SearchSpace()
    tokens = space.sample(6, np.random.default_rng(0))
    evaluator.accuracies(tokens[:1])
    started = time.perf_counter()
    evaluator.accuracies(tokens[1:])
    each = (time.perf_counter() - started) / 5
    network = supernet.subnet(space.decode(tokens[:1])[0]).train()
    batches = train_batches(
        data, finetune.fit.batch_size, epoch=0, seed=0, device=accelerator.device
    )
    images, labels = next(batches)
    taken = []
    for _ in range(4):
        started = time.perf_counter()
        torch.nn.functional.cross_entropy(network(images), labels).backward()
        synchronize(accelerator)
        taken.append(time.perf_counter() - started)
    return each, float(np.mean(taken[1:]))
