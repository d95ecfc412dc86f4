"""Progressive shrinking against the sandwich rule, on the same images for the same time.

    python benchmarks/training_methods.py digits --minutes 3 --width-mult 0.25 --seeds 3
    python benchmarks/training_methods.py FOLDER --minutes 30 --width-mult 0.25 --resolution 32

Steps of both are timed in turns, and each gets the epochs that fit into the minutes. Then the same
subnets of both supernets are judged on the validation part, batch norms recalibrated. A stopped
benchmark goes on: weights are kept in --out.
"""

from __future__ import annotations

import argparse
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from rich.console import Console
from rich.table import Table

from pnag.cost.runtimes.machine import cpu_name
from pnag.families import family
from pnag.families.ofa_mobilenetv3 import ofa
from pnag.files import write_text
from pnag.judging.subnets import SubnetEvaluator
from pnag.run.decoded_images import decode_images
from pnag.run.display import Display
from pnag.space import SearchSpace
from pnag.supernet.plan import evaluator_settings, plan_supernet, suited_batch
from pnag.supernet.settings import Method, SupernetSettings
from pnag.supernet.supernet_training import train_supernet

RESULTS = Path(__file__).parent / "results"
SPACE = SearchSpace()
METHODS: tuple[Method, ...] = ("progressive", "sandwich")
RANDOM = 40
TIMINGS = 3  # of each method's steps, in turns


def main() -> None:
    """Train both with every seed, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source")
    parser.add_argument("--name", help="of the results' file; the source's by default")
    parser.add_argument("--minutes", type=float, required=True, help="for each supernet")
    parser.add_argument("--width-mult", type=float, default=0.25)
    parser.add_argument("--resolution", type=int)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--learning-rate", type=float, default=0.05)
    parser.add_argument("--out", type=Path, default=Path("runs/training-methods"))
    options = parser.parse_args()
    display, accelerator = Display(), Accelerator(cpu=not torch.cuda.is_available())
    data = decode_images(
        display, options.source, resolution=options.resolution, cache=options.out / "images",
        classes=None, seed=0, on_corrupt="refuse",
    )  # fmt: skip

    def settings_of(method: Method, epochs: int) -> SupernetSettings:
        settings = SupernetSettings(method)
        fit = replace(settings.fit, epochs=epochs, learning_rate=options.learning_rate)
        return replace(settings, fit=suited_batch(fit, data))

    epoch_minutes: dict[Method, list[float]] = {method: [] for method in METHODS}
    for _ in range(TIMINGS):
        for method in METHODS:
            plan = plan_supernet(
                data, settings_of(method, 0), minutes=1, accelerator=accelerator,
                families=[ofa(options.width_mult)], epochs=1000,
            )  # fmt: skip
            epoch_minutes[method].append(plan.minutes / plan.epochs)
    archs = np.concatenate(
        [
            SPACE.encode([family().smallest, family().largest]),
            SPACE.sample(RANDOM, np.random.default_rng(7)),
        ]
    )
    table = Table(title="top-1 on the validation part (%), one line a seed", title_justify="left")
    for name in ("method", "epochs", "smallest", "random: least", "median", "most", "largest"):
        table.add_column(name, justify="left" if name == "method" else "right")
    for method in METHODS:
        epochs = max(8, round(options.minutes / float(np.median(epoch_minutes[method]))))
        for seed in range(options.seeds):
            with display.bar(f"{method}, seed {seed}") as bar:
                supernet = train_supernet(
                    data, settings_of(method, epochs), options.out / f"{method}-{seed}",
                    family=ofa(options.width_mult), seed=seed, accelerator=accelerator,
                    watch=lambda p: bar.update(p.done, p.total, f"{p.phase.name} {p.loss:.2f}"),
                )  # fmt: skip
            evaluator = SubnetEvaluator(supernet, data, evaluator_settings(accelerator.device))
            smallest, largest, *random = evaluator.accuracies(archs) * 100
            row: list[Any] = [smallest, min(random), np.median(random), max(random), largest]
            table.add_row(method, str(epochs), *(f"{value:.2f}" for value in row))
    console = Console(width=110, file=io.StringIO())
    console.print(
        f"{cpu_name()}, {torch.get_num_threads()} thread(s), torch {torch.__version__}; "
        f"{options.source} at {data.preprocessing.resolution}, width {options.width_mult:g}, "
        f"{options.minutes:g} minutes each; {len(data.validation)} validation images",
        soft_wrap=True,
    )
    console.print(table)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    write_text(RESULTS / f"training_methods_{options.name or Path(options.source).name}.txt", text)
    print(text)


if __name__ == "__main__":
    main()
