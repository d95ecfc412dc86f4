"""From this CPU to a Samsung Note 10: a new device's generator from a run's accuracies.

    python benchmarks/new_device.py --out runs/new-device

Measures this CPU on networks of width 1.2 (the width of the published Note 10 table), makes a run
for it from a table of published accuracies, then answers budgets of the Note 10 by
`pnag generate RUN --device note10.yaml`. What a user would have without: the CPU's front, of which
the phone's latency is looked up. The referee is `note10.py`. Everything is kept in `--out`, so a
stopped benchmark goes on; minutes are of what was done in this call.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from note10 import FACTS, RESOLUTION, WIDTH_MULT, Note10
from rich.console import Console
from rich.table import Table

from pnag import SearchSpace
from pnag.commands.bodies.generate import generate_for
from pnag.cost.latency_model import fit_latency_model
from pnag.cost.measure import measure_device
from pnag.cost.runtimes import make_runtime
from pnag.families.ofa_mobilenetv3 import ofa
from pnag.files import write_json, write_text
from pnag.run.budgets import Budget
from pnag.run.display import Display
from pnag.run.recipe import load_recipe, make_recipe
from pnag.run.run import run_pipeline
from pnag.run.run_directory import RunDirectory
from pnag.run.trained import Answer, load_front

RESULTS = Path(__file__).parent / "results"
BUDGETS = (24.5, 26.0, 28.0, 30.0, 35.0, 40.0)
TABLE = FACTS / "note10_latency_ms" / f"{RESOLUTION}_lookup_table.yaml"


def main() -> None:
    """Run what is left and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("runs/new-device"))
    parser.add_argument("--rows", type=int, default=16_000)
    parser.add_argument("--budgets", type=float, nargs="+", default=BUDGETS)
    parser.add_argument("--recipe", type=Path, help="of the run; for a quick try")
    parser.add_argument("--results", type=Path, default=RESULTS / "new_device.json")
    options = parser.parse_args()
    space, truth, display = SearchSpace(), Note10(), Display()
    table_file = options.out / "table.csv"
    with display.bar("measuring this CPU") as bar:
        latencies = measure_device(
            make_runtime("onnxruntime"), ofa(WIDTH_MULT), options.out / "cpu.json",
            resolution=RESOLUTION,
            progress=lambda what, done, total: bar.update(done, total, what),
        )  # fmt: skip
    if not table_file.exists():
        frame = truth.table(options.rows, seed=0)
        frame["ms"] = fit_latency_model(latencies).predict(space.encode(frame["arch"]))
        write_text(table_file, frame.to_csv(index=False))
    recipe = load_recipe(options.recipe) if options.recipe else {}
    table = {"path": table_file, "accuracy": "top1", "cost": "ms"}
    run = options.out / "run"
    run_pipeline(make_recipe({**recipe, "source": "table", "table": table}), run, display)

    cpu_front = load_front(RunDirectory(run).front, space)
    on_phone, accuracy = truth.latency(cpu_front.tokens), truth.accuracy(cpu_front.tokens)
    rows: list[dict[str, Any]] = []
    for budget in options.budgets:
        started = time.monotonic()
        answer = generate_for(
            run, {"": Budget(budget)}, [str(TABLE)],
            {"width_mult": WIDTH_MULT, "resolution": RESOLUTION}, greedy=False, display=display,
        )  # fmt: skip
        seconds = time.monotonic() - started
        assert isinstance(answer, Answer)
        tokens = space.encode([answer.arch])
        within = on_phone <= budget
        rows.append(
            {
                "budget": budget,
                "arch": answer.arch,
                "latency": float(truth.latency(tokens)[0]),
                "accuracy": float(truth.accuracy(tokens)[0]),
                # Chosen by what the run predicts, as the answer is.
                "cpu_front_accuracy": float(accuracy[within][cpu_front.accuracy[within].argmax()])
                if within.any()
                else None,
                "table_accuracy": _best(pd.read_csv(table_file), truth, budget),
                "seconds": seconds,
            }
        )
    write_json(options.results, {"rows": options.rows, "answers": rows})
    printed = Table("Note 10 budget (ms)", "latency", "accuracy", "of the CPU's front",
                    "of the table", "seconds")  # fmt: skip
    for row in rows:
        printed.add_row(
            f"{row['budget']:g}", f"{row['latency']:.2f}",
            *("-" if row[name] is None else f"{row[name]:.2%}"
              for name in ("accuracy", "cpu_front_accuracy", "table_accuracy")),
            f"{row['seconds']:.1f}",
        )  # fmt: skip
    Console().print(printed)


def _best(table: pd.DataFrame, truth: Note10, budget: float) -> float | None:
    """The best accuracy of a row within a budget of the phone."""
    within = truth.latency(truth.space.encode(table["arch"])) <= budget
    return float(np.max(table["top1"][within])) if within.any() else None


if __name__ == "__main__":
    main()
