"""Networks and their counts: against published figures, and against each other."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import pnag
from pnag.families import count_batch, family

SPACE = pnag.SearchSpace()
FACTS = Path(__file__).resolve().parents[3] / "shared" / "facts"
needs_facts = pytest.mark.skipif(not FACTS.exists(), reason=f"no published figures at {FACTS}")

# The paper's Table 1: convolutions' multiply-adds (M) and parameters (M), width 1.2
PNAG_CPU_30 = (
    "2,2,3,3,3:5,5,0,0,5,5,0,0,7,5,7,0,3,5,5,0,7,5,5,0:3,3,0,0,4,3,0,0,4,3,3,0,6,4,4,0,6,6,6,0"
)


def macs_by_hooks(network: nn.Module, resolution: int) -> int:
    total = 0

    def hook(module: nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d):
            total += output[0].numel() * module.weight[0].numel()
        elif isinstance(module, nn.Linear):
            total += module.weight.numel()

    for module in network.modules():
        module.register_forward_hook(hook)
    with torch.no_grad():
        network.eval()(torch.zeros(1, 3, resolution, resolution))
    return total


@pytest.mark.parametrize(
    ("width_mult", "resolution", "classes"), [(1.0, 224, 1000), (1.2, 160, 10), (0.35, 65, 7)]
)
def test_counts_are_those_of_the_built_network(
    width_mult: float, resolution: int, classes: int
) -> None:
    for text in SPACE.text(SPACE.sample(3, np.random.default_rng(0))):
        network = pnag.build(text, width_mult, classes)
        counts = pnag.count(text, width_mult, resolution, classes)
        assert counts.params == sum(p.numel() for p in network.parameters())
        assert counts.macs == macs_by_hooks(network, resolution)
        assert counts.macs - counts.conv_macs == network.classifier.weight.numel()


def test_counts_are_the_papers() -> None:
    counts = pnag.count(PNAG_CPU_30, width_mult=1.2)
    assert round(counts.params / 1e6, 1) == 7.6
    assert abs(counts.conv_macs / 1e6 - 335) < 1


@needs_facts
def test_counts_are_exact_on_every_published_row() -> None:
    rows = pd.read_csv(FACTS / "ofa_mbv3_w1.0_imagenet_top1.csv")
    counts = count_batch(family(), SPACE.encode(rows.arch))
    assert (counts.params == rows.params).all()
    assert (counts.macs == rows.macs).all()


@needs_facts
def test_published_architectures_run() -> None:
    published = json.loads((FACTS / "pnag_published_architectures.json").read_text())
    specialised = json.loads((FACTS / "ofa_specialized_architectures.json").read_text())
    cases = [(arch, 1.2, 64) for arch in published.values()]
    cases += [(s["arch"], s["width_mult"], s["resolution"]) for s in specialised]
    assert len(cases) == 49
    for arch, width_mult, resolution in cases:
        with torch.no_grad():
            logits = pnag.build(arch, width_mult).eval()(torch.zeros(1, 3, resolution, resolution))
        assert logits.shape == (1, 1000)


def test_bad_sizes_are_refused() -> None:
    for arguments in ({"width_mult": 0.0}, {"num_classes": 0}):
        with pytest.raises(ValueError, match="must be"):
            pnag.build(PNAG_CPU_30, **arguments)  # type: ignore[arg-type]
