"""Batches made ahead by a thread: the very ones that are made on demand, and no thread is left."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from itertools import islice

import numpy as np
import pytest
import torch

from pnag.images.feed import AHEAD, Asked, Pixels
from pnag.images.images import ImagePart
from pnag.supernet.late_losses import BEHIND, LateLosses

CPU = torch.device("cpu")
IMAGES = np.random.default_rng(0).integers(0, 256, (50, 3, 5, 5), np.uint8)
PART = ImagePart(IMAGES, np.arange(50), np.ones(50, np.float32))


def asked(batches: int = 12) -> Iterator[Asked]:
    rng = np.random.default_rng(1)
    for size in rng.integers(1, 9, batches):  # of growing and shrinking sizes: buffers are reused
        rows = rng.integers(0, 50, size)
        yield Asked(rows, {"labels": rows % 7, "windows": rng.random((4, size), np.float32)})


def threads() -> int:
    return [thread.name for thread in threading.enumerate()].count("pnag batches")


@pytest.mark.parametrize("resident", [False, True])
def test_made_ahead_or_on_demand_they_are_the_same(resident: bool) -> None:
    pixels = Pixels(PART, CPU)
    expected = list(pixels.batches(asked()))
    if resident:
        pixels.resident = torch.from_numpy(IMAGES)
    # Kept, not copied: a buffer that is used again too early would show.
    found = list(pixels.ahead(asked()))
    assert len(found) == len(expected) == 12 and threads() == 0
    for (images, arrays), (wanted, wanted_arrays) in zip(found, expected, strict=True):
        assert torch.equal(images, wanted)
        assert arrays.keys() == wanted_arrays.keys()
        for name, array in arrays.items():
            assert (
                torch.equal(array, wanted_arrays[name]) and array.dtype == wanted_arrays[name].dtype
            )


def test_they_are_made_while_the_one_before_is_worked_on_but_not_all_at_once() -> None:
    made: list[int] = []

    def counted() -> Iterator[Asked]:
        for number, batch in enumerate(asked(20)):
            made.append(number)
            yield batch

    batches = Pixels(PART, CPU).ahead(counted())
    next(batches)
    deadline = time.monotonic() + 10
    while len(made) < AHEAD + 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    # One is out, AHEAD wait, and the thread holds the one after them.
    assert len(made) == AHEAD + 2
    batches.close()  # type: ignore[attr-defined]
    assert threads() == 0


def test_an_error_is_raised_where_batches_are_asked_for() -> None:
    def fails() -> Iterator[Asked]:
        yield from islice(asked(), 3)
        raise ValueError("the disk is gone")

    batches = Pixels(PART, CPU).ahead(fails())
    assert len(list(islice(batches, 3))) == 3
    with pytest.raises(ValueError, match="the disk is gone"):
        next(batches)
    assert threads() == 0


def test_losses_are_read_when_they_are_known() -> None:
    late = LateLosses(CPU)
    late.add(1, torch.tensor(0.5))
    assert late.read() == [(1, 0.5)] and late.read() == []
    late._behind = BEHIND  # as on a GPU
    for step in range(2, 7):
        late.add(step, torch.tensor(float(step)))
    assert late.read() == [(2, 2.0), (3, 3.0), (4, 4.0)]
    assert late.read() == []
    assert late.read(everything=True) == [(5, 5.0), (6, 6.0)]
