"""What machine this is, and what all runtimes on its CPU have in common."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Images = NDArray[np.float32]


def cpu_name() -> str:
    """The CPU's model name where the system says, else the architecture."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def random_images(shape: tuple[int, ...]) -> Tensor:
    """Normally distributed, the same ones every time."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@dataclass(frozen=True)
class OnThisCpu:
    """A runtime on this machine's CPU.

    Attributes:
        name, version: of the runtime.
    """

    threads: int = 1
    batch: int = 1
    name: ClassVar[str]
    version: ClassVar[str]

    def identity(self) -> dict[str, str | int]:
        """What a measured time depends on, besides the network."""
        return {
            "device": cpu_name(),
            "runtime": self.name,
            "version": self.version,
            "threads": self.threads,
            "batch": self.batch,
        }
