"""Training of the supernet: all phases in order, each resumable, one file of weights a phase."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn import functional as F

from pnag.files import fingerprint
from pnag.networks.supernet import LARGEST, Supernet
from pnag.training.batches import steps_per_epoch
from pnag.training.images import ImageData
from pnag.training.loop import FitSettings, Step, fit, to_device
from pnag.training.phases import PHASES, Method, Phase
from pnag.training.weights import load_weights, save_weights


@dataclass(frozen=True)
class SupernetSettings:
    """One recipe for all phases.

    Attributes:
        width_mult: of all channels.
        fit: `epochs` of all phases together, `learning_rate` of the largest network's phase.
        label_smoothing: of the cross-entropy with the true labels.
        distillation: weight, beside that, of the cross-entropy with what the largest network says
            (1.0 in Once-for-All). The sandwich rule has nothing but the latter for its subnets.
    """

    method: Method = "progressive"
    width_mult: float = 1.0
    label_smoothing: float = 0.1
    distillation: float = 1.0
    fit: FitSettings = field(default_factory=lambda: FitSettings(epochs=100))


@dataclass
class Progress:
    """What a caller is told after every step.

    Attributes:
        phase: and its place among all. done, total: steps of all phases.
        epoch: of the phase. ends_epoch: whether the step was its last.
        supernet: as it is now.
    """

    phase: Phase
    number: int
    phases: int
    done: int
    total: int
    epoch: int
    loss: float
    ends_epoch: bool
    supernet: Supernet


def epochs_of(settings: SupernetSettings) -> list[int]:
    """Whole epochs of each phase, whose shares are rounded such that all add up."""
    ends = np.cumsum([phase.epochs for phase in PHASES[settings.method]])
    return list(map(int, np.diff(np.rint(ends * settings.fit.epochs), prepend=0)))


def train_supernet(
    data: ImageData,
    settings: SupernetSettings,
    folder: Path,
    *,
    seed: int,
    accelerator: Accelerator,
    watch: Callable[[Progress], None] = lambda progress: None,
) -> Supernet:
    """Train all phases that are not done yet.

    Args:
        folder: gets `1-full.safetensors` and so on, and the checkpoint of the phase under way.
        watch: told of every step, on the main process only.

    Returns:
        The supernet, on the accelerator's device. Its batch norms' statistics are those of a
        mixture of networks: recalibrate a subnet before it is judged.

    Raises:
        PnagError: if the loss is no longer a number, or a file is damaged.
    """
    phases, epochs = PHASES[settings.method], epochs_of(settings)
    per_epoch = steps_per_epoch(data, settings.fit.batch_size)
    torch.manual_seed(seed)
    supernet = Supernet(settings.width_mult, len(data.classes))
    teacher: Supernet | None = None
    told = fingerprint(
        {"data": data.identity, "settings": asdict(settings), "seed": seed}
        | {"processes": accelerator.num_processes, "precision": accelerator.mixed_precision}
    )
    start = 0
    for number, phase in enumerate(phases):
        path = folder / f"{number + 1}-{phase.name.replace(' ', '-')}.safetensors"
        # What comes before a phase and its own settings: another recipe trains it anew.
        identity = fingerprint([told, number, asdict(phase), epochs[: number + 1]])
        if not load_weights(path, identity, supernet):
            if phase.sort:
                supernet.sort_channels(phase.sort)
            checkpoint = folder / "checkpoint.safetensors"

            def tell(
                step: Step, phase: Phase = phase, number: int = number, at: int = start
            ) -> None:
                watch(
                    Progress(
                        phase, number, len(phases), at + step.done, sum(epochs) * per_epoch,
                        step.epoch, step.loss, step.ends_epoch, supernet,
                    )
                )  # fmt: skip

            fit(
                supernet,
                phase_losses(supernet, phase, settings, teacher, seed + number),
                data,
                replace(
                    settings.fit,
                    epochs=epochs[number],
                    learning_rate=settings.fit.learning_rate * phase.rate,
                ),
                seed=seed + number,
                accelerator=accelerator,
                checkpoint=checkpoint,
                identity=identity,
                watch=tell,
            )
            if accelerator.is_main_process:
                save_weights(supernet, path, identity)
                checkpoint.unlink(missing_ok=True)
            accelerator.wait_for_everyone()
        start += epochs[number] * per_epoch
        if number == 0:
            teacher = Supernet(settings.width_mult, len(data.classes))
            teacher.load_state_dict(supernet.state_dict())
            to_device(teacher, accelerator)
            teacher.eval().requires_grad_(False)
    supernet.to(accelerator.device)
    return supernet.eval()


def phase_losses(
    supernet: Supernet,
    phase: Phase,
    settings: SupernetSettings,
    teacher: Supernet | None,
    seed: int,
) -> Callable[[Tensor, Tensor, int], Iterator[Tensor]]:
    """What each step of a phase minimises.

    Args:
        teacher: the largest network as it was after the first phase; none in the first.
    """

    def to_labels(logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, label_smoothing=settings.label_smoothing)

    def losses(images: Tensor, labels: Tensor, step: int) -> Iterator[Tensor]:
        rng = np.random.default_rng([seed, step])
        drawn = [phase.sample(rng) for _ in range(phase.random)]
        if phase.sandwich:
            # In place: the largest learns from the labels, all others from what it says now.
            logits = supernet(images)
            yield to_labels(logits, labels)
            target = logits.detach().float().softmax(1)
            for arch in (phase.smallest, *drawn):
                yield F.cross_entropy(supernet(images, arch), target)
        elif teacher is None:
            for arch in drawn or [LARGEST]:
                yield to_labels(supernet(images, arch), labels)
        else:
            with torch.no_grad():
                target = teacher(images).float().softmax(1)
            for arch in drawn:
                logits = supernet(images, arch)
                soft = F.cross_entropy(logits, target)
                yield to_labels(logits, labels) + settings.distillation * soft

    return losses
