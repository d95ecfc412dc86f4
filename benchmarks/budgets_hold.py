"""How many answers hold their budget as measured, and how much of it they use.

    python benchmarks/budgets_hold.py --runs 20 --busy 1 --out runs/budgets-hold

Each run measures this CPU anew, searches and answers, with its own seed, as `make run` does (but
times no published networks). Goal: 95 % of all answers take no more than their budget, and the
median answer uses 96 % of it or more. What other margins would have given is told from the same
answers: an answer's error, measured over predicted, does not depend on the margin. Everything is
kept in `--out`, so a stopped benchmark goes on. A run takes minutes; `--budgets` more of them in
each run cost seconds.
"""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from busy import busy_processes

from pnag.cost.runtimes.machine import cpu_name
from pnag.files import read_json, write_json, write_text
from pnag.run.answer_stage import spread_budgets
from pnag.run.display import Display
from pnag.run.recipe import load_recipe, make_recipe
from pnag.run.run import run_pipeline
from pnag.run.run_directory import RunDirectory
from pnag.run.size import family_of_recipe
from pnag.run.trained import load_calibrated_front

RESULTS = Path(__file__).parent / "results"
MARGINS = (0.0, 0.005, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05)


def answers_of(out: Path, values: dict[str, Any], budgets: int) -> list[dict[str, Any]]:
    """A run's answers to so many budgets, with the margin that they kept."""
    kept = out / "answers.json"
    if not kept.exists():
        display = Display()
        recipe = make_recipe(values)
        run_pipeline(recipe, out, display)
        run = RunDirectory(out)
        # `spread_budgets` starts above the cheapest: its network has no margin to keep
        front = load_calibrated_front(run, family_of_recipe(recipe).space)
        asked = values | {"budgets": spread_budgets(front, budgets)}
        metrics = run_pipeline(make_recipe(asked), out, display)
        write_json(
            kept,
            [
                {name: a[name] for name in ("budget", "cost", "measured_ms", "measured_spread")}
                | {"margin": metrics["margin"], "busy": metrics["busy"]}
                for a in metrics["answers"]
            ],
        )
    answers: list[dict[str, Any]] = read_json(kept)
    return answers


def summary(answers: list[dict[str, Any]]) -> str:
    """What was found, for people."""
    budget, cost, measured, margin = (
        np.array([a[name] for a in answers]) for name in ("budget", "cost", "measured_ms", "margin")
    )
    error = measured / cost - 1
    lines = [
        f"{len(answers)} answers: {(measured <= budget).mean():.1%} hold their budget, "
        f"{(measured <= 1.03 * budget).mean():.1%} hold it within 3 %",
        f"they use {np.median(measured / budget):.1%} of it in the median "
        f"({np.quantile(measured / budget, 0.05):.1%} to "
        f"{np.quantile(measured / budget, 0.95):.1%} are the middle 90 %)",
        f"margin kept: {np.median(margin):.2%} ({margin.min():.2%} to {margin.max():.2%})",
        f"measured over predicted: {np.median(error):+.2%}, standard deviation {error.std():.2%}; "
        f"a margin of {np.quantile(error, 0.95):.2%} would have held 95 %",
        "",
        "margin   hold   median use (had the front a network for every cost)",
    ]
    for each in MARGINS:
        use = (1 + error) / (1 + each)
        lines.append(f"{each:6.1%} {(use <= 1).mean():6.1%} {np.median(use):8.1%}")
    return "\n".join(lines)


def main() -> None:
    """Make the runs that are not there yet, and tell."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--budgets", type=int, default=10, help="of each run")
    parser.add_argument("--busy", type=int, default=0, help="processes that never wait, beside")
    parser.add_argument("--runtime", default="onnxruntime")
    parser.add_argument("--margin", type=float, help="instead of the latency model's own error")
    parser.add_argument("--out", type=Path, default=Path("runs/budgets-hold"))
    parser.add_argument("--recipe", type=Path, help="of the runs; for a quick try")
    parser.add_argument("--results", type=Path, default=RESULTS / "budgets_hold")
    options = parser.parse_args()
    base = load_recipe(options.recipe) if options.recipe else {}
    latency = base.get("latency", {}) | {"runtime": options.runtime}
    answers: list[dict[str, Any]] = []
    beside = busy_processes(options.busy) if options.busy else nullcontext()
    with beside:
        for seed in range(options.runs):
            values = base | {"seed": seed, "compare": 0, "latency": latency}
            if options.margin is not None:
                values["margin"] = options.margin
            answers += answers_of(options.out / f"run-{seed}", values, options.budgets)
            print(summary(answers), flush=True)
    head = (
        f"{cpu_name()}, {options.runtime}; {options.runs} run(s) of {options.budgets} budgets, "
        f"{options.busy} busy process(es) beside; "
        f"{len({a for answer in answers for a in answer['busy']})} warning(s) of a busy machine"
    )
    write_json(options.results.with_suffix(".json"), {"machine": head, "answers": answers})
    write_text(options.results.with_suffix(".txt"), f"{head}\n\n{summary(answers)}\n")


if __name__ == "__main__":
    main()
