"""What docs/extend.md shows does what it says."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

import pnag
from pnag.cost.measure import measure_device
from pnag.cost.runtimes import RUNTIMES, make_runtime
from pnag.families.ofa_mobilenetv3 import ofa
from pnag.families.registry import from_config
from pnag.search.labels import Labels
from pnag.search.methods import METHODS, Problem, get_method, silent
from pnag.space import SearchSpace

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def test_a_search_method(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pnag.search.methods.METHODS", METHODS)
    space = SearchSpace()

    class Additive:
        def __init__(self, weights: np.ndarray) -> None:
            self.weights = weights

        def predict(self, tokens: np.ndarray) -> np.ndarray:
            return np.asarray(1 + space.features(tokens).astype(float) @ self.weights)

    rng = np.random.default_rng(0)
    labels = Labels(space, *(Additive(rng.uniform(0.1, 1, space.num_features)) for _ in range(2)))
    tokens = space.sample_unique(300, rng)
    problem = Problem(space, tokens, *labels.label(tokens), labels)
    try:
        load("add_a_search_method")
        searcher = get_method("hill-climbing")(problem, 0, silent)
        budget = float(np.median(problem.cost))
        accuracy, cost = labels.label(searcher.answer(budget))
        assert cost[0] <= budget
        assert accuracy[0] > problem.accuracy[problem.cost <= budget].max() + 0.1
        assert searcher.generate(budget, 5).shape == (5, 45)
    finally:
        METHODS.pop("hill-climbing", None)


def test_a_runtime(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    try:
        load("add_a_runtime")
        table = measure_device(
            make_runtime("torchscript"), ofa(0.25), tmp_path / "table.json",
            resolution=32, num_classes=10, rounds=3, calibration=3, check=2,
        )  # fmt: skip
        assert table.identity["runtime"] == "torchscript"
        assert len(table.blocks) == 90 and len(table.calibration) == 3
    finally:
        torch.set_num_threads(threads)
        RUNTIMES.pop("torchscript", None)


def test_a_search_space(capsys: pytest.CaptureFixture[str]) -> None:
    module = load("add_a_search_space")
    module.main()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    costs = [float(line.split("cost ")[1].split(",")[0]) for line in lines]
    accuracies = [float(line.split("accuracy ")[1].split(",")[0]) for line in lines]
    assert all(c <= b for c, b in zip(costs, (8, 12, 20), strict=True))
    assert accuracies == sorted(accuracies)


def test_a_family() -> None:
    """It is trained, judged and exported as the others are; all that its file says is its table."""
    load("add_a_family")
    family = pnag.family("separable")
    supernet = family.supernet(num_classes=10).eval()
    images = torch.randn(2, 3, 32, 32)
    for text in family.sample(5, np.random.default_rng(0)):
        network = supernet.subnet(text)
        assert torch.allclose(network(images), supernet(images, text), atol=1e-5)
        counts = family.count(text, resolution=32, num_classes=10)
        assert counts.params == sum(value.numel() for value in network.parameters())
        again = from_config(network.pnag_config)
        again.load_state_dict(network.state_dict())
        assert torch.equal(again.eval()(images), network(images))
