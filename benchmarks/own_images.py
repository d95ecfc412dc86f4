"""What a finished run on images is worth: against random architectures of the same cost.

    python benchmarks/own_images.py RUN --name cifar10

Reads a directory of `pnag run --images` and asks three things.

1. Predicted against true: Kendall's tau and mean error of the accuracy predictor on subnets that
   were never collected.
2. For each answer, RANDOM architectures of the same cost (by the corrected latency model),
   fine-tuned in the same way and judged on the same test images.
3. Supernet against fine-tuned: Kendall's tau of the two accuracies over all these networks.

Fine-tuned networks are kept in the run's `finetuned`, judged ones in the results' JSON, so a
stopped benchmark goes on.
"""

from __future__ import annotations

import argparse
import io
import itertools
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from scipy.stats import kendalltau

from pnag.cost.runtimes.machine import cpu_name
from pnag.files import file_fingerprint, read_json, write_json, write_text
from pnag.judging.subnets import SubnetEvaluator
from pnag.run.display import Display
from pnag.run.finished_supernet import load_plan
from pnag.run.image_run import open_images
from pnag.run.recipe import load_recipe, make_recipe
from pnag.run.run_directory import RunDirectory
from pnag.run.supernet_stage import trained_supernet
from pnag.run.tables import read_table
from pnag.run.trained import load_front_calibration, load_labels
from pnag.space import SearchSpace, Tokens
from pnag.supernet.finetune import finetune, finetune_identity, judge
from pnag.supernet.plan import FinetuningPlan, evaluator_settings

RESULTS = Path(__file__).parent / "results"
SPACE = SearchSpace()
UNSEEN = 200
RANDOM = 5
SAME_COST = 0.95  # of the answer's cost, at least


def of_the_same_cost(costs: np.ndarray, cost: float, rng: np.random.Generator) -> np.ndarray:
    """RANDOM indices among the costs that are a little below `cost`."""
    near = np.flatnonzero((costs <= cost) & (costs >= SAME_COST * cost))
    if len(near) < RANDOM:
        near = np.argsort(np.abs(costs - cost))[:RANDOM]
    return rng.choice(near, RANDOM, replace=False)


def pool(seed: int) -> Tokens:
    """Uniform architectures, and others from the smallest to the largest."""
    rng = np.random.default_rng(seed)
    return np.unique(
        np.concatenate([SPACE.sample(20_000, rng), SPACE.sample_stretched(20_000, rng)]), axis=0
    )


def report(found: dict[str, Any]) -> str:
    """The three answers as text."""
    console = Console(width=120, file=io.StringIO())
    console.print(found["machine"])
    console.print(f"plan: {found['plan']}")
    p = found["predictor"]
    console.print(
        f"predictor on {p['subnets']} subnets that were not collected: tau {p['tau']:.3f}, mean "
        f"error {p['mae'] * 100:.2f} points (standard error of a subnet's own accuracy "
        f"{p['standard_error'] * 100:.2f})"
    )
    table = Table(title="fine-tuned alike, top-1 on the test part (%)", title_justify="left")
    for name in ("budget (ms)", "answer", "random: median", "least", "most", "answer is ahead by"):
        table.add_column(name, justify="right")
    for row in found["budgets"]:
        random = np.array(row["random"]) * 100
        answer = row["answer"] * 100
        table.add_row(
            f"{row['budget']:g}", f"{answer:.2f}", f"{np.median(random):.2f}",
            f"{random.min():.2f}", f"{random.max():.2f}", f"{answer - np.median(random):+.2f}",
        )  # fmt: skip
    console.print(table)
    t = found["supernet_against_finetuned"]
    console.print(
        f"tau of supernet and fine-tuned accuracy: {t['tau']:.3f} ({t['networks']} networks)"
    )
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def main() -> None:
    """Judge a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--name", required=True, help="of the results' files")
    options = parser.parse_args()
    run = RunDirectory(options.run)
    recipe = make_recipe(load_recipe(run.recipe))
    display = Display()
    opened = open_images(run, recipe, display)
    data, accelerator = opened.data, opened.accelerator
    tuning = FinetuningPlan(**read_json(run.finetuning_plan))
    supernet = trained_supernet(opened)
    labels, calibration = load_labels(run, SPACE), load_front_calibration(run)
    identity = file_fingerprint(run.last_supernet)
    path = RESULTS / f"own_images_{options.name}.json"
    found = read_json(path) if path.exists() else {}
    if found.get("supernet") != identity:
        found = {"supernet": identity, "judged": {}}
    found["plan"] = {
        "supernet": asdict(load_plan(run.supernet_plan)),
        "collecting": read_json(run.collecting_plan),
        "fine-tuning": asdict(tuning),
    }
    found["machine"] = f"{cpu_name()}, {torch.get_num_threads()} threads, torch {torch.__version__}"

    rng = np.random.default_rng(12345)
    known = set(read_table(run.table)["arch"])
    unseen = [t for t in SPACE.text(SPACE.sample(2 * UNSEEN, rng)) if t not in known][:UNSEEN]
    evaluator = SubnetEvaluator(supernet, data, evaluator_settings(accelerator.device))
    if "predictor" not in found:
        with display.bar("judging unseen subnets"):
            true = evaluator.accuracies(SPACE.encode(unseen))
        predicted = labels.accuracy.predict(SPACE.encode(unseen))
        found["predictor"] = {
            "subnets": len(unseen),
            "tau": float(kendalltau(predicted, true).statistic),
            "mae": float(np.abs(predicted - true).mean()),
            "standard_error": float(np.sqrt(true.mean() * (1 - true.mean()) / evaluator.images)),
        }
        write_json(path, found)

    candidates = pool(54321)
    costs = labels.cost.predict(candidates)
    costs = calibration(costs)
    answers = read_json(run.answers)
    chosen = [SPACE.text(candidates[of_the_same_cost(costs, a["cost"], rng)]) for a in answers]
    wanted = list(dict.fromkeys(itertools.chain((a["arch"] for a in answers), *chosen)))
    settings = opened.finetune_settings(tuning)
    with display.bar("fine-tuning") as bar:
        for done, arch in enumerate(wanted):
            bar.update(done, len(wanted))
            if arch not in found["judged"]:
                weights = finetune_identity(
                    identity, arch, data, settings, recipe.seed, accelerator
                )
                network = finetune(
                    supernet.subnet(arch), data, settings, run.finetuned, identity=weights,
                    seed=recipe.seed, accelerator=accelerator, teacher=supernet.subnet(),
                )  # fmt: skip
                found["judged"][arch] = judge(network, data, "test", accelerator.device).top1
                write_json(path, found)
    judged = found["judged"]
    found["budgets"] = [
        {"budget": a["budget"], "answer": judged[a["arch"]], "random": [judged[r] for r in random]}
        for a, random in zip(answers, chosen, strict=True)
    ]
    own = evaluator.accuracies(SPACE.encode(wanted))
    tau = kendalltau(own, [judged[arch] for arch in wanted]).statistic
    found["supernet_against_finetuned"] = {"networks": len(wanted), "tau": float(tau)}
    write_json(path, found)
    text = report(found)
    write_text(path.with_suffix(".txt"), text)
    print(text)


if __name__ == "__main__":
    main()
