"""How long the steps of a training take on this machine: some are done, and forgotten."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from torch import Tensor, nn

from pnag.families.base import Family
from pnag.families.elastic_network import ElasticNetwork
from pnag.families.quick_layers import with_quick_layers
from pnag.images.batches import train_batches
from pnag.images.feed import Pixels
from pnag.images.images import ImageData
from pnag.images.resolutions import (
    at_resolution,
    first_step_at,
    resolution_of_step,
    step_shares,
)
from pnag.kept_memory import kept_memory
from pnag.space import AnyArchitecture
from pnag.supernet.loop import (
    Losses,
    add_gradients,
    make_scaler,
    to_device,
    train_all_layers,
)
from pnag.supernet.phases import PHASES
from pnag.supernet.round_training import round_losses
from pnag.supernet.settings import FinetuneSettings, FitSettings, SupernetSettings
from pnag.supernet.supernet_training import LONG, phase_losses, teacher_of

TURNS = 4  # of what is timed


def if_memory_suffices(work: Callable[[], float]) -> float | None:
    """What `work` returns; None where the memory does not suffice."""
    try:
        return work()
    except RuntimeError as error:
        if not should_reduce_batch_size(error):
            raise
    clear_device_cache(garbage_collection=True)  # of what the attempt held
    return None


@kept_memory()
def supernet_step(
    data: ImageData, settings: SupernetSettings, family: Family, accelerator: Accelerator
) -> float:
    """Seconds of a step, averaged over the phases by their epochs."""
    model = _fresh(family, len(data.classes), accelerator)
    pixels = Pixels(data.train, accelerator.device)  # they take memory while it trains, too
    images, labels = _batch(data, settings.fit, pixels, accelerator)
    if accelerator.device.type == "cuda":
        train_all_layers(model, images, accelerator)
    phases = PHASES[settings.method]
    teacher = teacher_of(model, settings.method, accelerator.device)
    costs: list[float] = []
    for number, phase in enumerate(phases):
        if phase.epochs < LONG:
            costs.append(costs[-1])  # it draws as the one before, or a little less
            continue
        losses = phase_losses(model, phase, settings, teacher if number else None, seed=0)
        drawn = phase.drawn_resolutions(family.space)
        costs.append(_step_seconds(losses, images, labels, settings.fit, accelerator, drawn))
        model.zero_grad()
    return float(np.dot([phase.epochs for phase in phases], costs))


@kept_memory()
def round_step(
    data: ImageData, settings: SupernetSettings, family: Family, accelerator: Accelerator
) -> float:
    """Seconds of a step of a round, averaged over resolutions, for networks of average size."""
    model = _fresh(family, len(data.classes), accelerator)
    images, labels = _batch(data, settings.fit, Pixels(data.train, accelerator.device), accelerator)
    if accelerator.device.type == "cuda":
        train_all_layers(model, images, accelerator)
    liked = family.space.sample(TURNS, np.random.default_rng(0))
    losses = round_losses(model, liked, settings.label_smoothing, seed=0)
    drawn = family.space.resolutions
    return _step_seconds(losses, images, labels, settings.fit, accelerator, drawn)


def steps_of_largest(
    family: Family, num_classes: int, batch_size: int, accelerator: Accelerator
) -> Callable[[int], float]:
    """A function that gives the seconds of a step with the largest network, by the resolution.

    It needs no images, and makes the network once.
    """
    supernet = _fresh(family, num_classes, accelerator)
    device = accelerator.device
    labels = torch.zeros(batch_size, dtype=torch.int64, device=device)

    def losses(images: Tensor, labels: Tensor, step: int) -> Iterator[Tensor]:
        yield torch.nn.functional.cross_entropy(supernet(images), labels)

    @kept_memory()
    def seconds(resolution: int) -> float:
        shape = batch_size, 3, resolution, resolution
        images = torch.zeros(shape, device=device).to(memory_format=torch.channels_last)
        step = _stepper(losses, images, labels, 1, accelerator)
        step(0)  # warms up
        return _timed(step, 1, device)

    return seconds


def finetune_step(
    data: ImageData,
    settings: FinetuneSettings,
    family: Family,
    arch: AnyArchitecture,
    accelerator: Accelerator,
) -> float:
    """Seconds of a step with the network of `arch`, at the resolutions that are drawn for steps."""
    network = _fresh(family, len(data.classes), accelerator).subnet(arch)
    return network_step(network, data, settings.fit, accelerator, family.space.resolutions)


@kept_memory()
def network_step(
    network: nn.Module,
    data: ImageData,
    fit: FitSettings,
    accelerator: Accelerator,
    drawn: Sequence[int] = (),
) -> float:
    """Seconds of a step of fine-tuning a network, which is of no use afterwards.

    Args:
        drawn: resolutions that are drawn for steps; none for that of the images.
    """
    to_device(network.train(), accelerator.device)
    with_quick_layers(network)
    pixels = Pixels(data.train, accelerator.device)
    images, labels = _batch(data, fit, pixels, accelerator)

    def losses(images: Tensor, labels: Tensor, step: int) -> Iterator[Tensor]:
        images = at_resolution(images, resolution_of_step(drawn, 0, step))
        yield torch.nn.functional.cross_entropy(network(images), labels)

    return _step_seconds(losses, images, labels, fit, accelerator, drawn)


def _step_seconds(
    losses: Losses,
    images: Tensor,
    labels: Tensor,
    fit: FitSettings,
    accelerator: Accelerator,
    resolutions: Sequence[int] = (),
) -> float:
    """Seconds of a step, on average over the resolutions that are drawn for steps."""
    step = _stepper(losses, images, labels, fit.accumulate, accelerator)
    numbers = [first_step_at(each, resolutions) for each in resolutions] or list(range(1, TURNS))
    for number in numbers if resolutions else numbers[:1]:
        step(number)  # warms up: the first step with maps of a size takes several times as long
    sweeps = [[_timed(step, number, accelerator.device) for number in numbers] for _ in range(2)]
    # A disturbance can only make a step slower, so the lesser time counts: a plan lasts for hours.
    seconds = np.min(sweeps, axis=0)
    return float(np.dot(step_shares(resolutions), seconds) if resolutions else seconds.mean())


def _fresh(family: Family, num_classes: int, accelerator: Accelerator) -> ElasticNetwork:
    """A supernet to train."""
    supernet: ElasticNetwork = family.supernet(num_classes)
    to_device(supernet, accelerator.device)
    return supernet.train()


def _stepper(
    losses: Losses, images: Tensor, labels: Tensor, parts: int, accelerator: Accelerator
) -> Callable[[int], None]:
    """A function that adds up the gradients of a step, by its number."""
    scaler = make_scaler(accelerator)

    def step(number: int) -> None:
        add_gradients(losses, images, labels, number, parts, accelerator, scaler)

    return step


def _batch(
    data: ImageData, fit: FitSettings, pixels: Pixels, accelerator: Accelerator
) -> tuple[Tensor, Tensor]:
    return next(
        train_batches(
            data,
            fit.batch_size,
            epoch=0,
            seed=0,
            rank=accelerator.process_index,
            world_size=accelerator.num_processes,
            pixels=pixels,
            augment=fit.augment,
        )
    )


def mean_seconds(work: Callable[[int], object], device: torch.device) -> float:
    """Mean of all turns but the first, which warms up."""
    return float(np.mean([_timed(work, turn, device) for turn in range(TURNS)][1:]))


def _timed(work: Callable[[int], object], turn: int, device: torch.device) -> float:
    started = time.perf_counter()
    work(turn)
    if device.type == "cuda":  # it is timed only when asked for a result
        torch.cuda.synchronize(device)
    return time.perf_counter() - started
