"""Evaluation of subnets in this process, in others on this machine, or in a Ray cluster's."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

import torch
from safetensors.torch import load, save

from pnag.errors import PnagError
from pnag.networks.supernet import Supernet
from pnag.space import Tokens
from pnag.training.images import ImageData
from pnag.training.subnets import Part, Settings, SubnetEvaluator

# Architectures, and the images to judge them on.
Task = tuple[Tokens, Part]
# From tasks to their numbers and counts of right answers, in the order in which they are done.
Run = Callable[[Sequence[Task]], Iterator[tuple[int, list[int]]]]


@dataclass(frozen=True)
class Job:
    """What a worker makes its evaluator from; pickles to weights and names of files."""

    width_mult: float
    weights: bytes
    device: str
    data: ImageData
    settings: Settings
    memory: int

    @classmethod
    def of(cls, supernet: Supernet, data: ImageData, settings: Settings, memory: int) -> Job:
        """The job of evaluating subnets of a supernet on its device."""
        state = {name: value.cpu().contiguous() for name, value in supernet.state_dict().items()}
        device = str(next(supernet.parameters()).device)
        # As bytes: tensors would need shared memory, of which containers have little.
        return cls(supernet.width_mult, save(state), device, data, settings, memory)

    def evaluator(self) -> SubnetEvaluator:
        """A new one, with a supernet of its own."""
        with torch.device("meta"):
            supernet = Supernet(self.width_mult, len(self.data.classes))
        supernet.load_state_dict(load(self.weights), assign=True)
        return SubnetEvaluator(
            supernet.to(self.device), self.data, self.settings, memory=self.memory
        )


@contextlib.contextmanager
def running(job: Job, workers: int, ray_address: str | None) -> Iterator[Run]:
    """A function that evaluates tasks with so many workers, of one thread each.

    Raises:
        PnagError: for workers below 1, a worker that dies, Ray that is missing or not reached.
    """
    if workers < 1:
        raise PnagError(f"workers is {workers}, needs at least 1")
    if ray_address is not None:
        with _ray(job, workers, ray_address) as run:
            yield run
    elif workers == 1:
        yield _here(job)
    else:
        with _processes(job, workers) as run:
            yield run


def _here(job: Job) -> Run:
    evaluator: SubnetEvaluator | None = None

    def run(tasks: Sequence[Task]) -> Iterator[tuple[int, list[int]]]:
        nonlocal evaluator
        for number, task in enumerate(tasks):
            with _one_thread():
                evaluator = evaluator or job.evaluator()
                counts = _counts(evaluator, task)
            yield number, counts

    return run


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _counts(evaluator: SubnetEvaluator, task: Task) -> list[int]:
    counts, _ = evaluator.correct(*task)
    return [int(count) for count in counts]


# Processes of this machine

_evaluator: SubnetEvaluator | None = None


def _start(job: Job) -> None:
    global _evaluator
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    _evaluator = job.evaluator()


def _leave_with_parent() -> None:
    # A parent that is killed cannot tell its workers, and they would wait for tasks forever.
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _work(task: Task) -> list[int]:
    assert _evaluator is not None
    return _counts(_evaluator, task)


@contextlib.contextmanager
def _processes(job: Job, workers: int) -> Iterator[Run]:
    # Not forked: OpenMP's threads and CUDA do not survive that.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, _start, (job,))

    def run(tasks: Sequence[Task]) -> Iterator[tuple[int, list[int]]]:
        try:
            numbers = {pool.submit(_work, task): number for number, task in enumerate(tasks)}
            for future in as_completed(numbers):
                yield numbers[future], future.result()
        except BrokenProcessPool as error:
            raise PnagError(
                "a worker process ended before its time, perhaps for want of memory; try fewer "
                "--workers, and go on from the rows that are there"
            ) from error

    try:
        yield run
    finally:
        pool.shutdown(cancel_futures=True)


# A Ray cluster


class _Actor:
    def __init__(self, job: Job) -> None:
        torch.set_num_threads(1)
        self.evaluator = job.evaluator()

    def work(self, number: int, task: Task) -> tuple[int, list[int]]:
        return number, _counts(self.evaluator, task)


@contextlib.contextmanager
def _ray(job: Job, workers: int, address: str) -> Iterator[Run]:
    try:
        import ray
        from ray.util import ActorPool
    except ImportError as error:
        raise PnagError(
            f"--ray-address needs Ray ({error}); install it with: pip install 'pnag[ray]'"
        ) from error
    try:
        ray.init(address=address, log_to_driver=False, num_cpus=None)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise PnagError(
            f"no Ray cluster at {address!r} ({error}); start one with `ray start --head`, or pass "
            "--ray-address local"
        ) from error
    try:
        remote = ray.remote(num_cpus=1, num_gpus=int(job.device.startswith("cuda")))(_Actor)
        stored = ray.put(job)
        pool = ActorPool([remote.remote(stored) for _ in range(workers)])

        def run(tasks: Sequence[Task]) -> Iterator[tuple[int, list[int]]]:
            try:
                yield from pool.map_unordered(
                    lambda actor, task: actor.work.remote(*task), list(enumerate(tasks))
                )
            except ray.exceptions.RayError as error:
                raise PnagError(f"a Ray worker failed: {error}") from error

        yield run
    finally:
        ray.shutdown()
