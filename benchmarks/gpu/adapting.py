"""Which settings adapt trained weights best in few epochs: many short trainings at once on one GPU.

    nvidia-cuda-mps-control -d      # where there is one: the processes' kernels then run together
    python benchmarks/gpu/adapting.py --images IMAGES --weights FILE --out RESULTS --processes 14

Each training is what a run of 20 minutes does with timm's `efficientnet_lite0` and 5,000 images:
four epochs at 96 pixels on the train part, then on all images from resolution to resolution. It
prints test top-1 at each. IMAGES is what `transfer.py --a-class 500` makes in its `--out`. A step
is a CUDA graph: launching its kernels takes longer than running them. Trainings that are done are
kept in RESULTS; no new one begins after `--seconds`.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional as F

import pnag
from pnag.images.batches import steps_per_epoch, train_batches
from pnag.images.feed import Pixels
from pnag.images.images import ImageData, load_images
from pnag.images.joined import with_validation
from pnag.judging.recalibrate import recalibrate
from pnag.run.preprocessing import normalised_by
from pnag.supernet.finetune import MEASURED, judge
from pnag.supernet.first_classifier import solve_classifier
from pnag.supernet.loop import make_optimizer, to_device
from pnag.supernet.settings import ADAPTING, VARIED, Augmentation, FitSettings

MODEL = "timm/efficientnet_lite0"
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
FIRST, FIRST_EPOCHS = 96, 4
ORDER = {96: None, 80: 96, 64: 80, 128: 96, 160: 128}  # each goes on from another
EPOCHS = {96: 8, 80: 5, 64: 6, 128: 3, 160: 2}
BASE = replace(ADAPTING, batch_size=64, augment=VARIED)
VARIANTS: dict[str, FitSettings] = {
    "coloured and erased": BASE,
    "shifted and mirrored only": replace(BASE, augment=Augmentation()),
    "coloured": replace(BASE, augment=Augmentation(colour=0.3)),
    "erased": replace(BASE, augment=Augmentation(erase=0.3)),
    "erased more": replace(BASE, augment=Augmentation(colour=0.3, erase=0.5)),
    "coloured more": replace(BASE, augment=Augmentation(colour=0.5, erase=0.3)),
    "mixup 0.2": replace(BASE, augment=replace(VARIED, mixup=0.2)),
    "cutmix 0.5": replace(BASE, augment=Augmentation(colour=0.3, cutmix=0.5)),
    "rate 1.5e-3": replace(BASE, learning_rate=1.5e-3),
    "rate 3e-3": replace(BASE, learning_rate=3e-3),
    "decay 0.005": replace(BASE, weight_decay=0.005),
    "decay 0.2": replace(BASE, weight_decay=0.2),
    "averaged over all steps": replace(BASE, averaged=1.0),
    "body at half, rate 3e-3": replace(BASE, learning_rate=3e-3, body_rate=0.5),
}


def main() -> None:
    """Start the processes, or be one of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=300)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    began = float(os.environ.setdefault("ADAPTING_BEGAN", str(time.time())))
    of_image = {r: images_at(options.images, r, options.out / "cache") for r in ORDER}
    if options.processes > 1:
        for left in options.out.glob("*.claimed"):  # by processes that were stopped
            if left.stem not in done(options.out):
                left.unlink()
        command = [sys.executable, *sys.argv, "--processes", "1"]
        others = [subprocess.Popen(command) for _ in range(options.processes)]
        sys.exit(max(other.wait() for other in others))
    for seed in range(options.seeds):
        for name, settings in VARIANTS.items():
            if time.time() - began < options.seconds and claimed(options.out, f"{name} {seed}"):
                found = chain(of_image, options.weights, settings, seed)
                line = json.dumps({"settings": name, "seed": seed, "top1": found})
                with (options.out / "results.jsonl").open("a", encoding="utf-8") as file:
                    file.write(line + "\n")
                print(line, flush=True)


def done(out: Path) -> set[str]:
    """Names and seeds of the trainings that have a result."""
    file = out / "results.jsonl"
    lines = file.read_text("utf-8").splitlines() if file.exists() else []
    return {f"{row['settings']} {row['seed']}" for row in map(json.loads, lines)}


def claimed(out: Path, name: str) -> bool:
    """Whether this process is the one that does it."""
    try:
        (out / f"{name}.claimed").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def images_at(source: Path, resolution: int, cache: Path) -> tuple[ImageData, ImageData]:
    """Decoded and normalised; the second with the validation part in its train part."""
    how = pnag.family(MODEL).pretrained_input  # type: ignore[attr-defined]
    data = load_images(str(source), resolution=resolution, cache=cache)
    data = normalised_by(data, {"mean": how.mean, "std": how.std})
    return data, with_validation(data, cache)


def chain(
    of_image: dict[int, tuple[ImageData, ImageData]], weights: Path, fit: FitSettings, seed: int
) -> dict[int, float]:
    """Test top-1 at each resolution of ORDER, in percent."""
    supernet = pnag.family(MODEL).supernet(len(of_image[FIRST][0].classes), weights)
    accelerator = Accelerator(cpu=DEVICE.type == "cpu")
    solve_classifier(supernet, of_image[FIRST][0], FIRST, 0.1, accelerator)
    networks: dict[int | None, nn.Module] = {None: supernet.subnet()}
    train(networks[None], of_image[FIRST][0], replace(fit, epochs=FIRST_EPOCHS), seed)
    found = {}
    for resolution, begun_with in ORDER.items():
        data, joined = of_image[resolution]
        network = networks[resolution] = copy.deepcopy(networks[begun_with])
        train(network, joined, replace(fit, epochs=EPOCHS[resolution]), seed + 20)
        found[resolution] = 100 * judge(network, data, "test", DEVICE).top1
    return found


def train(network: nn.Module, data: ImageData, fit: FitSettings, seed: int) -> None:
    """As `pnag.supernet.loop.fit` does, in bfloat16; a step is a CUDA graph on a GPU."""
    to_device(network, DEVICE)
    network.train()
    total = fit.epochs * steps_per_epoch(data, fit.batch_size)
    optimizer = make_optimizer(network, fit, DEVICE)
    for group in optimizer.param_groups:
        if DEVICE.type == "cuda":  # a graph reads its rate from the GPU
            group["capturable"], group["lr"] = True, torch.tensor(0.0, device=DEVICE)
    parameters = list(network.parameters())
    gradients = [torch.zeros_like(parameter) for parameter in parameters]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    average = copy.deepcopy(network)
    now, averaged = (
        [value for value in each.state_dict().values() if value.is_floating_point()]
        for each in (network, average)
    )
    share = 1 / max(1.0, fit.averaged * total)

    def step(images: Tensor, labels: Tensor) -> None:
        torch._foreach_zero_(gradients)
        with torch.autocast(DEVICE.type, torch.bfloat16, cache_enabled=False):
            logits = network(images)
        F.cross_entropy(logits.float(), labels, label_smoothing=0.1).backward()
        nn.utils.clip_grad_norm_(parameters, fit.clip, foreach=True)
        optimizer.step()
        torch._foreach_lerp_(averaged, now, share)

    run: Callable[[Tensor, Tensor], None] | None = None if DEVICE.type == "cuda" else step
    pixels, done = Pixels(data.train, DEVICE), 0
    for epoch in range(fit.epochs):
        for images, labels in train_batches(
            data, fit.batch_size, epoch=epoch, seed=seed, pixels=pixels, augment=fit.augment
        ):
            if run is None:
                run = as_graph(step, images, labels, [*now, *averaged], optimizer)
            for group in optimizer.param_groups:
                rate = fit.rate(done, total) * group["share"]
                group["lr"] = group["lr"].fill_(rate) if DEVICE.type == "cuda" else rate
            run(images, labels)
            done += 1
    network.load_state_dict(average.state_dict())
    for parameter in parameters:
        parameter.grad = None
    recalibrate(network, data, images=MEASURED, device=DEVICE)


def as_graph(
    step: Callable[[Tensor, Tensor], None],
    images: Tensor,
    labels: Tensor,
    weights: list[Tensor],
    optimizer: torch.optim.Optimizer,
) -> Callable[[Tensor, Tensor], None]:
    """The step as one CUDA graph; weights and optimizer are as before the capture."""
    kept_images, kept_labels = images.clone(memory_format=torch.channels_last), labels.clone()
    before = [weight.clone() for weight in weights]
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step(kept_images, kept_labels)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step(kept_images, kept_labels)
    with torch.no_grad():
        for weight, value in zip(weights, before, strict=True):
            weight.copy_(value)
    state: dict[str, Any]
    for state in optimizer.state.values():
        for value in state.values():
            value.zero_()

    def replay(images: Tensor, labels: Tensor) -> None:
        kept_images.copy_(images)
        kept_labels.copy_(labels)
        graph.replay()

    return replay


if __name__ == "__main__":
    main()
