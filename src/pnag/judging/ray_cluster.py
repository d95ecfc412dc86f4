"""Work on a Ray cluster: an actor for each task at a time, and another one where one is lost."""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from pnag.errors import PnagError
from pnag.extras import install

Job = TypeVar("Job")
Task = TypeVar("Task")
MOST_LOSSES = 3  # actors that a task may lose before it is to blame
Map = Callable[[Sequence[Any]], Iterator[tuple[int, Any]]]
"""From tasks to their numbers and results, in the order in which they are done."""


@contextlib.contextmanager
def ray_actors(
    job: Job,
    make: Callable[[Job], Callable[[Any], Any]],
    workers: int | None,
    address: str,
    cuda: bool,
    most: int | None = None,
) -> Iterator[Map]:
    """A function that works on tasks by so many actors.

    Args:
        job: pickles. make: of a module; called once in each actor, returns what does a task.
        workers: one for each CPU of the cluster, or for each GPU, if None; then `most` at most.
        address: of the cluster, or "local" to start one on this machine.
        cuda: whether each needs a GPU, or its share of one.

    Raises:
        PnagError: if Ray is missing, no cluster is there, or it has no room for the workers; while
            working, if a task fails, or no actor is left that could do it.
    """
    try:
        import ray
    except ImportError as error:
        raise PnagError(
            f"--ray-address needs Ray ({error}); install it with: {install('ray')}"
        ) from error
    local: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **local)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise PnagError(
            f"no Ray cluster at {address!r} ({error}); start one with `ray start --head`, or pass "
            "--ray-address local"
        ) from error
    try:
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if workers is None:
            room = sum(int(machine.get("GPU" if cuda else "CPU", 0)) for machine in machines)
            workers = max(1, min(room, most or room))
        _check_cpus(machines, workers)
        share = gpu_share(machines, workers) if cuda else 0
        remote = ray.remote(num_cpus=1, num_gpus=share)(_Actor)
        stored = ray.put(job)
        actors = [remote.remote(make, stored) for _ in range(workers)]
        yield lambda tasks: _map(ray, actors, lambda: remote.remote(make, stored), tasks)
    finally:
        ray.shutdown()


class _Actor:
    def __init__(self, make: Callable[[Any], Callable[[Any], Any]], job: Any) -> None:
        self._do = make(job)

    def work(self, task: Any) -> Any:
        return self._do(task)


def _map(
    ray: Any, idle: list[Any], another: Callable[[], Any], tasks: Sequence[Any]
) -> Iterator[tuple[int, Any]]:
    """Tasks of an actor that is lost are done by another.

    Args:
        idle: the actors; in the end those that are left.
    """
    left = deque(enumerate(tasks))
    losses: Counter[int] = Counter()
    busy: dict[Any, tuple[Any, int, Any]] = {}
    try:
        while left or busy:
            # Without any actor, wait for a machine with room for one.
            if not (idle or busy):
                idle.append(another())
            while left and idle:
                number, task = left.popleft()
                actor = idle.pop()
                busy[actor.work.remote(task)] = actor, number, task
            (done,), _ = ray.wait(list(busy), num_returns=1)
            actor, number, task = busy.pop(done)
            try:
                result = ray.get(done)
            except ray.exceptions.RayTaskError as error:
                idle.append(actor)
                if isinstance(error.cause, PnagError):
                    raise error.cause from None
                raise PnagError(f"a Ray worker failed: {error.cause}") from None
            except ray.exceptions.RayError as error:  # the actor or its machine is gone
                if getattr(error, "actor_init_failed", False):
                    raise PnagError(f"a Ray worker could not start: {_last_line(error)}") from None
                left.appendleft((number, task))
                losses[number] += 1
                if losses[number] >= MOST_LOSSES:
                    raise PnagError(
                        f"{MOST_LOSSES} Ray workers were lost one after the other at the same "
                        f"task ({_first_line(error)}); give the same command again: what is done "
                        "is kept. If they lack memory, take fewer --workers, a smaller resolution "
                        "or width"
                    ) from None
                if ray.available_resources().get("CPU", 0) >= 1:
                    idle.append(another())
                continue
            idle.append(actor)
            yield number, result
    finally:
        idle += [actor for actor, _, _ in busy.values()]


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _last_line(error: Exception) -> str:
    """What the traceback of a start says in the end: the error's type and text."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1][:200]


def gpu_share(machines: Sequence[dict[str, float]], workers: int) -> float:
    """The share of a GPU that each of so many actors asks for.

    Ray waits forever for room that no machine has, so it is looked for first.

    Args:
        machines: what each has, by Ray's names: `CPU`, and `GPU` where there are any.

    Raises:
        PnagError: if the machines with a GPU have too few CPUs, one for each actor.
    """
    with_gpu = [machine for machine in machines if machine.get("GPU", 0) >= 1]
    _check_cpus(with_gpu, workers, " on machines with a GPU")
    each = next(
        each
        for each in itertools.count(1)
        if workers <= sum(min(int(m.get("CPU", 0)), int(m["GPU"]) * each) for m in with_gpu)
    )
    return int(1e4 / each) / 1e4  # Ray keeps four digits


def _check_cpus(machines: Sequence[dict[str, float]], workers: int, which: str = "") -> None:
    cpus = sum(int(machine.get("CPU", 0)) for machine in machines)
    if workers > cpus:
        raise PnagError(
            f"workers is {workers}, but the Ray cluster has {cpus} CPUs{which}, one for each; "
            "take fewer --workers, or add machines to the cluster"
        )
