"""What a pool of processes says when they cannot work: lack of memory only where that is it."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
import torch

from pnag.errors import PnagError
from pnag.judging.pool import Pool


def raise_of_memory(job: str, number: int) -> None:
    raise RuntimeError(f"{job}: can't allocate memory: you tried to allocate 12 bytes.")


def raise_another(job: str, number: int) -> None:
    raise ValueError(f"the driver of {job} is too old")


def raise_for_the_user(job: str, number: int) -> None:
    raise PnagError(f"{job} is not there")


def leave(job: str, number: int) -> None:
    os._exit(3)


def second_lacks_memory(job: str, number: int) -> None:
    if number == 1:
        raise torch.OutOfMemoryError("CUDA out of memory")


def double(task: int) -> int:
    return 2 * task


def made(start: Callable[[str, int], None], workers: int) -> Pool[str]:
    return Pool("cpu", start, workers, purpose="doubles", remedy="take less")


@pytest.mark.parametrize(
    ("start", "kind", "says"),
    [
        (raise_another, ValueError, "^the driver of cpu is too old$"),
        (raise_for_the_user, PnagError, "^cpu is not there$"),
        (raise_of_memory, PnagError, "too little memory for a process that doubles .*; take less"),
        (leave, PnagError, r"a process that doubles ended early \(exit code 3\)"),
    ],
)
def test_why_a_start_failed(
    start: Callable[[str, int], None], kind: type[Exception], says: str
) -> None:
    pool = made(start, 1)
    try:
        with pytest.raises(kind, match=says) as told:
            list(pool.map(double, [1, 2]))
    finally:
        pool.close()
    assert ("memory" in str(told.value)) == (start is raise_of_memory)


def test_fewer_processes_need_less_memory() -> None:
    pool = made(second_lacks_memory, 2)
    try:
        assert dict(pool.map(double, list(range(20)))) == {n: 2 * n for n in range(20)}
    finally:
        pool.close()
