"""The judge on supernets made of timm's networks, against a slow twin."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import pnag
from pnag.images.batches import eval_batches
from pnag.images.images import ImageData
from pnag.judging.evaluator_memory import evaluator_bytes
from pnag.judging.recalibrate import recalibrate
from pnag.judging.subnets import Settings, SubnetEvaluator

# Squeeze-excite with SiLU; a head behind the pooling; TensorFlow's padding; a stage that cannot
# choose between two that can (fbnetc), batch norms behind the pooling, convolutions with shortcuts.
NAMES = ("efficientnet_b0", "mobilenetv3_small_100", "tf_efficientnet_lite0", "fbnetc_100")


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_as_the_slow_twin(name: str, digits: ImageData) -> None:
    torch.manual_seed(0)
    family = pnag.family(f"timm/{name}")
    supernet = family.supernet(len(digits.classes)).eval()
    for each, value in supernet.named_parameters():
        if each.endswith("_matrix"):
            value.add_(0.05 * torch.randn_like(value))
    evaluator = SubnetEvaluator(supernet, digits, Settings(60, 90))
    tokens = family.space.sample(3, np.random.default_rng(1))
    tokens = np.concatenate([tokens, family.space.encode([family.smallest, family.largest])])
    counts = evaluator.correct(tokens)
    ((calibration, _),) = eval_batches(digits, "train", 60, limit=60)
    ((images, labels),) = eval_batches(digits, "validation", len(digits.validation))
    images, labels = images[evaluator.rows], labels[evaluator.rows]
    for arch, count in zip(family.space.decode(tokens), counts, strict=True):
        expected = twin(supernet.subnet(arch), calibration)(images.double())
        assert (evaluator.logits(arch) - expected).abs().max() < 1e-4 * expected.abs().max()
        assert count == (expected.argmax(1) == labels).sum()
    assert evaluator_bytes(supernet, digits.preprocessing.resolution, 90, Settings(60, 90)) > 0
    network = supernet.subnet(family.smallest)
    recalibrate(network, digits, images=60)
    logits = evaluator.logits(family.smallest)
    assert (network(images) - logits).abs().max() < 1e-3 * logits.abs().max()


def twin(network: Any, calibration: torch.Tensor) -> Any:
    """Its batch norms measured in one batch, in float64."""
    network = network.double()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    network.train()(calibration.double())
    return network.eval()
