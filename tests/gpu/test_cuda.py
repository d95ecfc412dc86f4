"""What only a GPU can show: the same results as on the CPU, and nothing waits where it need not."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional as F

import pnag
from pnag.cost.latency_model import check_latency_model, fit_latency_model
from pnag.cost.measure import measure_device
from pnag.cost.runtimes import make_runtime
from pnag.errors import PnagError
from pnag.families import family
from pnag.families.ofa_mobilenetv3 import ofa
from pnag.images import feed
from pnag.images.batches import eval_batches, train_batches
from pnag.images.images import ImageData
from pnag.judging.collect import collect
from pnag.judging.subnets import Settings, SubnetEvaluator
from pnag.search.dominance import dominance_ranks
from pnag.search.ranking_loss import ranking_loss_and_gradient
from pnag.space import sample_shared
from pnag.supernet.finetune import finetune, finetune_identity, judge
from pnag.supernet.loop import Step, fit, to_device
from pnag.supernet.settings import (
    Augmentation,
    FinetuneFit,
    FinetuneSettings,
    FitSettings,
    SupernetSettings,
)
from pnag.supernet.supernet_training import Progress, train_supernet

GPU = torch.device("cuda", 0)
SPACE = pnag.SearchSpace()


def accelerator(precision: str = "no") -> Accelerator:
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    return Accelerator(mixed_precision=precision)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_batches_are_those_of_the_cpu(
    digits: ImageData, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    monkeypatch.setattr(feed, "RESIDENT_SHARE", share)
    augment = Augmentation(colour=0.3, mixup=0.2)
    pixels = feed.Pixels(digits.train, GPU)
    assert (pixels.resident is not None) == (share > 0)
    for small in (True, False):
        data = replace(digits, small=small)
        ours, theirs = (
            list(train_batches(data, 64, epoch=3, seed=1, augment=augment, **where))
            for where in ({"pixels": pixels}, {"device": "cpu"})
        )
        assert len(ours) == len(theirs)
        for (images, labels), (expected, expected_labels) in zip(ours, theirs, strict=True):
            assert images.is_cuda and labels.is_cuda
            # The windows' corners are rounded otherwise.
            assert (images.cpu() - expected).abs().max() < 0.02
            assert torch.allclose(labels.cpu().double(), expected_labels.double(), atol=1e-6)
    ours, theirs = (list(eval_batches(digits, "test", 100, device=d)) for d in (GPU, "cpu"))
    for (images, labels), (expected, expected_labels) in zip(ours, theirs, strict=True):
        assert torch.allclose(images.cpu(), expected, atol=1e-5)
        assert torch.equal(labels.cpu(), expected_labels)


def test_batches_that_are_left_midway_leave_no_thread(digits: ImageData) -> None:
    def at_work() -> set[threading.Thread]:  # libraries' threads come and go as they like
        return {thread for thread in threading.enumerate() if thread.name == "pnag batches"}

    before = at_work()  # a training that another test stopped may have left one
    batches = train_batches(digits, 64, epoch=0, seed=0, device=GPU)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert at_work() <= before


def test_a_step_waits_for_nothing(digits: ImageData, tmp_path: Path) -> None:
    supernet = pnag.Supernet(0.1, 10)
    steps: list[int] = []
    last = len(digits.train) // 64 - 1  # after it a checkpoint is written, which waits

    def losses(images: Tensor, labels: Tensor, step: int) -> Iterator[Tensor]:
        # From here to the next step torch raises where the CPU waits for the GPU.
        torch.cuda.set_sync_debug_mode("error" if 0 < step < last else "default")
        yield F.cross_entropy(supernet(images), labels)

    def watch(step: Step) -> None:
        torch.cuda.set_sync_debug_mode("default")
        steps.append(step.done)

    settings = FitSettings(epochs=1, batch_size=64)
    try:
        fit(
            supernet, losses, digits, settings, seed=0, accelerator=accelerator(),
            checkpoint=tmp_path / "c", identity="x", watch=watch,
        )  # fmt: skip
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert steps == list(range(1, last + 2))


@pytest.mark.parametrize("precision", ["no", "bf16", "fp16"])
def test_a_network_learns(
    digits: ImageData, supernet: pnag.Supernet, tmp_path: Path, precision: str
) -> None:
    settings = FinetuneSettings(fit=FinetuneFit(epochs=10, batch_size=32, learning_rate=0.1))
    training = accelerator(precision)
    supernet.to(training.device)
    identity = finetune_identity("random", family().largest, digits, settings, 0, training)
    network = finetune(
        supernet.subnet(), digits, settings, tmp_path, identity=identity, seed=0,
        accelerator=training,
    )  # fmt: skip
    assert judge(network, digits, "test", training.device).top1 > 0.5


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_supernet_goes_on_after_a_stop(
    digits: ImageData, tmp_path: Path, optimizer: Literal["sgd", "adamw"]
) -> None:
    class Stopped(Exception):
        pass

    def stop(progress: Progress) -> None:
        if progress.done == per_epoch + 4:  # told two steps later
            raise Stopped

    per_epoch = len(digits.train) // 96
    fit = FitSettings(epochs=4, batch_size=96, optimizer=optimizer, learning_rate=0.01)
    settings = SupernetSettings(fit=fit)
    how: dict[str, Any] = {"family": ofa(0.1), "seed": 0, "accelerator": accelerator("bf16")}
    with pytest.raises(Stopped):
        train_supernet(digits, settings, tmp_path, watch=stop, **how)
    seen: list[int] = []
    supernet = train_supernet(
        digits, settings, tmp_path, watch=lambda p: seen.append(p.done), **how
    )
    assert seen[0] == per_epoch + 1 and seen[-1] == 4 * per_epoch
    assert next(supernet.parameters()).is_cuda


def test_want_of_memory_halves_the_part(
    digits: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    supernet = pnag.Supernet(0.1, 10)
    said: list[str] = []
    parts: list[int] = []

    def losses(images: Tensor, labels: Tensor, step: int) -> Iterator[Tensor]:
        if len(images) > 20:
            torch.empty(1 << 50, device=GPU, dtype=torch.uint8)  # more than any GPU has
        parts.append(len(images))
        yield F.cross_entropy(supernet(images), labels)

    fit(
        supernet, losses, digits, FitSettings(epochs=1, batch_size=64), seed=0,
        accelerator=accelerator(), checkpoint=tmp_path / "c", identity="x", notice=said.append,
    )  # fmt: skip
    assert set(parts) == {16} and len(said) == 2
    assert "does not suffice for 64 images at a time" in said[0]


def test_subnets_are_judged_as_on_the_cpu(digits: ImageData, supernet: pnag.Supernet) -> None:
    tokens = sample_shared(SPACE, 16, np.random.default_rng(0), shared=8)
    settings = Settings(calibration=128, precision="float32")
    evaluator = SubnetEvaluator(supernet, digits, settings)
    expected = evaluator.logits(family().largest)
    counts = evaluator.correct(tokens)
    to_device(supernet, GPU)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        evaluator = SubnetEvaluator(supernet, digits, settings)
        found = evaluator.logits(family().largest).cpu()
        assert (found - expected).abs().max() < 2e-3 * expected.abs().max()
        assert np.abs(evaluator.correct(tokens) - counts).max() <= 2
        little = SubnetEvaluator(supernet, digits, settings, memory=1 << 20)
        assert len(little.chunks) > 1
        assert np.abs(little.correct(tokens) - counts).max() <= 2
    finally:
        torch.backends.cudnn.allow_tf32 = True


def test_judges_that_share_a_gpu(
    digits: ImageData, supernet: pnag.Supernet, tmp_path: Path
) -> None:
    to_device(supernet, GPU)
    tokens = sample_shared(SPACE, 16, np.random.default_rng(0), shared=8)
    settings = Settings(calibration=64, precision="float32")
    one, two = (
        collect(supernet, digits, tokens, tmp_path / f"{workers}.csv", settings=settings,
                workers=workers, memory=1 << 28)
        for workers in (1, 2)
    )  # fmt: skip
    assert (one.accuracy - two.accuracy).abs().max() <= 2 / len(digits.validation)


def test_want_of_memory_halves_the_maps(digits: ImageData, supernet: pnag.Supernet) -> None:
    to_device(supernet, GPU)
    evaluator = SubnetEvaluator(supernet, digits, Settings(calibration=64))
    tokens = SPACE.sample(2, np.random.default_rng(0))
    expected = evaluator.correct(tokens)
    first = evaluator._correct
    failed: list[int] = []

    def fails_once(*args: Any) -> Tensor:
        if not failed:
            failed.append(1)
            raise torch.OutOfMemoryError("CUDA out of memory")
        return first(*args)

    evaluator._correct = fails_once  # type: ignore[method-assign, assignment]
    evaluator._memory = 1 << 24
    assert np.abs(evaluator.correct(tokens) - expected).max() <= 2
    assert failed and evaluator._memory == 1 << 23


@pytest.mark.parametrize("name", ["cuda", "cuda-batch1"])
def test_latencies_are_of_the_work_and_add_up(name: str, tmp_path: Path) -> None:
    runtime = make_runtime(name)
    table = measure_device(
        runtime, ofa(0.5), tmp_path / "t.json", resolution=96, rounds=3,
        calibration=12, check=6,
    )  # fmt: skip
    error = check_latency_model(fit_latency_model(table), table)
    assert error.mape < 0.15
    assert table.identity["batch"] == (64 if name == "cuda" else 1)


def test_a_graph_s_time_grows_with_its_work() -> None:
    def ms(channels: int, layers: int) -> float:
        network = nn.Sequential(*[nn.Conv2d(channels, channels, 3) for _ in range(layers)])
        call = make_runtime("cuda").prepare(network, (64, channels, 64, 64))()
        return float(np.median(call(5)[1:]))

    assert 1.5 < ms(128, 8) / ms(128, 4) < 2.5


def test_the_ranking_loss_is_the_cpu_s() -> None:
    random = torch.Generator().manual_seed(0)
    accuracy, cost = torch.rand(2, 3000, generator=random).round(decimals=2)
    scores = torch.randn(5, 3000, generator=random)
    ranks = dominance_ranks(accuracy, cost, torch.linspace(0.1, 1, 5))
    value, gradient = ranking_loss_and_gradient(scores, ranks)
    there, gradient_there = ranking_loss_and_gradient(scores.to(GPU), ranks.to(GPU))
    assert float(there) == pytest.approx(float(value), rel=1e-9)
    assert torch.allclose(gradient_there.cpu(), gradient, atol=1e-12)


def test_a_runtime_s_batch_is_said() -> None:
    with pytest.raises(PnagError, match="takes no device"):
        make_runtime("cuda:1")
