"""Does the supernet rank its subnets as they rank after they were fine-tuned, each by itself?

    python benchmarks/rank_after_tuning.py RUN --name cifar10-500

Reads a directory of `pnag run --images`. Uniform random architectures are judged with the
supernet's weights on the validation part, as a run judges them. Each is then fine-tuned from the
supernet's weights on the train part, and judged on the test part. Prints Kendall's tau of the two,
also with what tuning is known to add at each resolution (`pnag.run.doubt`).
Networks that are fine-tuned are kept in the run's `finetuned`, so a stopped benchmark goes on.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy.stats import kendalltau

from pnag.cost.runtimes.machine import cpu_name
from pnag.files import file_fingerprint, read_json, write_json, write_text
from pnag.judging.subnets import make_evaluator
from pnag.run.display import Display
from pnag.run.doubt import after_tuning
from pnag.run.image_run import open_images
from pnag.run.recipe import load_recipe, make_recipe
from pnag.run.run_directory import RunDirectory
from pnag.run.supernet_stage import trained_supernet
from pnag.run.tuning_order import trained_at
from pnag.supernet.finetune import finetune, finetune_identity, judge
from pnag.supernet.plan import evaluator_settings

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Judge, tune, judge, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--name", required=True, help="of the results' files")
    parser.add_argument("--networks", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=2, help="of fine-tuning")
    options = parser.parse_args()
    run = RunDirectory(options.run)
    recipe = make_recipe(load_recipe(run.recipe))
    opened = open_images(run, recipe, Display())
    accelerator, supernet = opened.accelerator, trained_supernet(opened)
    space, weights = supernet.family.space, file_fingerprint(run.last_supernet)
    tokens = space.sample(options.networks, np.random.default_rng(20))
    settings = evaluator_settings(accelerator.device)
    shared = make_evaluator(supernet, opened.data, settings).accuracies(tokens).tolist()
    how = replace(opened.finetune_settings(options.epochs), distillation=0.0)
    file = RESULTS / f"rank_after_tuning_{options.name}.json"
    found = read_json(file) if file.exists() else {}
    if found.get("supernet") != weights or found.get("epochs") != options.epochs:
        found = {"supernet": weights, "epochs": options.epochs, "tuned": {}}
    for number, arch in enumerate(space.text(tokens)):
        if arch in found["tuned"]:
            continue
        data = opened.data_of(arch)
        identity = finetune_identity(weights, arch, data, how, recipe.seed, accelerator)
        network = finetune(
            supernet.subnet(arch), data, how, run.finetuned,
            identity=identity, seed=recipe.seed, accelerator=accelerator,
        )  # fmt: skip
        found["tuned"][arch] = judge(network, data, "test", accelerator.device).top1
        write_json(file, found)
        print(f"{arch}: {shared[number]:.3f}, tuned {found['tuned'][arch]:.3f}", flush=True)
    tuned = [found["tuned"][arch] for arch in space.text(tokens)]
    tau = float(kendalltau(shared, tuned).statistic)
    at = trained_at(supernet.family)
    believed = [after_tuning(a, s, at) for a, s in zip(space.text(tokens), shared, strict=True)]
    as_compared = float(kendalltau(believed, tuned).statistic)
    validation = settings.validation_images(opened.data)
    write_json(file, found | {"shared": shared, "tau": tau, "as_compared": as_compared})
    text = (
        f"{cpu_name()}, torch {torch.__version__}\n"
        f"{len(tuned)} random subnets of {supernet.family.name}: top-1 {min(shared):.1%} to "
        f"{max(shared):.1%} with the supernet's weights on {validation:,} validation images, "
        f"{min(tuned):.1%} to {max(tuned):.1%} after {options.epochs} epochs of their own on "
        f"{len(opened.data.test):,} test images: Kendall's tau {tau:.3f}, "
        f"{as_compared:.3f} with what tuning adds at each resolution, as answers are compared\n"
    )
    print(text)
    write_text(file.with_suffix(".txt"), text)


if __name__ == "__main__":
    main()
