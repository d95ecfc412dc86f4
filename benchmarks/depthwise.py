"""A training step with and without our backward pass of large depthwise kernels, in turns.

    python benchmarks/depthwise.py

The same supernet, images and architectures; each turn takes both ways, and the ratio of a turn is
what counts. Times are this process' CPU seconds, so that other processes matter less.
"""

from __future__ import annotations

import io
import time
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from pnag.cost.runtimes.machine import cpu_name
from pnag.families import depthwise, family
from pnag.families.supernet import Supernet
from pnag.files import write_text
from pnag.space import Architecture, SearchSpace
from pnag.supernet.loop import to_device

RESULTS = Path(__file__).parent / "results"
TURNS = 5
SIZES = ((32, 0.35), (32, 1.0), (48, 0.35), (64, 0.5), (64, 1.0), (96, 0.5))
BATCH = 64


def seconds(supernet: Supernet, images: torch.Tensor, arch: Architecture, ours: bool) -> float:
    """CPU seconds of one step."""
    before = depthwise.LARGEST_OF_ONEDNN
    depthwise.LARGEST_OF_ONEDNN = before if ours else 99
    try:
        started = time.process_time()
        supernet(images, arch).square().mean().backward()
        return time.process_time() - started
    finally:
        depthwise.LARGEST_OF_ONEDNN = before


def main() -> None:
    """Print and keep the ratios."""
    torch.set_num_threads(1)
    space, rng = SearchSpace(), np.random.default_rng(0)
    table = Table(title=f"batch {BATCH}, one thread", title_justify="left")
    for name in ("resolution", "width", "network", "torch (ms)", "ours (ms)", "ours / torch"):
        table.add_column(name, justify="right")
    for resolution, width in SIZES:
        supernet = Supernet(width, 10).train()
        to_device(supernet, torch.device("cpu"))
        images = torch.randn(BATCH, 3, resolution, resolution)
        images = images.to(memory_format=torch.channels_last)
        archs = {
            "largest": [family().largest] * TURNS,
            "random": space.decode(space.sample(TURNS, rng)),
        }
        for name, drawn in archs.items():
            seconds(supernet, images, drawn[0], True)
            seconds(supernet, images, drawn[0], False)
            turns = np.array(
                [
                    [seconds(supernet, images, arch, ours) for ours in (False, True)]
                    for arch in drawn
                ]
            )
            low, middle, high = np.quantile(turns[:, 1] / turns[:, 0], (0.25, 0.5, 0.75))
            torchs, ours = np.median(turns, axis=0) * 1000
            table.add_row(
                str(resolution), f"{width:g}", name, f"{torchs:.0f}", f"{ours:.0f}",
                f"{middle:.2f} ({low:.2f} to {high:.2f})",
            )  # fmt: skip
    console = Console(width=100, file=io.StringIO())
    console.print(f"{cpu_name()}, torch {torch.__version__}")
    console.print(table)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    write_text(RESULTS / "depthwise.txt", text)
    print(text)


if __name__ == "__main__":
    main()
