"""Training of the supernet: all phases in order, each resumable, one file of weights a phase."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn import functional as F

from pnag.families.base import Family
from pnag.families.elastic_network import ElasticNetwork, widths_of
from pnag.files import fingerprint
from pnag.images.images import ImageData
from pnag.images.resolutions import at_resolution, resolution_of_step
from pnag.space import AnyArchitecture
from pnag.supernet.first_classifier import solve_classifier
from pnag.supernet.loop import Losses, Step, fit, steps_of, to_device
from pnag.supernet.phases import PHASES, Phase
from pnag.supernet.settings import FitSettings, Method, SupernetSettings
from pnag.supernet.weights import checkpoint_of, load_finished, save_finished

LONG = 0.15  # share of the epochs


@dataclass
class Progress:
    """What a caller learns after every step.

    Attributes:
        done, total: steps of all phases. ends_epoch: whether the step was an epoch's last.
        supernet: as it is now.
    """

    phase: Phase
    done: int
    total: int
    loss: float
    ends_epoch: bool
    supernet: ElasticNetwork


def fits_of(settings: SupernetSettings) -> list[FitSettings]:
    """How each phase is trained: for its share of the epochs, at its share of the rate."""
    fit = settings.fit
    return [
        replace(
            fit, epochs=round(phase.epochs * fit.epochs, 4),
            learning_rate=phase.rate * fit.learning_rate,
        )
        for phase in PHASES[settings.method]
    ]  # fmt: skip


def steps_of_all(settings: SupernetSettings, data: ImageData) -> int:
    """Steps of all phases."""
    return sum(steps_of(how, data) for how in fits_of(settings))


def train_supernet(
    data: ImageData,
    settings: SupernetSettings,
    folder: Path,
    *,
    family: Family,
    seed: int,
    start: Path | None = None,
    start_identity: str = "",
    accelerator: Accelerator,
    watch: Callable[[Progress], None] = lambda progress: None,
    keep: Callable[[Phase, ElasticNetwork], None] = lambda phase, supernet: None,
    notice: Callable[[str], None] = lambda text: None,
) -> ElasticNetwork:
    """Train all phases that are not done yet.

    Args:
        family: of its networks.
        start: a file of weights to begin with, and an identity of its content; fresh ones if None.
        folder: gets a file of weights for each phase, named after it and after a hash of all that
            it depends on, so that another recipe never overwrites hours of training.
        watch: called with every step that is made now, on the main process only.
        keep: called with the supernet after each phase, also one that was done already; its weights
            are the main process' everywhere.
        notice: called with messages for the user, on the main process only.
        accelerator: a phase that was stopped needs as many processes as it was begun with; what
            is finished may be used by any.

    Returns:
        The supernet, on the accelerator's device. Its batch norms' statistics are those of a
        mixture of networks: recalibrate a subnet before it is judged.

    Raises:
        PnagError: if the loss is no longer a number, a file is damaged, or a phase was begun by
            another number of processes.
    """
    torch.manual_seed(seed)
    supernet = family.supernet(len(data.classes), start)
    inputs = [data.identity, settings.identity(), family.name, seed, accelerator.mixed_precision]
    inputs += [start_identity] if start_identity else []
    total = steps_of_all(settings, data)
    teacher, done = None, 0
    for number, (phase, how, identity) in enumerate(_planned(settings, inputs)):
        path = folder / f"{number + 1}-{phase.name.replace(' ', '-')}-{identity}.safetensors"

        def tell(step: Step, phase: Phase = phase, at: int = done) -> None:
            watch(Progress(phase, at + step.done, total, step.loss, step.ends_epoch, supernet))

        if not load_finished(supernet, path, identity, accelerator):
            _prepare(supernet, phase, data, settings.label_smoothing, accelerator)
            losses = phase_losses(supernet, phase, settings, teacher, seed + number)
            fit(
                supernet, losses, data, how, seed=seed + number, accelerator=accelerator,
                checkpoint=checkpoint_of(path), identity=identity, watch=tell, notice=notice,
            )  # fmt: skip
            save_finished(supernet, path, identity, accelerator)
        keep(phase, supernet)
        done += steps_of(how, data)
        teacher = teacher or teacher_of(supernet, settings.method, accelerator.device)
    return supernet.to(accelerator.device).eval()


def _planned(
    settings: SupernetSettings, inputs: list[Any]
) -> Iterator[tuple[Phase, FitSettings, str]]:
    """Each phase, how it is trained, and a hash of all that its weights depend on.

    Args:
        inputs: what all phases depend on.
    """
    fits = fits_of(settings)
    for number, phase in enumerate(PHASES[settings.method]):
        # What comes before a phase and its own settings.
        epochs = [how.epochs for how in fits[: number + 1]]
        identity = fingerprint([inputs, number, asdict(phase), epochs])
        yield phase, fits[number], identity


def teacher_of(
    supernet: ElasticNetwork, method: Method, device: torch.device
) -> ElasticNetwork | None:
    """The supernet as it is after the first phase; None where no later phase learns from it.

    The sandwich rule's networks learn from the largest as it is.
    """
    if all(phase.sandwich for phase in PHASES[method][1:]):
        return None
    teacher = copy.deepcopy(supernet)
    to_device(teacher, device)
    return teacher.eval().requires_grad_(False)


def _prepare(
    supernet: ElasticNetwork,
    phase: Phase,
    data: ImageData,
    label_smoothing: float,
    accelerator: Accelerator,
) -> None:
    """What a phase begins with, in place: a classifier that is solved for, channels sorted."""
    if phase.solve:
        pixels = phase.drawn_resolutions(supernet.family.space)
        solve_classifier(supernet, data, max(pixels, default=0), label_smoothing, accelerator)
    if phase.sort:
        supernet.sort_channels(widths_of(supernet.family)[-phase.sort :])


def sandwich(
    supernet: ElasticNetwork,
    others: Iterable[AnyArchitecture],
    images: Tensor,
    labels: Tensor,
    label_smoothing: float,
) -> Iterator[Tensor]:
    """Losses of a step: the largest learns from the labels, all others from its present outputs.

    Args:
        images: (B, 3, R, R).
    """
    logits = supernet(images)
    yield F.cross_entropy(logits, labels, label_smoothing=label_smoothing)
    target = logits.detach().float().softmax(1)
    for arch in others:
        yield F.cross_entropy(supernet(images, arch), target)


def phase_losses(
    supernet: ElasticNetwork,
    phase: Phase,
    settings: SupernetSettings,
    teacher: ElasticNetwork | None,
    seed: int,
) -> Losses:
    """What each step of a phase minimises.

    Args:
        teacher: the largest network as it was after the first phase; none in the first.
    """

    space = supernet.family.space
    smallest = phase.smallest(space)

    def to_labels(logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, label_smoothing=settings.label_smoothing)

    def losses(images: Tensor, labels: Tensor, step: int) -> Iterator[Tensor]:
        rng = np.random.default_rng([seed, step])
        drawn_resolutions = phase.drawn_resolutions(space)
        images = at_resolution(images, resolution_of_step(drawn_resolutions, seed, step))
        drawn = [phase.sample(space, rng) for _ in range(phase.random)]
        if phase.sandwich:
            others = (smallest, *drawn)
            yield from sandwich(supernet, others, images, labels, settings.label_smoothing)
        elif teacher is None:
            for arch in drawn or [None]:
                yield to_labels(supernet(images, arch), labels)
        else:
            with torch.no_grad():
                target = teacher(images).float().softmax(1)
            for arch in drawn:
                logits = supernet(images, arch)
                soft = F.cross_entropy(logits, target)
                yield to_labels(logits, labels) + settings.distillation * soft

    return losses
