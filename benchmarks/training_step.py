"""A training step of efficientnet_lite0 on a CPU: float32, bfloat16 as torch has it, and ours.

    python benchmarks/training_step.py

The same network and images in turns, the three ways side by side in each; the ratios of a turn are
what counts. Times are this process' CPU seconds, so that other processes matter less. It needs a
CPU that multiplies bfloat16 (avx512_bf16 or AMX).
"""

from __future__ import annotations

import io
import time
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.nn import functional as F

from pnag.cost.runtimes.machine import cpu_name
from pnag.families import family
from pnag.families.quick_layers import with_quick_layers
from pnag.files import write_text
from pnag.kept_memory import kept_memory
from pnag.supernet.loop import to_device

RESULTS = Path(__file__).parent / "results"
SIZES = (64, 96, 128, 160)
BATCH, TURNS = 64, 5
OURS = "bfloat16, ours"
WAYS = ("float32", "bfloat16, torch", OURS)


def seconds(network: torch.nn.Module, images: torch.Tensor, way: str) -> float:
    """CPU seconds of one step."""
    labels = torch.zeros(len(images), dtype=torch.int64)
    started = time.process_time()
    with torch.autocast("cpu", torch.bfloat16, enabled=way != "float32"):
        logits = network(images)
    F.cross_entropy(logits.float(), labels).backward()
    return time.process_time() - started


def main() -> None:
    """Print and keep the ratios."""
    torch.set_num_threads(1)
    of = family("timm/efficientnet_lite0")
    networks = {way: of.build(of.largest, 10).train() for way in WAYS}
    with_quick_layers(networks[OURS])
    for network in networks.values():
        to_device(network, torch.device("cpu"))
    table = Table(title=f"batch {BATCH}, one thread", title_justify="left")
    for name in ("resolution", *(f"{way} (ms)" for way in WAYS), "ours / float32", "ours / torch"):
        table.add_column(name, justify="right")
    for resolution in SIZES:
        images = torch.randn(BATCH, 3, resolution, resolution)
        images = images.to(memory_format=torch.channels_last)
        with kept_memory():
            for way in WAYS:
                seconds(networks[way], images, way)
            turns = np.array(
                [[seconds(networks[w], images, w) for w in WAYS] for _ in range(TURNS)]
            )
        ratios = []
        for other in (0, 1):
            low, middle, high = np.quantile(turns[:, 2] / turns[:, other], (0.25, 0.5, 0.75))
            ratios.append(f"{middle:.2f} ({low:.2f} to {high:.2f})")
        times = (f"{1000 * np.median(turns[:, way]):.0f}" for way in range(len(WAYS)))
        table.add_row(str(resolution), *times, *ratios)
    console = Console(width=110, file=io.StringIO())
    console.print(f"{cpu_name()}, torch {torch.__version__}")
    console.print(table)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    print(text)
    write_text(RESULTS / "training_step.txt", text)


if __name__ == "__main__":
    main()
