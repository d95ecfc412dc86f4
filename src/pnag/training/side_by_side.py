"""Fine-tuning of several answers at once: one for each GPU, or for each process on a CPU."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from accelerate import Accelerator
from safetensors.torch import load, save

from pnag.memory import available_memory
from pnag.networks.supernet import Supernet
from pnag.training.finetune import finetune
from pnag.training.images import ImageData
from pnag.training.loop import Step
from pnag.training.pool import Pool
from pnag.training.settings import FinetuneSettings
from pnag.training.workers import PROCESS_BYTES

# Roughly what training takes for an image at 224 pixels and width 1: maps of the largest network.
IMAGE_BYTES = 100 << 20


class Answer(NamedTuple):
    """An architecture to fine-tune, and the hash of all that its weights depend on."""

    arch: str
    identity: str


class Shares(NamedTuple):
    """Processes, and threads of each.

    Attributes:
        threads: follows from the CPUs and the answers alone, not from the memory: weights depend
            on it in their last bits.
    """

    workers: int
    threads: int


@dataclass(frozen=True)
class Tuning:
    """What a process needs to fine-tune; pickles to weights and names of files."""

    width_mult: float
    weights: bytes
    data: ImageData
    settings: FinetuneSettings
    folder: Path
    seed: int
    cuda: bool
    mixed_precision: str
    threads: int


def shares(
    answers: int, settings: FinetuneSettings, data: ImageData, width_mult: float, cuda: bool
) -> Shares:
    """How many answers to fine-tune at once on this machine, and with how many threads each."""
    if cuda:
        return Shares(max(1, min(answers, torch.cuda.device_count())), torch.get_num_threads())
    cpus = torch.get_num_threads()
    wanted = max(1, min(answers, cpus))
    pixels = (data.preprocessing.resolution / 224) ** 2
    batch = settings.fit.batch_size // settings.fit.accumulate
    each = PROCESS_BYTES + int(batch * pixels * width_mult * IMAGE_BYTES)
    return Shares(max(1, min(wanted, available_memory() // each)), cpus // wanted)


def finetune_side_by_side(
    supernet: Supernet,
    answers: Sequence[Answer],
    data: ImageData,
    settings: FinetuneSettings,
    folder: Path,
    *,
    seed: int,
    accelerator: Accelerator,
    share: Shares,
    watch: Callable[[int, int, float], None] = lambda done, total, loss: None,
) -> None:
    """Fine-tune answers in processes of their own; `finetune` then finds the weights in `folder`.

    Args:
        folder: gets weights and checkpoints, as with `finetune`.
        watch: told the steps done of all answers, their total, and the latest loss.

    Raises:
        PnagError: as `finetune`, or if a process is killed that worked alone.
    """
    state = {name: value.cpu().contiguous() for name, value in supernet.state_dict().items()}
    job = Tuning(
        supernet.width_mult, save(state), data, settings, folder, seed,
        accelerator.device.type == "cuda", str(accelerator.mixed_precision), share.threads,
    )  # fmt: skip
    progress = folder / "progress"
    progress.mkdir(parents=True, exist_ok=True)
    pool = Pool(
        job,
        _start,
        share.workers,
        purpose="fine-tunes an answer",
        remedy="close other programs and give the same command again (what is trained is kept), "
        "or take a smaller finetune.fit.batch_size in a --recipe",
    )
    try:
        for _ in pool.map(_work, answers, lambda: _show(progress, answers, watch)):
            _show(progress, answers, watch)
    finally:
        pool.close()
        for answer in answers:
            (progress / answer.identity).unlink(missing_ok=True)


def _show(
    folder: Path, answers: Sequence[Answer], watch: Callable[[int, int, float], None]
) -> None:
    """Add up what the processes have written."""
    done, total, last = 0, 0, float("nan")
    for answer in answers:
        try:
            steps, of, loss = (folder / answer.identity).read_text().split()
        except (OSError, ValueError):  # not begun, or being written
            continue
        done, total, last = done + int(steps), max(total, int(of)), float(loss)
    if total:
        watch(done, total * len(answers), last)


# In a process of its own

_job: Tuning | None = None
_supernet: Supernet | None = None
_accelerator: Accelerator | None = None


def _start(job: Tuning, number: int) -> None:
    global _job, _supernet, _accelerator
    torch.set_num_threads(job.threads)
    if job.cuda:
        device = number % torch.cuda.device_count()
        torch.cuda.set_device(device)
        os.environ["ACCELERATE_TORCH_DEVICE"] = f"cuda:{device}"
    _job = job
    _accelerator = Accelerator(cpu=not job.cuda, mixed_precision=job.mixed_precision)
    with torch.device("meta"):
        _supernet = Supernet(job.width_mult, len(job.data.classes))
    _supernet.load_state_dict(load(job.weights), assign=True)
    _supernet.to(_accelerator.device).eval()


def _work(answer: Answer) -> None:
    assert _job is not None and _supernet is not None and _accelerator is not None
    file = _job.folder / "progress" / answer.identity

    def watch(step: Step) -> None:
        file.write_text(f"{step.done} {step.total} {step.loss}")

    finetune(
        _supernet,
        answer.arch,
        _job.data,
        _job.settings,
        _job.folder,
        identity=answer.identity,
        seed=_job.seed,
        accelerator=_accelerator,
        watch=watch,
    )
