"""Evaluation of subnets in this process, in others on this machine, or in a Ray cluster's."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from safetensors.torch import load, save

from pnag.errors import PnagError
from pnag.families.elastic_network import ElasticNetwork
from pnag.families.registry import family
from pnag.images.images import ImageData
from pnag.judging.evaluator_memory import evaluator_bytes
from pnag.judging.pool import Pool
from pnag.judging.ray_cluster import ray_actors
from pnag.judging.subnets import ElasticEvaluator, Settings, SubnetEvaluator, make_evaluator
from pnag.kept_memory import kept_memory
from pnag.memory import available_memory
from pnag.space import Tokens
from pnag.threads import torch_threads

# Architectures to judge.
Task = Tokens
# From tasks to their numbers and counts of right answers, in the order in which they are done.
Run = Callable[[Sequence[Task]], Iterator[tuple[int, list[int]]]]

PROCESS_BYTES = 900 << 20  # measured: of Python, torch and what they allocate besides maps


@dataclass(frozen=True)
class Job:
    """What a worker makes its evaluator from; pickles to weights and names of files.

    Attributes:
        memory: bytes for maps of validation images; what suits the device if None.
    """

    family: str
    weights: bytes
    device: str
    data: ImageData
    settings: Settings
    memory: int | None

    @classmethod
    def of(
        cls, supernet: ElasticNetwork, data: ImageData, settings: Settings, memory: int | None
    ) -> Job:
        """The job of evaluating subnets of a supernet on its device."""
        state = {name: value.cpu().contiguous() for name, value in supernet.state_dict().items()}
        device = str(next(supernet.parameters()).device)
        # As bytes: tensors would need shared memory, of which containers have little.
        return cls(supernet.family.name, save(state), device, data, settings, memory)

    def on_gpu(self, worker: int) -> Job:
        """The job for one of several workers: each takes the next GPU, if there are any."""
        if not self.device.startswith("cuda"):
            return self
        return replace(self, device=f"cuda:{worker % torch.cuda.device_count()}")

    def evaluator(self) -> SubnetEvaluator | ElasticEvaluator:
        """A new one, with a supernet of its own."""
        with torch.device("meta"):
            supernet = family(self.family).supernet(len(self.data.classes))
        supernet.load_state_dict(load(self.weights), assign=True)
        return make_evaluator(
            supernet.to(self.device), self.data, self.settings, memory=self.memory
        )


def worker_bytes(supernet: ElasticNetwork, data: ImageData, settings: Settings) -> int:
    """Memory that one worker on a CPU takes at its peak."""
    images = settings.validation_images(data)
    maps: int = evaluator_bytes(supernet, data.preprocessing.resolution, images, settings)
    weights: int = sum(
        value.numel() * value.element_size() for value in supernet.state_dict().values()
    )
    return PROCESS_BYTES + 3 * weights + maps  # in the job, in the supernet, folded


def suited_workers(supernet: ElasticNetwork, data: ImageData, settings: Settings) -> int:
    """Workers for this machine: one for each CPU that has the memory, or one for each GPU."""
    if next(supernet.parameters()).is_cuda:
        return torch.cuda.device_count()
    room: int = available_memory() // worker_bytes(supernet, data, settings)
    return max(1, min(torch.get_num_threads(), room))


@contextlib.contextmanager
def running(job: Job, workers: int | None, ray_address: str | None) -> Iterator[Run]:
    """A function that evaluates tasks with so many workers, of one thread each.

    Args:
        workers: with Ray, as many as the cluster has CPUs (or GPUs) if None; else one.

    Raises:
        PnagError: for workers below 1, a worker that dies, Ray that is missing or not reached.
    """
    if workers is None and ray_address is None:
        workers = 1
    if workers is not None and workers < 1:
        raise PnagError(f"workers must be at least 1, not {workers}")
    if ray_address is not None:
        with ray_actors(job, _judge, workers, ray_address, job.device.startswith("cuda")) as run:
            yield run
    elif workers is None or workers == 1:
        with kept_memory():  # once for all tasks
            yield _here(job)
    else:
        with _processes(job, workers) as run:
            yield run


def _here(job: Job) -> Run:
    evaluator: SubnetEvaluator | ElasticEvaluator | None = None

    def run(tasks: Sequence[Task]) -> Iterator[tuple[int, list[int]]]:
        nonlocal evaluator
        for number, task in enumerate(tasks):
            with torch_threads(1):
                evaluator = evaluator or job.evaluator()
                counts = _counts(evaluator, task)
            yield number, counts

    return run


def _counts(evaluator: SubnetEvaluator | ElasticEvaluator, task: Task) -> list[int]:
    return [int(count) for count in evaluator.correct(task)]


# Processes of this machine

_evaluator: SubnetEvaluator | ElasticEvaluator | None = None


def _start(job: Job, number: int) -> None:
    global _evaluator
    torch.set_num_threads(1)
    _evaluator = job.on_gpu(number).evaluator()


def _work(task: Task) -> list[int]:
    assert _evaluator is not None
    return _counts(_evaluator, task)


@contextlib.contextmanager
def _processes(job: Job, workers: int) -> Iterator[Run]:
    pool = Pool(
        job,
        _start,
        workers,
        purpose="judges subnets",
        remedy="close other programs and give the same command again (rows that are there are "
        "kept), or take a smaller resolution or width",
    )
    try:
        yield lambda tasks: pool.map(_work, tasks)
    finally:
        pool.close()


# A Ray cluster


def _judge(job: Job) -> Callable[[Task], list[int]]:
    torch.set_num_threads(1)
    return partial(_counts, job.evaluator())
