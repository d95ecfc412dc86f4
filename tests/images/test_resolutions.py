"""Resolutions that architectures choose among: drawn in training, each judged at its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from pnag.families.ofa_mobilenetv3 import ofa
from pnag.images.batches import eval_batches
from pnag.images.images import ImageData, load_images
from pnag.images.resolutions import at_resolution, resolution_of_step
from pnag.judging.shared_starts import shared_order
from pnag.judging.subnets import ElasticEvaluator, Settings, make_evaluator
from pnag.space import sample_shared


def test_each_resolution_gets_the_same_time_in_an_order_of_chance() -> None:
    drawn = [resolution_of_step((32, 48, 64), 7, step) for step in range(3000)]
    pixels = [sum(r * r for r in drawn if r == each) for each in (32, 48, 64)]
    assert max(pixels) <= 1.15 * min(pixels)
    assert drawn == [resolution_of_step((32, 48, 64), 7, step) for step in range(3000)]
    assert drawn != [resolution_of_step((32, 48, 64), 8, step) for step in range(3000)]
    assert len({tuple(drawn[i : i + 3]) for i in range(0, 300, 3)}) > 9  # no pattern
    assert resolution_of_step((), 7, 3) == 0


def test_scaled_images_are_averages() -> None:
    images = torch.rand(2, 3, 64, 64)
    assert at_resolution(images, 0) is images and at_resolution(images, 64) is images
    small = at_resolution(images, 32)
    assert small.shape == (2, 3, 32, 32)
    assert small.mean() == pytest.approx(float(images.mean()), abs=1e-3)
    assert small.var() < images.var() / 2  # what is finer than a pixel is averaged, not skipped


@pytest.fixture(scope="module")
def larger_digits(tmp_path_factory: pytest.TempPathFactory) -> ImageData:
    cache: Path = tmp_path_factory.mktemp("cache")
    return load_images("digits", resolution=48, cache=cache)


@torch.no_grad()
def test_each_subnet_is_judged_at_its_own_resolution(larger_digits: ImageData) -> None:
    torch.manual_seed(0)
    of = ofa(0.1).with_resolutions((32, 48))
    supernet = of.supernet(10).eval()
    evaluator = make_evaluator(supernet, larger_digits, Settings(60, 90))
    assert isinstance(evaluator, ElasticEvaluator) and evaluator.images == 90
    tokens = sample_shared(of.space, 8, np.random.default_rng(2), shared=4)
    assert len(set(of.space.resolution_ids(tokens[:4]))) == 1  # a group shares it
    tokens[:, 0] = [0, 1] * 4
    counts = evaluator.correct(tokens)
    ((calibration, _),) = eval_batches(larger_digits, "train", 60, limit=60)
    ((images, labels),) = eval_batches(larger_digits, "validation", len(larger_digits.validation))
    images, labels = images[evaluator.rows], labels[evaluator.rows]
    for arch, count in zip(of.space.decode(tokens), counts, strict=True):
        size = (arch.resolution,) * 2

        def scaled(x: torch.Tensor, size: tuple[int, int] = size) -> torch.Tensor:
            return F.interpolate(x, size, mode="bilinear", antialias=True).double()

        network = supernet.subnet(arch).double()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.reset_running_stats()
                module.momentum = None
        network.train()(scaled(calibration))
        expected = network.eval()(scaled(images))
        assert (evaluator.logits(arch) - expected).abs().max() < 1e-4 * expected.abs().max()
        assert count == (expected.argmax(1) == labels).sum()
    ordered = of.space.resolution_ids(tokens[shared_order(of.space, tokens)])
    assert ordered.tolist() == sorted(ordered)  # those of one resolution follow each other
