"""What the parts of a GPU day share: options, made-up images, clocks."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from pnag.cost.runtimes.machine import cpu_name
from pnag.images.images import ImageData, ImagePart, Preprocessing

Rows = dict[str, float | int | str | list[float]]


@dataclass(frozen=True)
class Options:
    """Of a GPU day.

    Attributes:
        images: a folder to train on. minutes: of the run on them.
    """

    device: torch.device
    tiny: bool
    images: str | None
    minutes: float


def device_name(device: torch.device) -> str:
    """What the driver calls the GPU, or the CPU's name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()


def noise(train: int, validation: int, resolution: int, classes: int) -> ImageData:
    """Images as of ImageNet at a resolution, made of noise: train ones are kept at 1.25 of it."""
    rng = np.random.default_rng(0)

    def part(count: int, size: int) -> ImagePart:
        # One block of bytes, repeated: drawing gigabytes would take longer than what is measured.
        block = rng.integers(0, 256, min(count, 256) * 3 * size * size, np.uint8)
        images = np.resize(block, (count, 3, size, size))
        return ImagePart(images, np.arange(count) % classes, np.full(count, 4 / 3, np.float32))

    names = tuple(f"class {number}" for number in range(classes))
    shorter = round(resolution * 8 / 7)
    how = Preprocessing(resolution, shorter, (0.5, 0.5, 0.5), (0.29, 0.29, 0.29))
    held = part(validation, resolution)
    return ImageData(
        "noise", "noise", "noise", names, part(train, round(resolution * 1.25)), held, held, how,
        small=False, mirror=True, notes=(), skipped=(),
    )  # fmt: skip


def wait(device: torch.device) -> None:
    """Until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(work: Callable[[], object], device: torch.device, turns: int) -> float:
    """Median of so many turns, after one that warms up."""
    taken = []
    for turn in range(turns + 1):
        wait(device)
        started = time.perf_counter()
        work()
        wait(device)
        if turn:
            taken.append(time.perf_counter() - started)
    return statistics.median(taken)


@contextmanager
def utilisation(device: torch.device) -> Iterator[list[float]]:
    """Gets the shares of time in which a kernel ran, as the driver reports them every 0.1 s."""
    shares: list[float] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.1):
            try:
                shares.append(torch.cuda.utilization(device) / 100)
            except Exception as error:  # no nvidia-ml-py: the other numbers are worth having
                print(f"no utilisation: {error}")
                return

    thread = threading.Thread(target=look, daemon=True)
    if device.type == "cuda":
        thread.start()
    try:
        yield shares
    finally:
        over.set()
        if device.type == "cuda":
            thread.join()
