"""From trained weights: one run of pnag for all budgets, against timm's network at each resolution.

    python benchmarks/transfer.py --images .../cifar10 --a-class 500 --minutes 20 --weights FILE \\
        --resolutions 64,80,96,128,160 --out runs/transfer-cifar10

The rival is what a person would do: timm's `efficientnet_lite0` with its ImageNet weights, a new
classifier, fine-tuned at one resolution (AdamW, cosine, flips and crops, label smoothing); each
resolution has *all* the minutes: as many epochs as timm's network takes in torch (channels last,
which is faster), planned before anything is trained. They are then trained with pnag's depthwise
convolutions, which give the same gradients sooner, so this takes less than the minutes. Ours is one
`pnag run --start timm/efficientnet_lite0` with the same minutes for all budgets together, which are
the rivals' latencies (the median of TIMES measurements of each alone, just before it begins) and
REPEATED more: two measurements of one network differ by as much. Where the machine's speed moves
between that and the run, stop the run before it fine-tunes, give `--as-predicted`, and start it
again: the budgets are then what the run's own latency model predicts for the rivals' networks. At
the end the rivals' networks and our answers are timed in turns: these are the table's latencies.
Both train with as many threads, on the same images, and are judged on the same test part. Each part
is kept as soon as it is finished, so a stopped benchmark goes on; `--report` only prints. Nothing
else should run.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import timm
import torch
from accelerate import Accelerator
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

import pnag
from pnag.cost.latency_model import LatencyModel
from pnag.cost.runtimes import make_runtime
from pnag.cost.runtimes.machine import cpu_name
from pnag.cost.timing import measure_interleaved
from pnag.families.depthwise import with_fast_depthwise
from pnag.files import read_json, write_json, write_text
from pnag.images.images import ImageData, load_images
from pnag.images.joined import with_validation
from pnag.run.preprocessing import normalised_by
from pnag.run.run_directory import RunDirectory
from pnag.run.trained import load_front_calibration
from pnag.supernet.finetune import judge
from pnag.supernet.loop import fit
from pnag.supernet.settings import FitSettings

MODEL = "timm/efficientnet_lite0"
RESULTS = Path(__file__).parent / "results"
# The better of AdamW (1e-3, 3e-3) and SGD (0.05, 0.1) over a few epochs at 64 pixels.
RECIPE = FitSettings(
    batch_size=64, optimizer="adamw", learning_rate=1e-3, warmup=0.1, weight_decay=0.05
)
TIMED_STEPS = 6
REPEATED = 1.03
ROUNDS = 72  # of timing
TIMES = 5


def subset(source: Path, a_class: int, out: Path) -> Path:
    """The images with so many of each class to train on, all to test on."""
    if not (out / "test.parquet").exists():
        files = {
            part: sorted(map(str, source.glob(f"{part}*.parquet"))) for part in ("train", "test")
        }
        data = datasets.load_dataset("parquet", data_files=files)
        labels, rng = np.array(data["train"]["label"]), np.random.default_rng(0)
        rows = [rng.permutation(np.flatnonzero(labels == c))[:a_class] for c in np.unique(labels)]
        out.mkdir(parents=True, exist_ok=True)
        data["train"].select(np.sort(np.concatenate(rows))).to_parquet(str(out / "train.parquet"))
        data["test"].to_parquet(str(out / "test.parquet"))
    return out


def images_at(source: Path, resolution: int, cache: Path) -> ImageData:
    """Decoded and normalised as the weights expect them."""
    how = pnag.family(MODEL).pretrained_input  # type: ignore[attr-defined]
    data = load_images(str(source), resolution=resolution, cache=cache)
    return normalised_by(data, {"mean": how.mean, "std": how.std})


def planned_epochs(resolutions: list[int], data: ImageData, minutes: float) -> dict[int, int]:
    """How many epochs of the images timm's network is trained for in the minutes."""
    steps = (len(data.train) + len(data.validation)) // RECIPE.batch_size
    network = timm.create_model(MODEL.removeprefix("timm/"), num_classes=10).train()
    network.to(memory_format=torch.channels_last)
    labels, found = torch.zeros(RECIPE.batch_size, dtype=torch.int64), {}
    for r in resolutions:
        batch = torch.randn(RECIPE.batch_size, 3, r, r).to(memory_format=torch.channels_last)
        times = []
        for _ in range(TIMED_STEPS):
            started = cpu_seconds()
            F.cross_entropy(network(batch), labels).backward()
            network.zero_grad()
            times.append(cpu_seconds() - started)
        epoch = float(np.median(times[1:])) * steps
        found[r] = max(1, round(minutes * 60 / epoch))
    return found


def rival(data: ImageData, weights: Path, epochs: int, folder: Path) -> dict[str, Any]:
    """Fine-tune timm's network on train and validation part for so many epochs; test top-1."""
    torch.manual_seed(0)
    # The rival chooses nothing, so it trains on what pnag chooses by, too.
    data = with_validation(data, folder)
    network = pnag.family(MODEL).supernet(len(data.classes), weights).subnet().train()
    with_fast_depthwise(network)

    def losses(images: Tensor, labels: Tensor, step: int) -> Any:
        yield F.cross_entropy(network(images), labels, label_smoothing=0.1)

    started = cpu_seconds()
    fit(
        network, losses, data, replace(RECIPE, epochs=epochs), seed=0,
        accelerator=Accelerator(cpu=True), checkpoint=folder / "checkpoint",
        identity=f"{data.identity} {epochs}",
    )  # fmt: skip
    seconds = cpu_seconds() - started
    found = judge(network.eval(), data, "test", torch.device("cpu"))
    return {**asdict(found), "epochs": epochs, "minutes": seconds / 60}


def cpu_seconds() -> float:
    """Of this process, for each of torch's threads: what passes on a machine with nothing else."""
    return time.process_time() / torch.get_num_threads()


def latencies(archs: list[str], classes: int) -> dict[str, float]:
    """ms of networks in ONNX Runtime, one thread, in turns.

    Args:
        archs: text forms with a resolution.
    """
    runtime, of = make_runtime("onnxruntime", 1), pnag.family(MODEL)
    ready = {}
    for arch in archs:
        text, r = arch.split("@")
        ready[arch] = runtime.prepare(of.build(of.parse(text), classes), (1, 3, int(r), int(r)))
    samples, drift = measure_interleaved(ready, ready[archs[0]], rounds=ROUNDS)
    level = float(np.median(drift.levels))
    return {arch: round(float(np.median(times)) * level, 3) for arch, times in samples.items()}


def alone(arch: str, classes: int) -> float:
    """ms of a network, timed as a run times those by which it chooses its resolutions."""
    return float(np.median([latencies([arch], classes)[arch] for _ in range(TIMES)]))


def budgets_alone(resolutions: list[int], classes: int) -> dict[str, float]:
    """ms of timm's network by resolution, timed again where a greater one is faster."""
    for _ in range(TIMES):
        found = {str(r): alone(rival_at(r), classes) for r in sorted(resolutions)}
        if sorted(found.values()) == list(found.values()):
            return found
        print(f"disturbed, timed again: {found}", flush=True)
    raise SystemExit("this machine is too busy to time networks by")


def rival_at(resolution: int | str) -> str:
    """timm's network at a resolution, as a text form."""
    return f"{pnag.family(MODEL).largest}@{resolution}"


def predicted(run: RunDirectory, resolutions: list[int]) -> dict[str, float]:
    """ms of timm's network at each resolution, as a run predicts them."""
    of = pnag.family(read_json(run.supernet_plan)["plan"]["family"])
    found = LatencyModel.load(run.latency_model).predict(
        of.space.encode([rival_at(r) for r in resolutions])
    )
    found = load_front_calibration(run)(found)
    return {str(r): round(ms, 3) for r, ms in zip(resolutions, found.tolist(), strict=True)}


def budget_of(results: dict[str, Any], resolution: str) -> float:
    """What ours may take where the rival takes its time at a resolution, in ms."""
    return round(float(results["budgets"][resolution]) * REPEATED, 3)


def report(results: dict[str, Any]) -> str:
    """A row a budget."""
    console = Console(width=120, file=io.StringIO())
    console.print(results.get("about", ""))
    together = results.get("together", {})
    table = Table()
    for name in (
        "rival at", "its ms", "its top-1", "epochs", "our ms", "our top-1", "difference", "answer"
    ):  # fmt: skip
        table.add_column(name, justify="right", overflow="fold")
    for resolution, theirs in sorted(results["rivals"].items(), key=lambda item: int(item[0])):
        budget = budget_of(results, resolution) if "budgets" in results else None
        ours = next((a for a in results.get("answers", []) if a["budget"] == budget), None)
        table.add_row(
            resolution, f"{together.get(rival_at(resolution), float('nan')):.3f}",
            f"{100 * theirs['top1']:.2f}", str(theirs["epochs"]),
            *((f"{together.get(ours['arch'], float('nan')):.3f}", f"{100 * ours['test_top1']:.2f}",
               f"{100 * (ours['test_top1'] - theirs['top1']):+.2f}", ours["arch"])
              if ours else ("",) * 4),
        )  # fmt: skip
    console.print(table)
    if "our_minutes" in results:
        console.print(f"ours: {results['our_minutes']:.1f} minutes for all budgets together")
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def main() -> None:
    """Measure what is missing, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True, help="folder of Parquet files")
    parser.add_argument("--a-class", type=int, default=500, help="images of each class; 0 for all")
    parser.add_argument("--weights", type=Path, required=True, help="of efficientnet_lite0")
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--resolutions", default="64,80,96,128,160")
    parser.add_argument("--out", type=Path, required=True, help="folder for all files")
    parser.add_argument("--name", help="of the files in results/ that the table goes to")
    parser.add_argument("--as-predicted", action="store_true", help="of the budgets; see above")
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / "transfer.json"
    results: dict[str, Any] = read_json(file) if file.exists() else {"rivals": {}}
    resolutions = [int(part) for part in options.resolutions.split(",")]
    if options.as_predicted:
        results["budgets"] = predicted(RunDirectory(options.out / "run"), resolutions)
        write_json(file, results)
    elif not options.report:
        source = options.images
        if options.a_class:
            source = subset(source, options.a_class, options.out / "images")
        cache = options.out / "cache"
        data = {r: images_at(source, r, cache) for r in resolutions}
        results["about"] = (
            f"{cpu_name()}, {torch.get_num_threads()} thread(s), torch {torch.__version__}; "
            f"{options.images.name}, {options.a_class or 'all'} images a class, "
            f"{options.minutes:g} minutes"
        )
        if "epochs" not in results:
            found = planned_epochs(resolutions, data[resolutions[0]], options.minutes)
            results["epochs"] = {str(r): epochs for r, epochs in found.items()}
            write_json(file, results)
        for r in resolutions:
            if str(r) not in results["rivals"]:
                results["rivals"][str(r)] = rival(
                    data[r], options.weights, results["epochs"][str(r)], options.out
                )
                write_json(file, results)
                print(report(results), flush=True)
        classes, rivals = len(data[resolutions[0]].classes), [rival_at(r) for r in resolutions]
        if "answers" not in results:
            if "budgets" not in results:
                results["budgets"] = budgets_alone(resolutions, classes)
                write_json(file, results)
            started = time.perf_counter()
            budgets = ",".join(str(budget_of(results, str(r))) for r in resolutions)
            command = [
                sys.executable, "-m", "pnag", "run", "--images", str(source), "--start", MODEL,
                "--weights", str(options.weights), "--minutes", str(options.minutes), "--budgets",
                budgets, "--margin", "0", "--out", str(options.out / "run"), "--cache", str(cache),
                "--json",
            ]  # fmt: skip
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            results["answers"] = json.loads(done.stdout)["answers"]
            results["our_minutes"] = (time.perf_counter() - started) / 60
            write_json(file, results)
        if "together" not in results:
            archs = list(dict.fromkeys([*rivals, *(a["arch"] for a in results["answers"])]))
            results["together"] = latencies(archs, classes)
            write_json(file, results)
    text = report(results)
    print(text)
    if options.name:
        write_text(RESULTS / f"transfer_{options.name}.txt", text)
        write_json(RESULTS / f"transfer_{options.name}.json", results)


if __name__ == "__main__":
    main()
