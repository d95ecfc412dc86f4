"""Losses of steps, read when a GPU has computed them, so that no step waits for it."""

from __future__ import annotations

from collections import deque

import torch
from torch import Tensor

BEHIND = 2  # steps that a GPU may be behind the CPU


class LateLosses:
    """The losses of steps whose value has not been asked for.

    On a CPU a loss is known as soon as its step is made. On a GPU asking would wait until the step
    is computed, with nothing queued behind it; a loss is read BEHIND steps later.
    """

    def __init__(self, device: torch.device) -> None:
        self._behind = BEHIND if device.type == "cuda" else 0
        self._waiting: deque[tuple[int, Tensor, torch.cuda.Event | None]] = deque()

    def add(self, step: int, loss: Tensor) -> None:
        """The loss () of a step that was just made."""
        arrived = None
        if loss.is_cuda:
            loss = torch.empty((), pin_memory=True).copy_(loss, non_blocking=True)
            arrived = torch.cuda.Event()
            arrived.record()
        self._waiting.append((step, loss, arrived))

    def read(self, everything: bool = False) -> list[tuple[int, float]]:
        """Steps and their losses, oldest first: all, or those that a GPU should have by now."""
        found = []
        while self._waiting and (everything or len(self._waiting) > self._behind):
            step, loss, arrived = self._waiting.popleft()
            if arrived is not None:
                arrived.synchronize()
            found.append((step, float(loss)))
        return found
