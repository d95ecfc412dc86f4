"""What each choice in the generator's training is worth, with the truth itself as the predictor.

    python benchmarks/generator_ablations.py --seeds 3

The predictors' errors (`search_note10.py`) would hide what this is about, so evaluator and
generator see the true accuracy and latency. Scored are the generator's own draws: the best of 1,000
from f(B) that hold B, against the best known, and the share that hold it. The local search that
follows in a run is left out.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from note10 import Note10
from rich.console import Console
from rich.table import Table
from search_note10 import BUDGETS, DRAWS, ROWS

from pnag.cost.runtimes.machine import cpu_name
from pnag.files import read_json, write_json, write_text
from pnag.search.evaluator import EvaluatorSettings
from pnag.search.front import FrontSettings
from pnag.search.labels import Labels
from pnag.search.methods import silent
from pnag.search.pnag import NoStore, PnagSettings, train_and_search
from pnag.search.policy_gradient import GeneratorSettings
from pnag.space import Tokens

RESULTS = Path(__file__).parent / "results"
NO_FRONT = FrontSettings(budgets=1, draws=1, rounds=0)
EVALUATOR, GENERATOR = EvaluatorSettings(), GeneratorSettings()
# Section E: 512 neurons, rate 3e-4, entropy 1e-3, R learnt from the table only. With N = 2 for
# its 1, whose baseline is a running mean; its 120,000 iterations would take more than an hour.
PAPER = replace(
    GENERATOR, samples=2, learning_rate=3e-4, entropy=1e-3, final_entropy=1e-3, refine_steps=0,
    iterations=6_000,
)  # fmt: skip
VARIANTS: dict[str, tuple[int, EvaluatorSettings, GeneratorSettings]] = {
    "ours": (10, EVALUATOR, GENERATOR),
    "R not refined on draws": (10, EVALUATOR, replace(GENERATOR, refine_steps=0)),
    "entropy weight 1e-3 all along": (
        10, EVALUATOR, replace(GENERATOR, entropy=1e-3, final_entropy=1e-3)
    ),
    "entropy weight 0.1 all along": (10, EVALUATOR, replace(GENERATOR, final_entropy=0.1)),
    "budgets not jittered": (
        10, replace(EVALUATOR, jitter=False), replace(GENERATOR, jitter=False)
    ),
    "R as it is, nothing clipped": (
        10, EVALUATOR, replace(GENERATOR, scale_rewards=False, clip=None)
    ),
    "N = 8 (a tenth of the draws)": (10, EVALUATOR, replace(GENERATOR, samples=8)),
    "K = 5": (5, EVALUATOR, GENERATOR),
    "K = 20": (20, EVALUATOR, GENERATOR),
    "hidden 128": (10, EVALUATOR, replace(GENERATOR, hidden=128)),
    "paper's rate and entropy, N = 2, 6,000 iterations": (
        10, replace(EVALUATOR, hidden=512), PAPER
    ),
}  # fmt: skip


class Truth:
    """One of the ground truth's two numbers as a predictor."""

    def __init__(self, predict: Callable[[Tokens], Any]) -> None:
        self.predict = predict


def one_run(truth: Note10, variant: str, seed: int) -> dict[str, Any]:
    """Train one variant; its draws at every budget."""
    k, evaluator_settings, settings = VARIANTS[variant]
    space = truth.space
    labels = Labels(space, Truth(truth.accuracy), Truth(truth.latency))
    tokens = space.sample_unique(ROWS, np.random.default_rng(seed))
    started = time.perf_counter()
    everything = PnagSettings(k, evaluator_settings, settings, NO_FRONT)
    taught, _ = train_and_search(
        tokens, *labels.label(tokens), labels, everything, NoStore(everything, silent), seed
    )
    seconds = time.perf_counter() - started
    best, within = [], []
    for budget in BUDGETS:
        drawn = taught.generator.sample(
            torch.full((DRAWS,), budget, dtype=torch.float64), torch.Generator().manual_seed(seed)
        )
        held = truth.latency(drawn) <= budget
        within.append(float(held.mean()))
        best.append(float(truth.accuracy(drawn[held]).max()) if held.any() else 0.0)
    return {"seconds": seconds, "best": best, "within": within}


def report(results: dict[str, Any], best_known: list[float]) -> str:
    """Medians over seeds."""
    console = Console(width=150, file=io.StringIO())
    console.print(f"{results['machine']}\n")
    table = Table(title="best of 1,000 draws from f(B): points below the best known (median)")
    for name in ("variant", "seeds", *(f"{b:g} ms" for b in BUDGETS), "within (%)", "seconds"):
        table.add_column(name, justify="right")
    for variant, runs in results["runs"].items():
        gaps = (np.array(best_known) - [run["best"] for run in runs.values()]) * 100
        within = np.mean([run["within"] for run in runs.values()])
        seconds = np.median([run["seconds"] for run in runs.values()])
        table.add_row(
            variant, str(len(runs)), *(f"{gap:.2f}" for gap in np.median(gaps, 0)),
            f"{within:.0%}", f"{seconds:.0f}",
        )  # fmt: skip
    console.print(table)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def main() -> None:
    """Run what is missing, write and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    path = RESULTS / "generator_ablations.json"
    results = read_json(path) if path.exists() else {"runs": {}}
    results["machine"] = (
        f"{cpu_name()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    )
    known = read_json(RESULTS / "search_note10.json")["best_known"]
    truth = Note10()
    for seed in range(options.seeds):
        for variant in VARIANTS:
            runs = results["runs"].setdefault(variant, {})
            if str(seed) not in runs:
                runs[str(seed)] = one_run(truth, variant, seed)
                write_json(path, results)
                print(variant, seed, round(runs[str(seed)]["seconds"]), "s", flush=True)
    text = report(results, [known[str(budget)] for budget in BUDGETS])
    write_text(RESULTS / "generator_ablations.txt", text)
    print(text)


if __name__ == "__main__":
    main()
