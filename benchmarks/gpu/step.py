"""Training steps: images a second through `fit`, against a plain loop over timm's network.

timm's side is the same largest network, precision, memory format, optimiser and batch, on one batch
that stays on the device: no images are read or augmented, and nothing is clipped.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from common import Options, Rows, noise, utilisation, wait
from torch.nn import functional as F

import pnag
from pnag.families import family
from pnag.images import feed
from pnag.images.images import ImageData
from pnag.supernet.loop import Step, fit, to_device, train_all_layers
from pnag.supernet.phases import PHASES, Phase
from pnag.supernet.precision import MIXED, training_precision
from pnag.supernet.settings import FitSettings, SupernetSettings
from pnag.supernet.supernet_training import phase_losses

WARM_UP = 6


def measure(options: Options) -> Rows:
    """Rates at 224 pixels, width 1, 1,000 classes."""
    device = options.device
    resolution, width, classes = (32, 0.25, 10) if options.tiny else (224, 1.0, 1000)
    batches = (8,) if options.tiny else (256, 512)
    data = noise(batches[-1] * 16, 16, resolution, classes)
    precision = training_precision(device)
    accelerator = Accelerator(cpu=device.type == "cpu", mixed_precision=MIXED[precision])
    largest, sandwich = PHASES["progressive"][0], PHASES["sandwich"][0]
    rows: Rows = {"precision": precision}

    def add(what: str, value: float) -> None:
        rows[what] = value
        print(f"{what}: {value:.4g}", flush=True)

    for batch in batches:
        timm = statistics.median(plain_rate(data, batch, width, accelerator) for _ in range(3))
        add(f"timm largest, batch {batch}: images/s", timm)
        ways = [("largest", largest, "on the device", 1.0)]
        if batch == batches[-1]:
            ways += [
                ("largest", largest, "streamed", 0.0),
                ("sandwich", sandwich, "on the device", 1.0),
            ]
        for name, phase, place, share in ways:
            rate, busy = fit_rate(data, batch, width, phase, accelerator, share)
            what = f"pnag {name}, batch {batch}, images {place}"
            add(f"{what}: images/s", rate)
            if name == "largest":
                add(f"{what}: of timm", rate / timm)
            if busy:
                add(f"{what}: utilisation", busy)
    return rows


def plain_rate(data: ImageData, batch: int, width: float, accelerator: Accelerator) -> float:
    """Images a second of a plain training loop."""
    device, size = accelerator.device, data.preprocessing.resolution
    network = pnag.build(family().largest, width, len(data.classes))
    to_device(network, device)
    network.train()
    images = torch.randn(batch, 3, size, size, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.arange(batch, device=device) % len(data.classes)
    cuda = device.type == "cuda"
    optimizer = torch.optim.SGD(network.parameters(), 0.01, 0.9, nesterov=True, fused=cuda)
    steps = 3 if not cuda else 20
    for step in range(WARM_UP + steps):
        if step == WARM_UP:
            wait(device)
            started = time.perf_counter()
        with accelerator.autocast():
            loss = F.cross_entropy(network(images), labels, label_smoothing=0.1)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    wait(device)
    return steps * batch / (time.perf_counter() - started)


def fit_rate(
    data: ImageData, batch: int, width: float, phase: Phase, accelerator: Accelerator, share: float
) -> tuple[float, float]:
    """Images a second of `fit` with its batches, checkpoints left out, and utilisation or 0."""
    torch.manual_seed(0)
    supernet = pnag.Supernet(width, len(data.classes))
    settings = SupernetSettings(fit=FitSettings(epochs=1, batch_size=batch, learning_rate=0.01))
    losses = phase_losses(supernet, phase, settings, None, 0)
    if phase.sandwich:
        to_device(supernet, accelerator.device)
        size = data.preprocessing.resolution
        images = torch.zeros(batch, 3, size, size, device=accelerator.device)
        images = images.contiguous(memory_format=torch.channels_last)
        train_all_layers(supernet, images, accelerator)
    at: list[float] = []
    before, feed.RESIDENT_SHARE = feed.RESIDENT_SHARE, share
    try:
        with tempfile.TemporaryDirectory() as folder, utilisation(accelerator.device) as busy:

            def watch(step: Step) -> None:
                at.append(time.perf_counter())
                if len(at) == WARM_UP:
                    busy.clear()

            fit(
                supernet, losses, data, settings.fit, seed=0, accelerator=accelerator,
                checkpoint=Path(folder) / "checkpoint", identity="step", watch=watch,
            )  # fmt: skip
    finally:
        feed.RESIDENT_SHARE = before
    # The last losses are read together, before the checkpoint.
    took = np.diff(at[WARM_UP : -feed.AHEAD - 1])
    steady = busy[1:-1] or busy
    return batch / float(np.median(took)), float(np.mean(steady)) if steady else 0.0
