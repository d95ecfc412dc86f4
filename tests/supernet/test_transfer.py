"""From trained weights: a classifier that is solved for, and a network that teaches itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional as F

from pnag.families import family
from pnag.families.elastic_network import ElasticNetwork
from pnag.images.images import ImageData, load_images
from pnag.images.resolutions import at_resolution
from pnag.supernet.finetune import judge, largest_network
from pnag.supernet.first_classifier import discriminants, solve_classifier
from pnag.supernet.loop import fit
from pnag.supernet.phases import PHASES
from pnag.supernet.settings import FitSettings, SupernetSettings
from pnag.supernet.supernet_training import phase_losses

NAME = "timm/mobilenetv3_small_100@32,48"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageData:
    pytest.importorskip("sklearn", reason="needs the extra digits")
    return load_images("digits", resolution=48, cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture
def supernet() -> ElasticNetwork:
    torch.manual_seed(0)
    made: ElasticNetwork = family(NAME).supernet(10)
    return made.eval()


def test_discriminants_are_those_of_the_textbook() -> None:
    sklearn = pytest.importorskip("sklearn.discriminant_analysis", reason="needs the extra digits")
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300)
    features = rng.normal(size=(300, 6)) @ rng.normal(size=(6, 6)) + rng.normal(size=(3, 6))[labels]
    weight, bias = discriminants(torch.tensor(features), torch.tensor(labels), 3)
    means = np.stack([features[labels == c].mean(0) for c in range(3)])
    rest = features - means[labels]
    covariance = rest.T @ rest / 300
    covariance += 0.1 * covariance.diagonal().mean() * np.eye(6)
    textbook = sklearn.LinearDiscriminantAnalysis(priors=[1 / 3] * 3).fit(features, labels)
    logits = features @ weight.numpy().T + bias.numpy()
    assert (logits.argmax(1) == textbook.predict(features)).mean() > 0.95  # not shrunk
    assert weight.numpy() == pytest.approx(np.linalg.solve(covariance, means.T).T)


def test_a_class_that_no_sampled_image_has_leaves_the_others_as_they_are() -> None:
    rng = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (90,), generator=rng)
    features = torch.randn(90, 6, generator=rng) + 3 * torch.eye(6)[labels]
    weight, bias = discriminants(features, labels, 4)
    known, of_known = discriminants(features, labels, 3)
    assert torch.equal(weight[:3], known) and torch.equal(bias[:3], of_known)
    assert ((features @ weight.T + bias).argmax(1) == labels).float().mean() > 0.9


def test_one_image_of_each_class_is_known_again() -> None:
    features = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
    weight, bias = discriminants(features, torch.arange(3), 3)
    assert ((features @ weight.T + bias).argmax(1) == torch.arange(3)).all()
    weight, bias = discriminants(torch.ones(3, 6), torch.arange(3), 3)  # nothing differs
    assert weight.isfinite().all() and bias.isfinite().all()


@pytest.mark.parametrize("name", [NAME, "ofa-mobilenetv3-w0.25"])
def test_a_solved_classifier_is_right_before_the_first_step(images: ImageData, name: str) -> None:
    cpu = torch.device("cpu")
    torch.manual_seed(0)
    supernet: ElasticNetwork = family(name).supernet(10).eval()
    before = judge(largest_network(supernet, images, cpu), images, "train", cpu).top1
    body = [p.clone() for p in supernet.parameters() if p.shape[0] != 10]
    solve_classifier(supernet, images, 0, 0.1, Accelerator(cpu=True))
    after = judge(largest_network(supernet, images, cpu), images, "train", cpu).top1
    assert before < 0.3 and after > before + 0.2  # with the features of a random body
    kept = [p for p in supernet.parameters() if p.shape[0] != 10]
    assert all(torch.equal(*pair) for pair in zip(body, kept, strict=True))


def test_the_largest_learns_at_the_middle_resolution_alone(supernet: ElasticNetwork) -> None:
    first, everything = PHASES["transfer"]
    settings = SupernetSettings("transfer", label_smoothing=0.1)
    images, labels = torch.randn(4, 3, 48, 48), torch.tensor([0, 1, 2, 3])
    for pixels, name in ((48, NAME), (40, "timm/mobilenetv3_small_100@32,40,48")):
        of = family(name)
        assert first.drawn_resolutions(of.space) == (pixels,)
        own = of.supernet(10)
        own.load_state_dict(supernet.state_dict())
        (found,) = phase_losses(own.eval(), first, settings, None, 0)(images, labels, 5)
        logits = supernet(at_resolution(images, pixels))
        expected = F.cross_entropy(logits, labels, label_smoothing=0.1)
        assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    assert everything.drawn_resolutions(family(NAME).space) == (32, 48)
    assert first.drawn_resolutions(family("timm/mobilenetv3_small_100").space) == ()


def test_averaged_weights_are_of_the_last_steps(images: ImageData, tmp_path: Path) -> None:
    weights: list[Tensor] = []

    def train(averaged: float) -> Tensor:
        torch.manual_seed(0)
        model = nn.Sequential(nn.AvgPool2d(48), nn.Flatten(), nn.Linear(3, 10))
        linear = model[2].get_parameter("weight")

        def losses(batch: Tensor, labels: Tensor, step: int) -> Iterator[Tensor]:
            weights.append(linear.detach().clone())
            yield F.cross_entropy(model(batch), labels)

        fit(
            model, losses, images, FitSettings(2, 64, last_rate=0.5, averaged=averaged), seed=0,
            accelerator=Accelerator(cpu=True), checkpoint=tmp_path / str(averaged), identity="",
        )  # fmt: skip
        return linear.detach().clone()

    last = train(0)
    seen = [*weights[1:], last]
    average = train(0.25)
    decay = 1 - 1 / (0.25 * len(seen))
    expected = seen[1]  # timm's average begins after the second step
    for each in seen[2:]:
        expected = decay * expected + (1 - decay) * each
    assert torch.allclose(average, expected, atol=1e-6)
    assert not torch.allclose(average, last, atol=1e-4)
