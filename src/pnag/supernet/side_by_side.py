"""Fine-tuning of several answers at once: one for each GPU, or for each process on a CPU."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from accelerate import Accelerator
from safetensors.torch import load, save
from torch import nn

from pnag.families.base import Family
from pnag.families.registry import family as find_family
from pnag.files import write_bytes
from pnag.images.images import ImageData
from pnag.judging.pool import Pool
from pnag.judging.ray_cluster import ray_actors
from pnag.judging.workers import PROCESS_BYTES
from pnag.memory import available_memory
from pnag.space import AnyArchitecture
from pnag.supernet.finetune import finetune, tuned_file
from pnag.supernet.loop import Step
from pnag.supernet.settings import FinetuneSettings

# Roughly what training takes for a number of the largest network's maps: 100 MB for an image of
# Once-for-All's family at 224 pixels.
NUMBER_BYTES = 11


class Answer(NamedTuple):
    """An architecture to fine-tune, how, and the hash of all that its weights depend on."""

    arch: str
    settings: FinetuneSettings
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
    """What a process needs to fine-tune; pickles to weights and names of files.

    Attributes:
        weights: of the networks to train on, by architecture. teacher: the weights of the largest
            network, if it teaches. data: images by architecture, at its resolution.
    """

    family: str
    weights: Mapping[str, bytes]
    teacher: bytes | None
    data: Mapping[str, ImageData]
    folder: Path
    seed: int
    cuda: bool
    mixed_precision: str
    threads: int


def shares(
    answers: int, settings: FinetuneSettings, data: ImageData, family: Family, cuda: bool
) -> Shares:
    """How many answers to fine-tune at once on this machine, and with how many threads each."""
    if cuda:
        return Shares(max(1, min(answers, torch.cuda.device_count())), torch.get_num_threads())
    cpus = torch.get_num_threads()
    wanted = max(1, min(answers, cpus))
    batch = settings.fit.batch_size // settings.fit.accumulate
    layers = family.layers(family.largest, data.preprocessing.resolution)
    maps = sum(layer.maps for layer in layers)
    each = PROCESS_BYTES + batch * NUMBER_BYTES * maps
    return Shares(max(1, min(wanted, available_memory() // each)), cpus // wanted)


def finetune_side_by_side(
    networks: Mapping[str, nn.Module],
    family: Family,
    answers: Sequence[Answer],
    data: Mapping[str, ImageData],
    folder: Path,
    *,
    seed: int,
    accelerator: Accelerator,
    share: Shares,
    teacher: nn.Module | None = None,
    watch: Callable[[int, int, float], None] = lambda done, total, loss: None,
) -> None:
    """Fine-tune answers in processes of their own; `finetune` then finds the weights in `folder`.

    Args:
        networks: plain ones to train on, by architecture; they stay as they are.
        family: theirs.
        folder, teacher: as with `finetune`.
        watch: called with the steps done of all answers, their total, and the latest loss.

    Raises:
        PnagError: as `finetune`, or if a process is killed that worked alone.
    """
    job = _tuning(networks, family, teacher, data, folder, seed, accelerator, share.threads)
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
    done, totals, last = 0, list[int](), float("nan")
    for answer in answers:
        try:
            steps, of, loss = (folder / answer.identity).read_text().split()
        except (OSError, ValueError):  # not begun, or being written
            continue
        done, last = done + int(steps), float(loss)
        totals.append(int(of))
    if totals:  # those that are not begun are expected to be as long
        watch(done, sum(totals) * len(answers) // len(totals), last)


def finetune_on_ray(
    networks: Mapping[str, nn.Module],
    family: Family,
    answers: Sequence[Answer],
    data: Mapping[str, ImageData],
    folder: Path,
    *,
    seed: int,
    accelerator: Accelerator,
    address: str,
    teacher: nn.Module | None = None,
    watch: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """The same on a Ray cluster, an actor of one thread for each answer as long as there is room.

    Args:
        folder: of this machine; each answer's weights are put there when they are done, and an
            answer whose machine is lost starts over on another.
        address: of the cluster, or "local".
        watch: called with the answers done, and their total.

    Raises:
        PnagError: as `ray_cluster.ray_actors`.
    """
    missing = [answer for answer in answers if not tuned_file(folder, answer.identity).exists()]
    job = _tuning(networks, family, teacher, data, folder, seed, accelerator, threads=1)
    watch(len(answers) - len(missing), len(answers))
    if not missing:
        return
    with ray_actors(job, _tune_apart, None, address, job.cuda, most=len(missing)) as run:
        for done, (number, weights) in enumerate(run(missing), 1):
            write_bytes(tuned_file(folder, missing[number].identity), weights)
            watch(len(answers) - len(missing) + done, len(answers))


def _tuning(
    networks: Mapping[str, nn.Module],
    family: Family,
    teacher: nn.Module | None,
    data: Mapping[str, ImageData],
    folder: Path,
    seed: int,
    accelerator: Accelerator,
    threads: int,
) -> Tuning:
    cuda = accelerator.device.type == "cuda"
    return Tuning(
        family.name, {arch: _packed(network) for arch, network in networks.items()},
        _packed(teacher) if teacher else None, data, folder, seed, cuda,
        str(accelerator.mixed_precision), threads,
    )  # fmt: skip


def _packed(network: nn.Module) -> bytes:
    return save({name: value.cpu().contiguous() for name, value in network.state_dict().items()})


# In a process of its own


class _Tuner:
    """Fine-tunes one answer after the other into the job's folder."""

    def __init__(self, job: Tuning) -> None:
        torch.set_num_threads(job.threads)
        self._job = job
        self._accelerator = Accelerator(cpu=not job.cuda, mixed_precision=job.mixed_precision)

    def __call__(self, answer: Answer, watch: Callable[[Step], None] = lambda step: None) -> None:
        job, data = self._job, self._job.data[str(answer.arch)]
        of, classes = find_family(job.family), len(data.classes)

        def network(arch: AnyArchitecture, weights: bytes) -> nn.Module:
            with torch.device("meta"):
                found = of.build(arch, classes)
            found.load_state_dict(load(weights), assign=True)
            return found.to(self._accelerator.device)

        finetune(
            network(answer.arch, job.weights[str(answer.arch)]),
            data,
            answer.settings,
            job.folder,
            identity=answer.identity,
            seed=job.seed,
            accelerator=self._accelerator,
            teacher=network(of.largest, job.teacher) if job.teacher else None,
            watch=watch,
        )


_folder: Path | None = None
_tune: _Tuner | None = None


def _start(job: Tuning, number: int) -> None:
    global _tune, _folder
    if job.cuda:
        device = number % torch.cuda.device_count()
        torch.cuda.set_device(device)
        os.environ["ACCELERATE_TORCH_DEVICE"] = f"cuda:{device}"
    _tune, _folder = _Tuner(job), job.folder


def _work(answer: Answer) -> None:
    assert _tune is not None and _folder is not None
    file = _folder / "progress" / answer.identity
    _tune(answer, lambda step: _write(file, f"{step.done} {step.total} {step.loss}"))


def _write(file: Path, text: str) -> None:
    # Shown and forgotten: a full disk or a folder that was removed is no reason to stop.
    with contextlib.suppress(OSError):
        file.write_text(text)


def _tune_apart(job: Tuning) -> Callable[[Answer], bytes]:
    """In a folder of its own, for machines that do not share disks; gives the file of weights."""

    def tune(answer: Answer) -> bytes:
        with tempfile.TemporaryDirectory(prefix="pnag-finetuning-") as folder:
            _Tuner(replace(job, folder=Path(folder)))(answer)
            return tuned_file(Path(folder), answer.identity).read_bytes()

    return tune
