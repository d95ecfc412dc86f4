"""The training loop: of a phase of the supernet, and of fine-tuning one network.

What a step sees follows from the seed and the step's number alone, and a checkpoint holds all else,
so a run that was killed resumes as if it had not been. On one CPU with the same number of threads
it ends with the same weights; on a GPU, whose sums come in any order, with weights as good.

Several processes (started by `accelerate launch`) each take a share of every batch and average
their gradients. Batch norms see the shares, so another number of processes trains another network:
a checkpoint is continued by as many as wrote it.

A GPU never waits in a step: its batch was copied while the step before ran (`feed`), and its loss
is read two steps later (`late_losses`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn

from pnag.errors import PnagError
from pnag.families.elastic_network import ElasticNetwork
from pnag.images.batches import steps_per_epoch, train_batches
from pnag.images.feed import Pixels
from pnag.images.images import ImageData
from pnag.kept_memory import kept_memory
from pnag.supernet.checkpoint import State, load_state, save_state
from pnag.supernet.late_losses import LateLosses
from pnag.supernet.processes import average_gradients, check_same_weights, others_alive
from pnag.supernet.settings import FitSettings

Losses = Callable[[Tensor, Tensor, int], Iterator[Tensor]]
"""Images (B, 3, R, R), labels and the step's number to losses, each of its own forward pass."""
CHECKPOINT_SECONDS = 60.0
LEAST_PART = 2  # images: batch norms cannot take the variance of one


@dataclass
class Step:
    """What a caller learns: a step is done, or an epoch has ended.

    Attributes:
        done, total: steps. epoch: from 0. loss: mean over the step's networks.
        ends_epoch: whether it was an epoch's last, or the last of all.
    """

    done: int
    total: int
    epoch: int
    loss: float
    ends_epoch: bool


def steps_of(settings: FitSettings, data: ImageData) -> int:
    """Steps of all epochs, the last of which may end early; at least one if there is any epoch."""
    steps = round(settings.epochs * steps_per_epoch(data, settings.batch_size))
    return max(1, steps) if settings.epochs else 0


@kept_memory()
def fit(
    model: nn.Module,
    losses: Losses,
    data: ImageData,
    settings: FitSettings,
    *,
    seed: int,
    accelerator: Accelerator,
    checkpoint: Path,
    identity: str,
    watch: Callable[[Step], None] = lambda step: None,
    notice: Callable[[str], None] = lambda text: None,
) -> None:
    """Train a model in place, from its checkpoint if there is one.

    Args:
        losses: is given each batch; gradients of what it yields add up.
        checkpoint: written once a minute and after every epoch; the caller removes it.
        identity: of what is trained on what and how; another one's checkpoint is not taken.
        watch: called with every step, on the main process only; on a GPU two steps later.
        notice: called with messages for the user, on the main process only.

    Raises:
        PnagError: if the loss is no longer a number, a part of a batch is too small for batch
            norms, the memory does not suffice for the smallest part, the checkpoint is damaged or
            of another number of processes, or another process has ended.
    """
    if not settings.epochs:
        return
    main = accelerator.is_main_process
    per_epoch = steps_per_epoch(data, settings.batch_size)
    total = steps_of(settings, data)
    state = _begin(model, settings, total, accelerator, checkpoint, identity)
    parameters, late = list(model.parameters()), LateLosses(accelerator.device)
    saved = time.monotonic()
    model.train()
    batches = _batches_from(state.step, data, settings, seed, accelerator)
    for images, labels in islice(batches, total - state.step):
        _seed_what_networks_draw(seed, state.step, accelerator)
        mean = None
        while mean is None:
            with _smaller_parts_where_memory_lacks(len(images), state, accelerator, notice):
                mean = add_gradients(
                    losses, images, labels, state.step, state.parts, accelerator, state.scaler
                )
        _update(parameters, state, settings, total, accelerator)
        late.add(state.step, mean)
        ends = _ends_epoch(state.step, per_epoch, total)
        due = ends or (main and time.monotonic() - saved > CHECKPOINT_SECONDS)
        known = late.read(everything=due)
        _check_numbers(known, settings)
        # Before `watch`, which may take long: a stop in it then costs nothing.
        if main and due:
            save_state(checkpoint, identity, accelerator.num_processes, state)
            saved = time.monotonic()
        if state.step == total:
            _keep_average(model, state)  # what is watched last is what is kept
        for step, loss in known if main else ():
            epoch, last = (step - 1) // per_epoch, _ends_epoch(step, per_epoch, total)
            watch(Step(step, total, epoch, loss, ends_epoch=last))
        if ends:
            _meet(model, accelerator)
    _keep_average(model, state)
    model.eval()


def _seed_what_networks_draw(seed: int, step: int, accelerator: Accelerator) -> None:
    """Published networks have dropout; a step that is resumed at draws what it would have drawn."""
    place = step * accelerator.num_processes + accelerator.process_index
    torch.manual_seed(seed + 1_000_003 * place)


def _keep_average(model: nn.Module, state: State) -> None:
    if state.ema is not None:
        model.load_state_dict(state.ema.module.state_dict())


def _ends_epoch(step: int, per_epoch: int, total: int) -> bool:
    """Whether a step is an epoch's last, or the last of all."""
    return step % per_epoch == 0 or step == total


def _begin(
    model: nn.Module,
    settings: FitSettings,
    total: int,
    accelerator: Accelerator,
    checkpoint: Path,
    identity: str,
) -> State:
    """All that a training of `total` steps changes, as it begins or as its checkpoint has it."""
    check_parts(settings, accelerator)
    device = accelerator.device
    to_device(model, device)
    decay = 1 - 1 / max(1.0, settings.averaged * total)
    state = State(
        model,
        ModelEmaV3(model, decay=decay) if settings.averaged else None,
        make_optimizer(model, settings, device),
        make_scaler(accelerator),
        parts=settings.accumulate,
    )
    load_state(checkpoint, identity, accelerator, state)
    if device.type == "cuda" and settings.optimizer == "sgd":
        # The fused optimiser wants a momentum for all weights as soon as some have one, and what
        # the first subnets leave out has none. From zero the first step is the same as from none.
        for parameter in model.parameters():
            state.optimizer.state[parameter].setdefault(
                "momentum_buffer", torch.zeros_like(parameter)
            )
    check_same_weights(model, accelerator)
    return state


def _batches_from(
    step: int, data: ImageData, settings: FitSettings, seed: int, accelerator: Accelerator
) -> Iterator[tuple[Tensor, Tensor]]:
    """This process' images and labels of a step and all after it, epoch by epoch."""
    pixels = Pixels(data.train, accelerator.device)
    epoch, first = divmod(step, steps_per_epoch(data, settings.batch_size))
    for number in range(epoch, math.ceil(settings.epochs)):
        yield from train_batches(
            data,
            settings.batch_size,
            epoch=number,
            seed=seed,
            start=first if number == epoch else 0,
            rank=accelerator.process_index,
            world_size=accelerator.num_processes,
            pixels=pixels,
            augment=settings.augment,
        )


def _update(
    parameters: list[nn.Parameter],
    state: State,
    settings: FitSettings,
    total: int,
    accelerator: Accelerator,
) -> None:
    """One step of the optimiser by the gradients, averaged over processes, of `total` steps."""
    for group in state.optimizer.param_groups:
        group["lr"] = group["share"] * settings.rate(state.step, total)
    average_gradients(parameters, accelerator)
    state.scaler.unscale_(state.optimizer)
    nn.utils.clip_grad_norm_(parameters, settings.clip)
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.optimizer.zero_grad()
    if state.ema is not None:
        state.ema.update(state.model, state.step)
    state.step += 1


def _meet(model: nn.Module, accelerator: Accelerator) -> None:
    """Wait for all processes, see that they have trained the same weights, and train on."""
    model.train()  # `watch` may have looked at the model
    check_same_weights(model, accelerator)
    with others_alive():
        accelerator.wait_for_everyone()


def make_optimizer(
    model: nn.Module, settings: FitSettings, device: torch.device
) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum, or AdamW; biases and batch norms do not decay.

    Each group of weights has a `share` of the learning rate: the body's is `body_rate`.
    """
    groups: list[dict[str, Any]] = []
    for head in (False, True):
        some = [
            p for name, p in model.named_parameters()
            if name.removeprefix("network.").startswith("classifier.") == head
        ]  # fmt: skip
        share = 1.0 if head else settings.body_rate
        groups += [
            {"params": [p for p in some if p.ndim > 1], "share": share},
            {"params": [p for p in some if p.ndim <= 1], "share": share, "weight_decay": 0.0},
        ]
    # One kernel for all weights, which also skips a step of infinite gradients by itself.
    fused = device.type == "cuda"
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(
            groups, settings.learning_rate, weight_decay=settings.weight_decay, fused=fused
        )
    return torch.optim.SGD(
        groups,
        lr=settings.learning_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        nesterov=True,
        fused=fused,
    )


def make_scaler(accelerator: Accelerator) -> torch.amp.GradScaler:
    """Scales losses where the gradients are of 16 bits with few exponents; else does nothing."""
    half = accelerator.mixed_precision == "fp16"
    return torch.amp.GradScaler(accelerator.device.type, enabled=half)


def check_parts(settings: FitSettings, accelerator: Accelerator) -> None:
    """Refuse parts of a batch that have one image, of which batch norms cannot take a variance.

    Raises:
        PnagError: names `accumulate`.
    """
    share = settings.batch_size // accelerator.num_processes
    if share // settings.accumulate < LEAST_PART:
        raise PnagError(
            f"accumulate is {settings.accumulate} for a process' {share} image(s) of a batch of "
            f"{settings.batch_size}; each part needs 2: lower accumulate or raise batch_size"
        )


def add_gradients(
    losses: Losses,
    images: Tensor,
    labels: Tensor,
    step: int,
    parts: int,
    accelerator: Accelerator,
    scaler: torch.amp.GradScaler,
) -> Tensor:
    """Add up the gradients of a step, worked on in so many parts of its images.

    Returns:
        The mean of all losses, without graph; it is not asked for its value here.
    """
    values: list[Tensor] = []
    some = zip(images.tensor_split(parts), labels.tensor_split(parts), strict=True)
    for part, theirs in some:
        with accelerator.autocast():
            for loss in losses(part, theirs, step):
                scaler.scale(loss * (len(part) / len(images))).backward()
                values.append(loss.detach())
    return torch.stack(values).mean()


def train_all_layers(supernet: ElasticNetwork, images: Tensor, accelerator: Accelerator) -> None:
    """Train on every width and kernel once, and forget the gradients.

    cuDNN compiles a kernel when it first sees a shape, for tenths of a second each: a GPU's first
    steps take as long as hundreds of later ones, and say nothing about these.
    """
    for arch in supernet.family.covering():
        with accelerator.autocast():
            loss = supernet(images, arch).float().mean()
        loss.backward()
    supernet.zero_grad()


def to_device(model: nn.Module, device: torch.device) -> None:
    """Move a model, its convolutions laid out channels last: 1.3 to 2.8 times as fast on a CPU."""
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


@contextmanager
def _smaller_parts_where_memory_lacks(
    images: int, state: State, accelerator: Accelerator, notice: Callable[[str], None]
) -> Iterator[None]:
    """If a step needs too much memory, repeat it; from now on its parts are half as large.

    Args:
        images: of the step.
    """
    try:
        yield
        return
    except RuntimeError as error:
        if not should_reduce_batch_size(error):
            raise
        reason = str(error).splitlines()[0][:200]
    part = images // (2 * state.parts)
    if part < LEAST_PART:
        raise PnagError(
            f"the memory does not suffice for {images // state.parts} image(s) at a time "
            f"({reason}); take a smaller resolution or width, or a device with more memory"
        )
    state.parts *= 2
    # What the attempt held, its gradients too.
    state.optimizer.zero_grad()
    clear_device_cache(garbage_collection=True)
    if accelerator.is_main_process:
        notice(
            f"the memory does not suffice for {2 * part} images at a time: batches are worked "
            f"on in {state.parts} parts from step {state.step + 1} on, whose batch norms see "
            f"{part} images each"
        )


def _check_numbers(known: list[tuple[int, float]], settings: FitSettings) -> None:
    for step, loss in known:
        if not math.isfinite(loss):
            raise PnagError(
                f"the loss at step {step} is {loss}: lower the learning rate "
                f"({settings.learning_rate:g}) and start again"
            )
