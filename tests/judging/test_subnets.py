"""Accuracies of subnets: against a slow twin, and the same bits in any company."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pnag import Architecture, SearchSpace, Supernet
from pnag.errors import PnagError
from pnag.images.batches import eval_batches
from pnag.images.images import ImageData, ImagePart
from pnag.judging.shared_starts import shared_layers, shared_order
from pnag.judging.subnets import Settings, SubnetEvaluator
from pnag.space import sample_shared
from pnag.supernet.precision import judging_precision

SPACE = SearchSpace()
SETTINGS = Settings(calibration=60, validation=90)
MIXED = sample_shared(SPACE, 6, np.random.default_rng(1), shared=3)
EXTREMES = np.concatenate([np.zeros_like(MIXED[:1]), SPACE.choices_per_token[None] - 1])
TOKENS = SPACE.canonical(np.concatenate([MIXED, EXTREMES]).astype(np.int8))


@pytest.fixture(scope="module")
def evaluator(supernet: Supernet, digits: ImageData) -> SubnetEvaluator:
    return SubnetEvaluator(supernet, digits, SETTINGS)


def validation(evaluator: SubnetEvaluator, data: ImageData) -> tuple[Tensor, Tensor]:
    ((images, labels),) = eval_batches(data, "validation", len(data.validation))
    return images[evaluator.rows], labels[evaluator.rows]


def twin(supernet: Supernet, arch: Architecture, calibration: Tensor, images: Tensor) -> Tensor:
    """Logits in float64: in float32 the twin is off by more than what is tested."""
    network = supernet.subnet(arch).double()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    with torch.no_grad():
        network.train()(calibration.double())
        return network.eval()(images.double())


def test_as_the_slow_twin(
    supernet: Supernet, digits: ImageData, evaluator: SubnetEvaluator
) -> None:
    ((calibration, _),) = eval_batches(digits, "train", 60, limit=60)
    images, labels = validation(evaluator, digits)
    counts = evaluator.correct(TOKENS)
    assert evaluator.images == 90
    for arch, count in zip(SPACE.decode(TOKENS), counts, strict=True):
        expected = twin(supernet, arch, calibration, images)
        logits = evaluator.logits(arch)
        assert logits.dtype == torch.float32
        assert (logits - expected).abs().max() < 1e-4 * expected.abs().max()
        assert count == (expected.argmax(1) == labels).sum()
    assert len(set(counts.tolist())) > 3


def test_larger_maps(supernet: Supernet, digits: ImageData) -> None:
    """7x7 kernels with nothing left out, and a map that is not a power of two."""
    data = replace(digits, preprocessing=replace(digits.preprocessing, resolution=60))

    def enlarged(part: ImagePart) -> ImagePart:
        return replace(part, images=np.kron(part.images[:30, :, :30, :30], np.ones((2, 2), "u1")),
                       labels=part.labels[:30])  # fmt: skip

    data = replace(data, train=enlarged(digits.train), validation=enlarged(digits.validation))
    evaluator = SubnetEvaluator(supernet, data, Settings(30, 30))
    ((calibration, _),) = eval_batches(data, "train", 30)
    images, _ = validation(evaluator, data)
    for arch in SPACE.decode(TOKENS[-2:]):
        expected = twin(supernet, arch, calibration, images)
        assert (evaluator.logits(arch) - expected).abs().max() < 1e-4 * expected.abs().max()


def test_same_bits_in_any_company(
    supernet: Supernet, digits: ImageData, evaluator: SubnetEvaluator
) -> None:
    together = evaluator.correct(TOKENS)
    alone = [evaluator.correct(row[None])[0] for row in TOKENS]
    shuffled = evaluator.correct(TOKENS[::-1])
    assert together.tolist() == alone == shuffled[::-1].tolist()
    # Whether a map is kept or computed anew does not matter.
    before = evaluator.logits(SPACE.decode(TOKENS[:1])[0])
    evaluator.correct(TOKENS[3:])
    assert torch.equal(evaluator.logits(SPACE.decode(TOKENS[:1])[0]), before)


def test_little_memory(supernet: Supernet, digits: ImageData, evaluator: SubnetEvaluator) -> None:
    small = SubnetEvaluator(supernet, digits, SETTINGS, memory=1 << 19)
    assert len(small.chunks) > 2 and sum(map(len, small.chunks)) == 90
    # Products of other shapes round differently.
    assert np.abs(small.correct(TOKENS) - evaluator.correct(TOKENS)).max() <= 1


def test_supernet_stays_as_it_is(supernet: Supernet, digits: ImageData) -> None:
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    SubnetEvaluator(supernet, digits, SETTINGS).accuracies(TOKENS[:2])
    assert all(torch.equal(before[name], value) for name, value in supernet.state_dict().items())


def test_bfloat16(supernet: Supernet, digits: ImageData, evaluator: SubnetEvaluator) -> None:
    assert judging_precision("cpu") in ("float32", "bfloat16")
    half = SubnetEvaluator(supernet, digits, replace(SETTINGS, precision="bfloat16"))
    arch = SPACE.decode(TOKENS[:1])[0]
    logits, expected = half.logits(arch), evaluator.logits(arch)
    assert logits.dtype == torch.float32
    assert (logits - expected).abs().mean() < 0.1 * expected.std()


def test_images_are_stratified(evaluator: SubnetEvaluator, digits: ImageData) -> None:
    labels = digits.validation.labels[evaluator.rows]
    assert len(set(evaluator.rows.tolist())) == 90
    share = np.bincount(labels, minlength=10) / len(labels)
    expected = np.bincount(digits.validation.labels) / len(digits.validation)
    assert np.abs(share - expected).max() <= 1.5 / len(labels)


def test_order_shares_most() -> None:
    tokens = SPACE.sample(3, np.random.default_rng(0))
    deeper = tokens[:1].copy()
    deeper[0, 0] = 2  # unit 1 of depth 4 begins as that of depth 2
    shallow = tokens[:1].copy()
    shallow[0, 0] = 0
    fill = SPACE.canonical(np.maximum(np.concatenate([deeper, tokens[1:], shallow]), 0))
    order = shared_order(SPACE, fill)
    place = order.tolist()
    assert abs(place.index(0) - place.index(3)) == 1
    archs = SPACE.decode(fill[order])
    assert 2 in shared_layers(archs) and shared_layers(archs)[0] == 0
    assert shared_layers([archs[0], archs[0]])[1] == sum(archs[0].depths)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (Settings(calibration=1), "calibration must be at least .*, not 1"),
        (Settings(validation=1), "validation must be at least .*, not 1 of"),
    ],
)
def test_too_few_images(
    supernet: Supernet, digits: ImageData, settings: Settings, words: str
) -> None:
    with pytest.raises(PnagError, match=words):
        SubnetEvaluator(supernet, digits, settings)


def test_other_classes(digits: ImageData) -> None:
    with pytest.raises(PnagError, match="3 classes"):
        SubnetEvaluator(Supernet(0.1, 3), digits)
