"""Answers from trained weights: solved classifiers, and a teacher at the greatest resolution."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from pnag.families import family
from pnag.families.elastic_network import ElasticNetwork
from pnag.images.images import ImageData, load_images
from pnag.run import collect_stage
from pnag.run.finetune_stage import whole_networks
from pnag.supernet import finetune as tuning
from pnag.supernet.finetune import finetune, largest_network, same_time
from pnag.supernet.first_classifier import discriminants, solve_classifier
from pnag.supernet.loop import Step
from pnag.supernet.phases import PHASES
from pnag.supernet.settings import FinetuneFit, FinetuneSettings, SupernetSettings
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


def test_a_solved_classifier_is_right_before_the_first_step(
    images: ImageData, supernet: ElasticNetwork
) -> None:
    cpu = torch.device("cpu")
    before = tuning.judge(largest_network(supernet, images, cpu), images, "test", cpu).top1
    body = {n: v.clone() for n, v in supernet.state_dict().items() if "classifier" not in n}
    solve_classifier(supernet, images, 0.1, Accelerator(cpu=True))
    after = tuning.judge(largest_network(supernet, images, cpu), images, "test", cpu).top1
    assert before < 0.3 and after > before + 0.3  # on the features of a random body
    state = supernet.state_dict()
    assert all(torch.equal(state[name], value) for name, value in body.items())


def test_the_largest_learns_at_the_greatest_resolution_alone(supernet: ElasticNetwork) -> None:
    seen: list[set[int]] = []
    pixels: set[int] = set()
    called = type(supernet).forward

    class Seen(nn.Module):
        family = supernet.family

        def forward(self, images: Tensor, *arch: Any) -> Tensor:
            pixels.add(images.shape[-1])
            logits: Tensor = called(supernet, images, *arch)
            return logits

    for phase in PHASES["transfer"]:
        pixels.clear()
        losses = phase_losses(Seen(), phase, SupernetSettings("transfer"), None, 0)  # type: ignore[arg-type]
        for step in range(8):
            list(losses(torch.randn(2, 3, 48, 48), torch.tensor([0, 1]), step))
        seen.append(set(pixels))
    assert seen == [{48}, {32, 48}]


def test_smaller_images_take_more_epochs_for_the_same_time() -> None:
    fit = FinetuneFit(epochs=3)
    assert same_time(fit, 128, 128).epochs == 3
    # A pass without a backward one is a third of a step: 4/3 for (1/4 + 1/3).
    assert same_time(fit, 64, 128).epochs == round(3 * (4 / 3) / (1 / 4 + 1 / 3)) == 7
    assert same_time(FinetuneFit(epochs=1), 120, 128).epochs == 1


def test_a_teacher_keeps_its_network_and_teaches_at_its_resolution(
    images: ImageData, supernet: ElasticNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(1)
    teacher = family(NAME).supernet(10).eval()
    fit = FinetuneFit(epochs=1, batch_size=256, learning_rate=1e-3, optimizer="adamw")
    settings = FinetuneSettings(distillation=4.0, fit=fit)
    steps: list[Step] = []
    taught: list[int] = []
    whole = tuning.largest_network

    def recorded(source: ElasticNetwork, *others: Any) -> nn.Module:
        network = whole(source, *others)
        assert source is teacher
        network.register_forward_pre_hook(lambda _, given: taught.append(given[0].shape[-1]))
        return network

    monkeypatch.setattr(tuning, "largest_network", recorded)

    def tune(arch: str, name: str) -> nn.Module:
        return finetune(
            supernet, arch, images, settings, tmp_path, identity=name, seed=0,
            accelerator=Accelerator(cpu=True), teacher=teacher, watch=steps.append,
        )  # fmt: skip

    largest, smallest = str(supernet.family.largest), str(supernet.family.smallest)
    assert largest.endswith("@48")
    kept = tune(largest, "kept")
    assert not steps and not taught
    expected = teacher.subnet().state_dict()
    assert all(torch.equal(value, expected[n]) for n, value in kept.state_dict().items())

    begun: list[nn.Module] = []
    monkeypatch.setattr(type(supernet), "subnet", _recording(type(supernet).subnet, begun))
    tune(largest.replace("@48", "@32"), "lower")
    assert begun[0] is teacher and set(taught) == {48} and steps[-1].total == len(steps)
    begun.clear()
    tune(smallest, "small")
    assert begun[0] is supernet


def test_what_is_known_takes_the_place_of_the_supernets_accuracy(supernet: ElasticNetwork) -> None:
    space = supernet.family.space
    tokens = space.sample(3, np.random.default_rng(0))
    found = collect_stage.with_known(
        np.array([0.1, 0.2, 0.9]), tokens, {tokens[0].tobytes(): 0.5, tokens[2].tobytes(): 0.6}
    )
    assert found.tolist() == [0.5, 0.2, 0.6]
    whole = whole_networks(supernet.family)
    assert [text.rpartition("@")[2] for text in whole] == ["32", "48"]
    assert {text.rpartition("@")[0] for text in whole} == {
        str(supernet.family.largest).rpartition("@")[0]
    }


def _recording(subnet: Any, sources: list[Any]) -> Any:
    def recorded(self: Any, *arguments: Any) -> Any:
        sources.append(self)
        return subnet(self, *arguments)

    return recorded
