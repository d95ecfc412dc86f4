"""Processes of this machine that work on tasks side by side; one that is killed is made up for."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from multiprocessing.queues import SimpleQueue
from typing import Any, Generic, TypeVar

from pnag.errors import PnagError

Job = TypeVar("Job")
Task = TypeVar("Task")
Result = TypeVar("Result")
IDLE_SECONDS = 0.3


class Pool(Generic[Job]):
    """Processes that each begin with `start(job, number)`; numbers count from 0.

    They are started when the first task comes, and again, half as many, when one of them is
    killed: most likely the memory did not suffice, and fewer need less.

    Args:
        start: a module's function. job: pickles.
        purpose: of a process, for messages: "judges subnets".
        remedy: what a user may do if even one process alone is killed.
    """

    def __init__(
        self,
        job: Job,
        start: Callable[[Job, int], None],
        workers: int,
        *,
        purpose: str,
        remedy: str,
    ) -> None:
        self._job, self._start, self._workers = job, start, workers
        self._purpose, self._remedy = purpose, remedy
        self._executor: ProcessPoolExecutor | None = None
        self._holds_open: Connection | None = None

    def map(
        self,
        work: Callable[[Task], Result],
        tasks: Sequence[Task],
        idle: Callable[[], None] = lambda: None,
    ) -> Iterator[tuple[int, Result]]:
        """Numbers of tasks and their results, in the order in which they are done.

        Args:
            work: a module's function. idle: called every now and then while tasks are worked on.

        Raises:
            PnagError: if a process is killed that worked alone.
        """
        left = dict(enumerate(tasks))
        while left:
            try:
                # Apart: opening may start multiprocessing's tracker, which unblocks Ctrl-C.
                executor = self._opened()
                with _deaf_children():
                    futures = {executor.submit(work, task): number for number, task in left.items()}
                waiting = set(futures)
                while waiting:
                    done, waiting = wait(waiting, IDLE_SECONDS, FIRST_COMPLETED)
                    idle()
                    for future in done:
                        result = future.result()
                        del left[futures[future]]
                        yield futures[future], result
            except BrokenProcessPool as error:
                self.close()
                if self._workers == 1:
                    raise PnagError(
                        f"a process that {self._purpose} ended early, perhaps for lack of memory, "
                        f"and so did one that ran alone; {self._remedy}"
                    ) from error
                self._workers //= 2

    def close(self) -> None:
        """End the processes."""
        if self._holds_open is not None:
            self._holds_open.close()
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)
        self._executor = self._holds_open = None

    def _opened(self) -> ProcessPoolExecutor:
        if self._executor is None:
            # Not forked: OpenMP's threads and CUDA do not survive that.
            context = multiprocessing.get_context("spawn")
            pool_open, self._holds_open = context.Pipe(duplex=False)
            numbers: SimpleQueue[int] = context.SimpleQueue()
            for number in range(self._workers):
                numbers.put(number)
            arguments = (self._start, self._job, pool_open, numbers)
            self._executor = ProcessPoolExecutor(self._workers, context, _enter, arguments)
        return self._executor


def _enter(
    start: Callable[[Any, int], None], job: Any, pool_open: Connection, numbers: SimpleQueue[int]
) -> None:
    threading.Thread(target=_leave_after, args=(pool_open,), daemon=True).start()
    start(job, numbers.get())


def _leave_after(pool_open: Connection) -> None:
    # A parent that is killed cannot tell its workers, and they would wait for tasks forever. Nor
    # does a broken pool tell those that it was still starting when another was killed
    # (ProcessPoolExecutor then waits for them, and they for it). A closed pipe tells all.
    pool_open.poll(None)
    os._exit(1)


@contextlib.contextmanager
def _deaf_children() -> Iterator[None]:
    """Processes that this thread starts meanwhile do not hear Ctrl-C; it hears it afterwards.

    Ctrl-C goes to all processes of a terminal. A worker's end is its pool's, and a traceback from
    each is not what the user should read. Windows cannot block it: there they say it.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
