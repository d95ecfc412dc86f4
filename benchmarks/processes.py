"""What 1, 2, ... processes of one thread each do on the CPU: training, judging, fine-tuning.

    python benchmarks/processes.py --processes 1 2

Each turn works on scikit-learn's digits: training a supernet (the same batch for all processes
together), judging subnets, fine-tuning answers. Its rate leaves out the first steps, and with them
the processes' start. Turns alternate, so that a busy spell of the machine hits all; the median over
turns counts.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from pnag.images.images import ImageData

RESULTS = Path(__file__).parent / "results"
WARM_UP = 3
STEPS = 13
TURNS = 5
SUBNETS = 8  # tasks of eight


def worker(width_mult: float, resolution: int, batch: int) -> None:
    """Train STEPS steps as one of the processes; the first one prints images a second."""
    from pnag.families.ofa_mobilenetv3 import ofa
    from pnag.run.image_run import make_accelerator
    from pnag.run.recipe import ImagesRecipe
    from pnag.supernet.settings import FitSettings, SupernetSettings
    from pnag.supernet.supernet_training import Progress, train_supernet

    accelerator = make_accelerator(ImagesRecipe(source="digits"))
    with accelerator.main_process_first():
        data = digits(resolution)
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
            data, settings, Path(folder), family=ofa(width_mult), seed=0, accelerator=accelerator,
            watch=watch,
        )  # fmt: skip


def judging_rate(width_mult: float, resolution: int, processes: int) -> float:
    """Subnets a second."""
    from pnag import SearchSpace, Supernet
    from pnag.judging.workers import Job, running
    from pnag.supernet.plan import evaluator_settings

    data = digits(resolution)
    supernet = Supernet(width_mult, len(data.classes)).eval()
    job = Job.of(supernet, data, evaluator_settings(torch.device("cpu")), None)
    tokens = SearchSpace().sample(8 * SUBNETS, np.random.default_rng(0))
    tasks = list(tokens.reshape(SUBNETS, 8, -1))
    with running(job, processes, None) as run:
        list(run(tasks[:2] * processes))
        started = time.perf_counter()
        list(run(tasks))
        return len(tokens) / (time.perf_counter() - started)


def finetuning_rate(width_mult: float, resolution: int, processes: int) -> float:
    """Steps a second of all answers together."""
    from accelerate import Accelerator

    from pnag import SearchSpace, Supernet
    from pnag.supernet.settings import FinetuneFit, FinetuneSettings
    from pnag.supernet.side_by_side import Answer, Shares, finetune_side_by_side

    data = digits(resolution)
    supernet = Supernet(width_mult, len(data.classes)).eval()
    space = SearchSpace()
    texts = space.text(space.sample(2, np.random.default_rng(0)))
    settings = FinetuneSettings(fit=FinetuneFit(epochs=5, batch_size=32))
    answers = [Answer(text, settings, str(number)) for number, text in enumerate(texts)]
    seen: list[tuple[float, int]] = []
    total = 0

    def watch(done: int, of: int, loss: float) -> None:
        nonlocal total
        total = of
        seen.append((time.perf_counter(), done))

    with tempfile.TemporaryDirectory() as folder:
        finetune_side_by_side(
            {text: supernet.subnet(text) for text in texts}, supernet.family, answers,
            dict.fromkeys(texts, data), Path(folder), seed=0,
            accelerator=Accelerator(cpu=True), share=Shares(processes, 1), watch=watch,
        )  # fmt: skip
    # While all processes are at work: not before the last has begun, nor after the first has ended.
    steady = [(at, done) for at, done in seen if 0.2 * total <= done <= 0.8 * total]
    return (steady[-1][1] - steady[0][1]) / (steady[-1][0] - steady[0][0])


def digits(resolution: int) -> ImageData:
    """scikit-learn's, from a cache."""
    from pnag.images.images import load_images

    cache = Path(tempfile.gettempdir()) / "pnag-processes"
    return load_images("digits", resolution=resolution, cache=cache)


def training_rate(size: list[str], processes: int) -> float:
    """Images a second of a supernet's training."""
    words = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    done = subprocess.run(
        [sys.executable, *words, __file__, "--worker", *size],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        raise SystemExit(done.stderr[-3000:])
    return float(json.loads(lines[-1])["rate"])


def main() -> None:
    """Take turns, print rates and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--width-mult", type=float, default=0.5)
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options.width_mult, options.resolution, options.batch)
        return
    torch.set_num_threads(1)
    size = ["--width-mult", str(options.width_mult), "--resolution", str(options.resolution)]
    size += ["--batch", str(options.batch)]
    how = options.width_mult, options.resolution
    ways: dict[str, Callable[[int], float]] = {
        "training, images/s": lambda n: training_rate(size, n),
        "judging, subnets/s": lambda n: judging_rate(*how, n),
        "fine-tuning, steps/s": lambda n: finetuning_rate(*how, n),
    }
    rates: dict[tuple[str, int], list[float]] = {
        (way, n): [] for way in ways for n in options.processes
    }
    for _ in range(options.turns):
        for (way, n), found in rates.items():
            found.append(ways[way](n))
            print(f"{way}, {n} process(es): {found[-1]:.2f}", flush=True)
    from pnag.cost.runtimes.machine import cpu_name
    from pnag.files import write_text

    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    text = (
        f"{cpu_name()}, {os.cpu_count()} CPUs, load {load}; digits, width {options.width_mult:g}, "
        f"{options.resolution}x{options.resolution}, {options.turns} turns; training: sandwich "
        f"steps, batch {options.batch} of all processes together\n"
    )
    for (way, n), found in rates.items():
        ratio = np.array(found) / np.array(rates[way, options.processes[0]])
        text += (
            f"{way:21s} {n} process(es) of one thread: {np.median(found):7.2f}, "
            f"{np.median(ratio):.2f} times {options.processes[0]} "
            f"({ratio.min():.2f} to {ratio.max():.2f})\n"
        )
    print(text)
    write_text(RESULTS / "processes.txt", text)


if __name__ == "__main__":
    main()
