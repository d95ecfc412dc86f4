"""Images a second of supernet training on the CPU with 1, 2, ... processes of one thread each.

    python benchmarks/processes.py --processes 1 2

Each turn trains a supernet on scikit-learn's digits (same batch for all processes together) and
tells its rate over the steps after the first ones. Turns alternate, so that a busy spell of the
machine hits all; the median over turns counts.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

RESULTS = Path(__file__).parent / "results"
WARM_UP = 3
STEPS = 13
TURNS = 5


def worker(width_mult: float, resolution: int, batch: int) -> None:
    """Train STEPS steps as one of the processes; the first one prints images a second."""
    from pnag.pipeline.image_stages import make_accelerator
    from pnag.pipeline.recipe import ImagesRecipe
    from pnag.training.images import load_images
    from pnag.training.settings import FitSettings, SupernetSettings
    from pnag.training.supernet_training import Progress, train_supernet

    accelerator = make_accelerator(ImagesRecipe(source="digits"))
    cache = Path(tempfile.gettempdir()) / "pnag-processes"
    with accelerator.main_process_first():
        data = load_images("digits", resolution=resolution, cache=cache)
    at: list[float] = []

    def watch(progress: Progress) -> None:
        at.append(time.perf_counter())
        if len(at) == STEPS:
            print(json.dumps({"rate": batch * (STEPS - WARM_UP) / (at[-1] - at[WARM_UP - 1])}))
            sys.stdout.flush()
            os._exit(0)  # the others wait for a step that never comes, and are ended by torchrun

    settings = SupernetSettings("sandwich", fit=replace(FitSettings(), epochs=50, batch_size=batch))
    with tempfile.TemporaryDirectory() as folder:
        train_supernet(
            data, settings, Path(folder), width_mult=width_mult, seed=0, accelerator=accelerator,
            watch=watch,
        )  # fmt: skip


def main() -> None:
    """Take turns, print rates and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--width-mult", type=float, default=0.5)
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options.width_mult, options.resolution, options.batch)
        return
    size = ["--width-mult", str(options.width_mult), "--resolution", str(options.resolution)]
    size += ["--batch", str(options.batch)]
    rates: dict[int, list[float]] = {n: [] for n in options.processes}
    for _ in range(TURNS):
        for n in options.processes:
            words = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={n}"]
            done = subprocess.run(
                [sys.executable, *words, __file__, "--worker", *size],
                env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
                check=False,
            )  # fmt: skip
            lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
            if not lines:
                raise SystemExit(done.stderr[-3000:])
            rates[n].append(json.loads(lines[-1])["rate"])
            print(n, f"{rates[n][-1]:.1f} images/s", flush=True)
    from pnag.cost.runtimes.machine import cpu_name
    from pnag.files import write_text

    one = np.array(rates[options.processes[0]])
    text = (
        f"{cpu_name()}, {os.cpu_count()} CPUs; sandwich steps, width {options.width_mult:g}, "
        f"{options.resolution}x{options.resolution}, batch {options.batch} of all processes "
        f"together, {TURNS} turns\n"
    )
    for n, found in rates.items():
        ratio = np.array(found) / one
        text += (
            f"{n} process(es) of one thread: {np.median(found):.1f} images/s, "
            f"{np.median(ratio):.2f} times {options.processes[0]} "
            f"({ratio.min():.2f} to {ratio.max():.2f})\n"
        )
    print(text)
    write_text(RESULTS / "processes.txt", text)


if __name__ == "__main__":
    main()
