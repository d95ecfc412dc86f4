"""Processes of this machine that work on tasks side by side; one that is killed is replaced.

A process whose start fails reports this at its first task: the executor itself would only say that
the process is gone, which looks like a lack of memory.
"""

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
from multiprocessing.process import BaseProcess
from multiprocessing.queues import SimpleQueue
from typing import Any, Generic, TypeVar

import torch

from pnag.errors import PnagError

Job = TypeVar("Job")
Task = TypeVar("Task")
Result = TypeVar("Result")
IDLE_SECONDS = 0.3

_failed: Exception | None = None  # of this process' start


class Pool(Generic[Job]):
    """Processes that each begin with `start(job, number)`; numbers count from 0.

    They are started when the first task comes, and again, half as many, when one of them is
    killed or gets no memory: fewer need less.

    Args:
        start: a module's function. job: pickles.
        purpose: of a process, for messages: "judges subnets".
        remedy: what a user may do if the memory does not even suffice for one process.
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
        self._processes: list[BaseProcess] = []

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
            PnagError: if a process is killed, or gets no memory, that worked alone.
            Exception: what the start of a process, or `work`, raised.
        """
        left = dict(enumerate(tasks))
        while left:
            try:
                # Apart: opening may start multiprocessing's tracker, which unblocks Ctrl-C.
                executor = self._opened()
                others = set(multiprocessing.active_children())
                with _deaf_children():
                    futures = {
                        executor.submit(_do, work, task): number for number, task in left.items()
                    }
                self._processes += set(multiprocessing.active_children()) - others
                waiting = set(futures)
                while waiting:
                    done, waiting = wait(waiting, IDLE_SECONDS, FIRST_COMPLETED)
                    idle()
                    for future in done:
                        result = future.result()
                        del left[futures[future]]
                        yield futures[future], result
            except (BrokenProcessPool, MemoryError) as error:
                processes = self._processes
                self.close()
                if self._workers == 1:
                    raise PnagError(self._why_ended(error, processes)) from error
                self._workers //= 2

    def _why_ended(self, error: Exception, processes: list[BaseProcess]) -> str:
        if isinstance(error, MemoryError):
            said = str(error).partition("\n")[0]
            return f"there is too little memory for a process that {self._purpose}" + (
                f" ({said}); {self._remedy}" if said else f"; {self._remedy}"
            )
        how = _told(_exit_code(processes))
        if how == "SIGKILL":
            return (
                f"a process that {self._purpose} was killed, most likely for lack of memory, and "
                f"so was one that ran alone; {self._remedy}"
            )
        return (
            f"a process that {self._purpose} ended early ({how}), and so did one that ran "
            "alone; what it printed says why"
        )

    def close(self) -> None:
        """End the processes."""
        if self._holds_open is not None:
            self._holds_open.close()
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)
        self._executor = self._holds_open = None
        self._processes = []

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
    global _failed
    threading.Thread(target=_leave_after, args=(pool_open,), daemon=True).start()
    try:
        start(job, numbers.get())
    except Exception as error:
        _failed = error


def _do(work: Callable[[Any], Any], task: Any) -> Any:
    if _failed is None:
        return work(task)
    if _lacks_memory(_failed):
        raise MemoryError(str(_failed)) from _failed
    raise _failed


def _lacks_memory(error: Exception) -> bool:
    """Whether an error says so; torch raises a plain RuntimeError of the CPU's memory."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    said = str(error)
    return isinstance(error, RuntimeError) and (
        "can't allocate memory" in said or "not enough memory" in said
    )


def _exit_code(processes: list[BaseProcess]) -> int | None:
    """Of the process that ended first: the executor ends all others by SIGTERM."""
    codes = [code for process in processes if (code := process.exitcode) not in (None, 0)]
    own = [code for code in codes if code != -signal.SIGTERM]
    return min(own or codes, default=None)  # a signal before another code


def _told(code: int | None) -> str:
    if code is None or code >= 0:
        return "exit code unknown" if code is None else f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


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
