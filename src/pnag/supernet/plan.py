"""How large a run on own images should be: from the images and from how fast this machine is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from accelerate import Accelerator

from pnag.errors import PnagError
from pnag.families.base import Family
from pnag.images.batches import steps_per_epoch
from pnag.images.images import ImageData
from pnag.images.joined import can_be_joined
from pnag.judging.subnets import Settings, make_evaluator
from pnag.supernet.loop import check_parts, to_device
from pnag.supernet.precision import MIXED, judging_precision
from pnag.supernet.settings import (
    FinetuneSettings,
    Fit,
    FitSettings,
    Precision,
    SupernetSettings,
)
from pnag.supernet.step_times import (
    TURNS,
    finetune_step,
    if_memory_suffices,
    mean_seconds,
    supernet_step,
)

ENOUGH_EPOCHS = 40  # to prefer a wider supernet
EPOCHS = (6, 200)  # least and most of the supernet
ADAPTING_EPOCHS = (2, 60)  # from trained weights
TUNING_EPOCHS = (1, 75)  # the paper's 75 (section E) at most
# From so many on: fewer are planned in parts, which rounding would halve or double.
WHOLE_EPOCHS = 10
# From trained weights: with fewer steps a network at 128 pixels is behind that at 96, and how many
# times as long the network trains that all others begin with (`benchmarks/README.md`).
LEAST_TUNING_STEPS = 150
FIRST = 2
# Of the minutes from fresh weights; the rest is for timing this machine and for the search.
SHARES = {"supernet": 0.6, "collecting": 0.15, "fine-tuning": 0.2}
# From trained weights choices differ less, and a step for the answers is worth more than one for
# all subnets. Timing this machine and the search take as long in long runs as in short ones: so
# many minutes, at most a quarter of all, come first.
ADAPTING_SHARES = {"supernet": 0.29, "collecting": 0.06, "fine-tuning": 0.65}
# Where rounds train the supernet further, their minutes are some of those of fine-tuning: a
# supernet's own plan is the same with rounds and without, so that they can be asked for later.
ROUNDS_SHARES = {"rounds": 0.1, "fine-tuning": 0.55}
SEARCHING = 5.0
ARCHITECTURES = (200, 4000)  # least and most to collect
ADAPTING_LEAST = 40  # from trained weights, whose subnets at large resolutions take seconds each
# Images that a subnet is judged on. All are judged on the same ones, whose chance no number of
# subnets averages out: in equal time 5,000 rank better than 2,000 (`images_a_subnet.py`).
VALIDATION = 5000
CALIBRATION = 512  # images that its batch norms are calibrated on
LEAST_STEPS = 8  # an epoch
USUAL_BATCH = 64
# On a GPU: the most images that one works on at a time, and steps that an epoch should keep.
GPU_BATCH, GPU_STEPS = 1024, 50


@dataclass(frozen=True)
class SupernetPlan:
    """The supernet's family, how it is trained, and the minutes that this should take.

    Attributes:
        family: its name.
        batch_size: of all processes together.
        precision: that it is trained in, wherever the training resumes.
    """

    family: str
    epochs: float
    batch_size: int
    precision: Precision
    minutes: float


@dataclass(frozen=True)
class CollectingPlan:
    """How many architectures to judge, rounds included.

    Attributes:
        precision: that they are judged in. minutes: that it should take.
    """

    architectures: int
    precision: Precision
    minutes: float


@dataclass(frozen=True)
class FinetuningPlan:
    """How long to fine-tune the answers.

    Attributes:
        epochs: of each answer; where they share the minutes, of one at the least resolution.
        minutes: that all should take.
        networks: that share the minutes; 0 if each answer gets its epochs.
    """

    epochs: float
    minutes: float
    networks: int = 0

    def epochs_at(self, pixels: int, resolutions: Sequence[int], first: bool = False) -> float:
        """Epochs of an answer at one of the resolutions that answers choose among.

        Where they share the minutes, twice as large an image takes half as many epochs, which take
        twice as long.

        Args:
            first: whether others begin with what it becomes, and it with the supernet's weights.
        """
        if not self.networks:
            return self.epochs
        often = FIRST if first else 1
        return rounded_epochs(often * self.epochs * min(resolutions) / pixels)

    def epochs_text(self, resolutions: Sequence[int]) -> str:
        """Of answers that begin with another, at the least and the greatest resolution."""
        each = {self.epochs_at(pixels, resolutions) for pixels in resolutions or (0,)}
        return " to ".join(f"{number:.3g}" for number in sorted({min(each), max(each)})[::-1])

    def shared_by(self, networks: int, first: bool) -> FinetuningPlan:
        """The same minutes for other networks than were planned for.

        Args:
            first: whether one of them is what others begin with.
        """
        if not self.networks:
            return self
        trained = networks + (FIRST - 1 if first else 0)
        epochs = self.epochs * (self.networks + FIRST - 1) / trained
        epochs = min(epochs, TUNING_EPOCHS[1])
        return replace(self, epochs=epochs, networks=networks)


def rounded_epochs(epochs: float) -> float:
    """Whole epochs; if there are few of them, hundredths."""
    return round(epochs) if epochs >= WHOLE_EPOCHS else round(epochs, 2)


def minutes_of(stage: str, minutes: float, adapting: bool, in_rounds: bool = False) -> float:
    """How many of a run's minutes a stage gets.

    Args:
        adapting: whether the supernet starts from trained weights. in_rounds: and rounds train it.
    """
    if not adapting:
        return SHARES[stage] * minutes
    shares = ADAPTING_SHARES | (ROUNDS_SHARES if in_rounds else {})
    return shares[stage] * (minutes - min(SEARCHING, minutes / 4))


def evaluator_settings(
    device: torch.device, validation: int = VALIDATION, precision: Precision | None = None
) -> Settings:
    """How subnets are judged: on so many images, if there are, in the device's best precision.

    Args:
        precision: instead of that one.
    """
    return Settings(CALIBRATION, validation, judging_precision(device, precision))


def precision_of(accelerator: Accelerator) -> Precision:
    """What an accelerator trains in."""
    return next(p for p, mixed in MIXED.items() if mixed == accelerator.mixed_precision)


def with_batch(fit: Fit, batch_size: int) -> Fit:
    """The same with a batch of so many images.

    A learning rate is for the recipe's own batch size. Where the recipe leaves that open, the rate
    is for USUAL_BATCH images and grows with the batch (https://arxiv.org/abs/1706.02677), AdamW's
    with its square root (https://arxiv.org/abs/2205.10287).
    """
    growth = 1.0 if fit.batch_size else max(1.0, batch_size / USUAL_BATCH)
    if fit.optimizer == "adamw":
        growth = math.sqrt(growth)
    return replace(fit, batch_size=batch_size, learning_rate=growth * fit.learning_rate)


def suited_batch(
    fit: Fit, data: ImageData, processes: int = 1, device: torch.device | str = "cpu"
) -> Fit:
    """The same with a batch that suits the images, the processes and the device.

    It is smaller where the images would not fill LEAST_STEPS of them, and such that each process
    has an even number of images, at least two: batch norms need that, and mixup pairs them. Where
    the recipe leaves it open, a GPU gets as many images as leave GPU_STEPS an epoch.

    Raises:
        PnagError: if the batch is too small for the processes.
    """
    pairs = 2 * processes
    wanted = fit.batch_size or USUAL_BATCH
    if torch.device(device).type == "cuda" and not fit.batch_size:
        wanted = int(np.clip(len(data.train) // GPU_STEPS, USUAL_BATCH, GPU_BATCH * processes))
        wanted = 1 << (wanted.bit_length() - 1)
    most = min(wanted, max(pairs, len(data.train) // LEAST_STEPS))
    if most < pairs:
        raise PnagError(
            f"supernet.fit.batch_size must be at least {pairs}, two images for each of the "
            f"{processes} processes, not {fit.batch_size}; raise it in a --recipe or start "
            "fewer processes"
        )
    return with_batch(fit, most // pairs * pairs)


def plan_supernet(
    data: ImageData,
    settings: SupernetSettings,
    *,
    minutes: float,
    accelerator: Accelerator,
    families: Sequence[Family],
    epochs: float | None = None,
) -> SupernetPlan:
    """Time a few steps of each family; take the widest that gets enough epochs in the time.

    One for which the memory does not suffice is too wide. Where the recipe leaves the batch
    open, a smaller batch is tried first. If none gets enough epochs, it is the narrowest.

    Args:
        minutes: for the whole run.
        families: to choose among, widest first.
        epochs: what the user has decided already.

    Raises:
        PnagError: if the memory does not suffice for the narrowest.
    """
    seconds = minutes_of("supernet", minutes, settings.method == "transfer") * 60
    suited = suited_batch(settings.fit, data, accelerator.num_processes, accelerator.device)
    check_parts(suited, accelerator)
    for family in families:
        fit, step = _largest_batch(data, settings, suited.batch_size, family, accelerator)
        per_epoch = steps_per_epoch(data, fit.batch_size)
        if step is not None and (epochs or ENOUGH_EPOCHS) * per_epoch * step <= seconds:
            break
    if step is None:
        raise _too_little_memory(f"the supernet of {family.name}", "supernet", fit)
    bounds = ADAPTING_EPOCHS if settings.method == "transfer" else EPOCHS
    chosen = epochs or rounded_epochs(float(np.clip(seconds / (per_epoch * step), *bounds)))
    return SupernetPlan(
        family.name,
        chosen,
        fit.batch_size,
        precision_of(accelerator),
        round(chosen * per_epoch * step / 60, 2),
    )


def _largest_batch(
    data: ImageData,
    settings: SupernetSettings,
    batch: int,
    family: Family,
    accelerator: Accelerator,
) -> tuple[FitSettings, float | None]:
    """The largest batch for which the memory suffices, and a step's seconds, None without one.

    Args:
        batch: the largest to try. The recipe's own is the only one.
    """
    pairs = 2 * accelerator.num_processes  # each process takes as many images, mixup pairs them
    while True:
        fit = with_batch(settings.fit, batch)
        step = if_memory_suffices(
            partial(supernet_step, data, replace(settings, fit=fit), family, accelerator)
        )
        if step is not None or settings.fit.batch_size or batch < 2 * max(pairs, USUAL_BATCH):
            return fit, step
        batch = batch // 2 // pairs * pairs


def plan_collecting(
    data: ImageData,
    family: Family,
    *,
    minutes: float,
    device: torch.device,
    precision: Precision | None = None,
    architectures: int | None = None,
    adapting: bool = False,
    judgements: Callable[[int], float] = float,
) -> CollectingPlan:
    """Time a few random subnets.

    Args:
        minutes: for the whole run.
        precision, architectures: what the user has decided already.
        adapting: whether the supernet started from trained weights.
        judgements: how many times a subnet is judged for a table of so many architectures.
    """
    settings = evaluator_settings(device, precision=precision)
    supernet = family.supernet(len(data.classes))
    to_device(supernet, device)
    evaluator = make_evaluator(supernet.eval(), data, settings)
    space = family.space
    if device.type == "cuda":  # as in `train_all_layers`
        evaluator.correct(space.encode(family.covering()))
    tokens = space.sample(TURNS, np.random.default_rng(0))
    each = mean_seconds(lambda turn: evaluator.accuracies(tokens[turn : turn + 1]), device)
    affordable = minutes_of("collecting", minutes, adapting) * 60 / each
    least = ADAPTING_LEAST if adapting else ARCHITECTURES[0]
    numbers = range(ARCHITECTURES[1], least, -1)
    collected = architectures or next((n for n in numbers if judgements(n) <= affordable), least)
    minutes = round(judgements(collected) * each / 60, 2)
    return CollectingPlan(collected, settings.precision, minutes)


def plan_finetuning(
    data: ImageData,
    settings: FinetuneSettings,
    family: Family,
    *,
    minutes: float,
    answers: int,
    accelerator: Accelerator,
    epochs: float | None = None,
    adapting: bool = False,
    in_rounds: bool = False,
) -> FinetuningPlan:
    """Time a few steps of fine-tuning.

    Args:
        settings: with a batch that suits. minutes: for the whole run.
        answers: networks that will be fine-tuned in that time.
        epochs: of each answer, if the user has decided that already.
        adapting: whether the supernet started from trained weights: its answers are expected to be
            at different resolutions. in_rounds: whether rounds train it further.

    Raises:
        PnagError: if the memory does not suffice.
    """
    check_parts(settings.fit, accelerator)
    # From trained weights most answers are about the largest network (`run/doubt.py`).
    random = family.sample(1, np.random.default_rng(0))[0]
    arch = family.largest if adapting else family.parse(random)
    step = if_memory_suffices(lambda: finetune_step(data, settings, family, arch, accelerator))
    if step is None:
        raise _too_little_memory("fine-tuning", "finetune", settings.fit)
    more = 1 + len(data.validation) / len(data.train) if can_be_joined(data) else 1
    steps = more * steps_per_epoch(data, settings.fit.batch_size)
    epoch = step * steps
    resolutions = family.space.resolutions
    seconds = minutes_of("fine-tuning", minutes, adapting, in_rounds) * 60
    if epochs or not (adapting and resolutions):
        tuning = epochs or rounded_epochs(float(np.clip(seconds / epoch / answers, *TUNING_EPOCHS)))
        return FinetuningPlan(tuning, round(answers * tuning * epoch / 60, 2))
    # `step` is an average to which each resolution adds the same time. From that to the mean time
    # that answers train for while one at the least resolution trains an epoch (`epochs_at`).
    pixels = np.array(resolutions, float)
    epoch *= float((1 / pixels**2).mean() * pixels.mean() * pixels[0])
    least = LEAST_TUNING_STEPS / steps * pixels[-1] / pixels[0]
    networks = min(answers, len(resolutions))
    trained = networks + FIRST - 1
    each = float(np.clip(seconds / epoch / trained, least, TUNING_EPOCHS[1]))
    return FinetuningPlan(each, round(trained * each * epoch / 60, 2), networks)


def _too_little_memory(what: str, section: str, fit: FitSettings) -> PnagError:
    return PnagError(
        f"the memory does not suffice for {what} at {section}.fit.batch_size {fit.batch_size} in "
        f"{section}.fit.accumulate {fit.accumulate} part(s); raise accumulate or lower batch_size "
        "in a --recipe"
    )
