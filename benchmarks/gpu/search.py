"""Ranking loss and generator, on the GPU and on this machine's CPU."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from common import Options, Rows, seconds

import pnag
from pnag.cost.counted import CountedCost
from pnag.imagenet import AT_224
from pnag.search.dominance import dominance_ranks
from pnag.search.evaluator import EvaluatorSettings, train_evaluator
from pnag.search.labels import Labels
from pnag.search.policy_gradient import GeneratorSettings, train_generator
from pnag.search.predictor import Predictor
from pnag.search.ranking_loss import ranking_loss_and_gradient

BUDGETS = 10


def measure(options: Options) -> Rows:
    """Milliseconds of the loss; seconds of evaluator and generator."""
    rows: Rows = {}
    devices = {"cpu": torch.device("cpu"), options.device.type: options.device}
    for m in (500,) if options.tiny else (16_000, 64_000):
        random = torch.Generator().manual_seed(m)
        accuracy, cost = torch.rand(2, m, generator=random)
        scores = torch.randn(BUDGETS, m, generator=random) * 5
        ranks = dominance_ranks(accuracy, cost, torch.linspace(0.1, 1, BUDGETS))
        values = {}
        for name, device in devices.items():
            there = scores.to(device), ranks.to(device)
            took = seconds(lambda: ranking_loss_and_gradient(*there), device, 5)  # noqa: B023
            rows[f"ranking loss, M {m}, {name}: ms"] = 1000 * took
            values[name] = [x.double().cpu() for x in ranking_loss_and_gradient(*there)]
        if len(values) > 1:
            first, second = values.values()
            rows[f"ranking loss, M {m}: gradient differs by"] = float(
                (first[1] - second[1]).abs().max() / first[1].abs().max()
            )
    space = pnag.SearchSpace()
    accuracy_of = Predictor.load(AT_224, space)
    labels = Labels(space, accuracy_of, CountedCost("macs"))
    tokens = space.sample(200 if options.tiny else 16_000, np.random.default_rng(0))
    features, accuracy, cost = labels.describe(tokens)
    budgets = torch.linspace(float(cost.min()), float(cost.max()), BUDGETS, dtype=torch.float64)
    steps, iterations = (2, 2) if options.tiny else (20, 40)
    for name, device in devices.items():
        there = [x.to(device) for x in (features, accuracy, cost, budgets)]
        how = EvaluatorSettings(steps=steps)
        took = seconds(lambda: train_evaluator(*there, how), device, 1)  # noqa: B023
        rows[f"evaluator, {name}: ms a step"] = 1000 * took / steps
        evaluator, _ = train_evaluator(*there, how)
        settings = replace(GeneratorSettings(), iterations=iterations)

        def generator() -> None:
            train_generator(space, evaluator, there[3], labels.describe, settings)  # noqa: B023

        rows[f"generator, {name}: ms an iteration"] = (
            1000 * seconds(generator, device, 1) / iterations
        )
    return rows
