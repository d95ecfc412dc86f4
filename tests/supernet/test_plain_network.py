"""Networks of timm as they are trained here: norms, classifiers, a stride that crashes torch."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from accelerate import Accelerator
from torch import nn

from pnag.families.quick_layers import with_quick_layers
from pnag.images.batches import eval_batches
from pnag.images.images import ImageData, load_images
from pnag.judging.recalibrate import PASSED, recalibrate
from pnag.supernet.finetune import judge
from pnag.supernet.plain_network import PlainStride, for_classes, solve_classifiers
from pnag.supernet.settings import FinetuneSettings


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> ImageData:
    pytest.importorskip("sklearn")
    return load_images("digits", resolution=32, cache=tmp_path_factory.mktemp("cache"), classes=4)


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("model", ["test_byobnet", "test_resnet"])
def test_norms_of_any_network_are_measured(model: str, quick: bool, digits: ImageData) -> None:
    torch.manual_seed(0)
    network = timm.create_model(model, num_classes=4)
    expected = copy.deepcopy(network)
    norms = [m for m in expected.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0  # what the one batch has
    (batch,) = eval_batches(digits, "train", PASSED, limit=PASSED)
    with torch.no_grad():
        expected.train()(batch[0])
    if quick:  # as after fine-tuning
        with_quick_layers(network)
    recalibrate(network, digits, images=PASSED)
    assert not network.training
    found = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(found) == len(norms) > 5
    for one, other in zip(found, norms, strict=True):
        assert one.momentum == 0.1 and not one.training
        torch.testing.assert_close(one.running_mean, other.running_mean)
        torch.testing.assert_close(one.running_var, other.running_var)
    # Of several batches the mean, which is near to that of all images at once.
    recalibrate(network, digits, images=4 * PASSED)
    moved = [(a.running_mean - b.running_mean).abs().max() for a, b in
             zip(found, norms, strict=True)]  # fmt: skip
    assert 0 < float(max(moved)) < 1


@pytest.mark.parametrize("model", ["ghostnet_100", "repghostnet_100"])
def test_an_activation_that_is_apart_from_its_norm_counts(model: str, digits: ImageData) -> None:
    torch.manual_seed(0)
    network = timm.create_model(model, num_classes=4)
    expected = copy.deepcopy(network).double()
    norms = [m for m in expected.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    (batch,) = eval_batches(digits, "train", PASSED, limit=PASSED)
    with torch.no_grad():
        expected.train()(batch[0].double())
    recalibrate(network, digits, images=PASSED)
    found = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    for one, other in zip(found, norms, strict=True):
        assert one.running_mean is not None and one.running_var is not None
        for own, right in (
            (one.running_mean, other.running_mean),
            (one.running_var, other.running_var),
        ):
            torch.testing.assert_close(own.double(), right, rtol=1e-3, atol=1e-3)


def test_each_image_counts_alike_in_a_last_batch_of_few(digits: ImageData) -> None:
    torch.manual_seed(0)
    network = timm.create_model("test_resnet", num_classes=4)
    recalibrate(network, digits, images=PASSED + 2)
    batches = [b for b, _ in eval_batches(digits, "train", PASSED, limit=PASSED + 2)]
    assert [len(b) for b in batches] == [PASSED, 2]
    first = next(m for m in network.modules() if isinstance(m, nn.BatchNorm2d))
    maps: list[torch.Tensor] = []
    first.register_forward_pre_hook(lambda _, inputs: maps.append(inputs[0].detach()))
    network(torch.cat(batches))
    torch.testing.assert_close(first.running_mean, maps[0].mean((0, 2, 3)), rtol=1e-4, atol=1e-5)


def test_a_classifier_is_solved_for(digits: ImageData) -> None:
    torch.manual_seed(0)
    network = for_classes(timm.create_model("test_byobnet"), 4)
    accelerator = Accelerator(cpu=True)
    before = judge(network.eval(), digits, "validation", accelerator.device).top1
    solve_classifiers(network, digits, FinetuneSettings(), accelerator)
    after = judge(network, digits, "validation", accelerator.device).top1
    assert after > max(0.7, before + 0.2)


def test_a_strided_convolution_of_images_is_the_same() -> None:
    torch.manual_seed(0)
    plain = timm.create_model("mobileone_s0").stem
    network = nn.Sequential(copy.deepcopy(plain))
    network.reset_classifier = lambda classes: None  # type: ignore[assignment]
    for_classes(network, 4)
    kinds = [type(m) for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert kinds.count(PlainStride) == 1 < len(kinds)
    images = torch.randn(2, 3, 33, 33)
    for one in (plain, network):
        one.train()(images).square().sum().backward()
    for (name, one), other in zip(plain.named_parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, msg=name, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(plain(images), network(images))
