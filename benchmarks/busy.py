"""How long `pnag run --table` takes alone, and beside busy processes.

    python benchmarks/busy.py --rows 2000 --busy 1 --turns 3

Alone and beside take turns, so that a slow spell of the machine hits both. Besides pnag's own
settings two others are timed: OpenMP's threads spin while they wait, as they do where nobody says
otherwise, and one thread. The goal is that a run beside one busy process takes at most twice as
long as alone. For a quiet machine: the only other load should be this script's own.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from pnag.cost.runtimes.machine import cpu_name
from pnag.cpus import allowed_cpus
from pnag.families import count_batch, family
from pnag.files import write_json, write_text
from pnag.space import SearchSpace

RESULTS = Path(__file__).parent / "results"
SPACE = SearchSpace()
SETTINGS: dict[str, dict[str, str]] = {
    "pnag's own": {},
    "spinning": {"OMP_WAIT_POLICY": "ACTIVE", "GOMP_SPINCOUNT": "300000"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
PARTS = {
    "start, predictors": "prediction_errors.json",
    "evaluator": "logs/pretrained_evaluator.safetensors",
    "generator": "generator.safetensors",
    "front": "front.parquet",
}  # and the file that each ends with
OWN = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def made_table(path: Path, rows: int) -> None:
    """Costs are multiply-adds, and accuracies grow with the choices."""
    tokens = SPACE.sample_unique(rows, np.random.default_rng(0))
    quality = SPACE.features(tokens) @ np.linspace(0, 1, SPACE.num_features)
    cost = count_batch(family(), tokens).macs / 1e6
    frame = {"arch": SPACE.text(tokens), "top1": 0.8 - 0.3 * np.exp(-quality / 20), "macs": cost}
    pd.DataFrame(frame).to_csv(path, index=False)


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """So many processes that never wait."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def seconds(table: Path, variables: dict[str, str]) -> dict[str, float]:
    """Of one run from nothing: each part, told by when its file was written, and all."""
    environment = {name: value for name, value in os.environ.items() if name not in OWN}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pnag", "run", "--table", str(table), "--accuracy", "top1",
                   "--cost", "macs", "--out", f"{folder}/run", "--json"]  # fmt: skip
        started = last = time.time()
        subprocess.run(command, env=environment | variables, check=True, capture_output=True)
        ended = time.time()
        parts = {}
        for part, file in PARTS.items():
            written = (Path(folder) / "run" / file).stat().st_mtime
            parts[part], last = written - last, written
    return parts | {"report": ended - last, "all": ended - started}


def main() -> None:
    """Time all settings, alone and beside, in turns; write and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--busy", type=int, default=1, help="processes beside the run")
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    taken: dict[str, dict[str, list[dict[str, float]]]] = {
        name: {"alone": [], "beside": []} for name in SETTINGS
    }
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "table.csv"
        made_table(table, options.rows)
        seconds(table, {})  # compiles what numba keeps, and fills the system's cache of files
        for _ in range(options.turns):
            for name, variables in SETTINGS.items():
                for place, count in (("alone", 0), ("beside", options.busy)):
                    with busy_processes(count):
                        taken[name][place].append(seconds(table, variables))
                    print(f"{name}, {place}: {taken[name][place][-1]['all']:.1f} s", flush=True)
    head = (
        f"{cpu_name()}, {allowed_cpus()} CPUs; {options.rows} rows, {options.busy} busy "
        f"process(es), {options.turns} turns; medians in seconds"
    )
    parts = [*PARTS, "report", "all"]
    width = max(map(len, parts))
    lines = [head, "", f"{'':20}" + "".join(f"{part:>{width + 2}}" for part in parts)]
    for name, places in taken.items():
        medians = {
            place: [statistics.median(run[part] for run in runs) for part in parts]
            for place, runs in places.items()
        }
        for place, values in medians.items():
            cells = "".join(f"{value:{width + 2}.1f}" for value in values)
            lines.append(f"{name + ', ' + place:20}{cells}")
        ratio = medians["beside"][-1] / medians["alone"][-1]
        lines.append(f"{'':20}beside / alone: {ratio:.2f}")
    text = "\n".join(lines) + "\n"
    write_json(RESULTS / "busy.json", {"machine": head, "seconds": taken})
    write_text(RESULTS / "busy.txt", text)
    print(text)


if __name__ == "__main__":
    main()
