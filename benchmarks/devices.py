"""How well latencies are predicted on every runtime there is here, by ours and two other models.

For each runtime: times the 90 blocks, whole networks to fit to and others to check on (a stop loses
a group of 50 at most; the same command goes on). Then predicts the others by

- ours: blocks timed alone, corrected by the whole networks (`pnag.cost.latency_model`);
- one-hot: linear (ridge) regression on one-hot choices, fitted to the same whole networks;
- 3-layer: the paper's predictor, three fully connected layers of 512 neurons on one-hot choices,
  trained on the same whole networks.

The other two know nothing of blocks: minutes are those of measuring all that ours needs. Runtimes
that are not asked for keep their lines if they were measured with the same options.

python benchmarks/devices.py [--runtimes onnxruntime,openvino --rounds 24 --check 100]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pnag import SearchSpace
from pnag.cost.latency_model import fit_latency_model, prediction_error
from pnag.cost.latency_table import LatencyTable
from pnag.cost.measure import measure_device
from pnag.cost.proof import timed
from pnag.cost.runtimes import RUNTIMES, make_runtime, why_not
from pnag.families.ofa_mobilenetv3 import ofa
from pnag.files import read_json, write_json, write_text
from pnag.run.display import Display
from pnag.space import Tokens

RESULTS = Path(__file__).parent / "results"
Floats = NDArray[np.float64]
Predict = Callable[[Tokens], Floats]
"""(N,) ms of (N, T) tokens."""


def one_hot_regression(space: SearchSpace, tokens: Tokens, times: Floats) -> Predict:
    """Ridge regression of (N,) ms on one-hot choices, the penalty chosen by leaving one out."""
    features = space.features(tokens).astype(np.float64)
    middle, mean = features.mean(0), times.mean()
    u, s, vt = np.linalg.svd(features - middle, full_matrices=False)
    projected = u.T @ (times - mean)

    def left_out(penalty: float) -> float:
        shrink = s**2 / (s**2 + penalty)
        own = (u**2) @ shrink + 1 / len(times)  # a network's weight in its own prediction
        rest = times - mean - u @ (shrink * projected)
        return float(((rest / (1 - own)) ** 2).mean())

    penalty = min(np.logspace(-3, 3, 61), key=left_out)
    weights = vt.T @ (projected * s / (s**2 + penalty))
    return lambda others: (space.features(others) - middle) @ weights + mean


def three_layers(space: SearchSpace, tokens: Tokens, times: Floats) -> Predict:
    """Three fully connected layers, 512 neurons between them, trained on (N,) ms."""
    torch.manual_seed(0)
    hidden = 512
    network = nn.Sequential(
        nn.Linear(space.num_features, hidden), nn.ReLU(),
        nn.Linear(hidden, hidden), nn.ReLU(),
        nn.Linear(hidden, 1),
    )  # fmt: skip
    features = torch.from_numpy(space.features(tokens))
    mean, unit = times.mean(), times.std()
    targets = torch.from_numpy((times - mean) / unit).float()
    epochs, batch = 250, 16
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        for rows in torch.randperm(len(targets)).split(batch):
            loss = nn.functional.mse_loss(network(features[rows])[:, 0], targets[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()

    @torch.no_grad()
    def predict(others: Tokens) -> Floats:
        out = network(torch.from_numpy(space.features(others)))[:, 0]
        return out.double().numpy() * unit + mean

    return predict


def compared(space: SearchSpace, table: LatencyTable) -> dict[str, dict[str, Any]]:
    """Each model's error on the table's check networks."""

    def times(of: dict[str, list[float]]) -> Floats:
        return np.array([table.milliseconds(samples) for samples in of.values()])

    known, known_ms = space.encode(table.calibration), times(table.calibration)
    unseen = space.encode(table.check)
    timings = [timed(samples, table.reference_ms) for samples in table.check.values()]
    models: dict[str, Predict] = {
        "ours": fit_latency_model(table).predict,
        "one-hot": one_hot_regression(space, known, known_ms),
        "3-layer": three_layers(space, known, known_ms),
    }
    return {
        name: asdict(prediction_error(predict(unseen), timings)) for name, predict in models.items()
    }


def lines(results: dict[str, Any], missing: dict[str, str], options: argparse.Namespace) -> str:
    """What is printed and kept as text."""
    text = [
        f"{options.resolution}x{options.resolution}, 90 blocks and {options.calibration} networks "
        f"to fit to, {options.check} unseen networks, {options.rounds} rounds",
        "",
        f"{'runtime':15} {'model':8} {'MAPE':>7} {'within 5 %':>11} {'within 10 %':>12} "
        f"{'tau':>6} {'minutes':>8}",
    ]
    for runtime, result in results.items():
        for model, error in result["models"].items():
            minutes = f"{result['minutes']:8.1f}" if model == "ours" else ""
            text.append(
                f"{runtime:15} {model:8} {error['mape']:7.2%} {error['within_5']:11.0%} "
                f"{error['within_10']:12.0%} {error['tau']:6.3f} {minutes}".rstrip()
            )
    text += ["", *(f"{name}: {result['about']}" for name, result in results.items())]
    text += [f"{name}: not measured; {reason}" for name, reason in missing.items()]
    return "\n".join(text) + "\n"


def main() -> None:
    """Measure, compare, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--runtimes", help="comma list; all that can be used here by default")
    parser.add_argument("--out", type=Path, default=Path("runs/devices"), help="latency tables")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=24)
    parser.add_argument("--resolution", type=int, default=224)
    parser.add_argument("--width-mult", type=float, default=1.0)
    parser.add_argument("--calibration", type=int, default=48)
    parser.add_argument("--check", type=int, default=100)
    options = parser.parse_args()
    torch.set_num_threads(1)
    space, display = SearchSpace(), Display()
    names = options.runtimes.split(",") if options.runtimes else list(RUNTIMES)
    missing = {name: reason for name in names if (reason := why_not(name))}
    results: dict[str, Any] = {}
    for name in names:
        if name in missing:
            continue
        with display.bar(name) as bar:
            table = measure_device(
                make_runtime(name, options.threads),
                ofa(options.width_mult),
                options.out / f"{name.replace(':', '-')}.json",
                resolution=options.resolution,
                rounds=options.rounds,
                calibration=options.calibration,
                check=options.check,
                progress=lambda what, done, total, bar=bar: bar.update(done, total, what),
            )
        identity, drift = table.identity, table.drift
        results[name] = {
            "identity": identity,
            "minutes": table.seconds / 60,
            "about": f"{identity['device']}, {identity['version']}, {identity['threads']} "
            f"thread(s), {identity['batch']} image(s) a call; machine speed ±{drift.spread:.1%}, "
            f"{drift.remeasured} disturbed turns taken again, {drift.unsteady} kept",
            "models": compared(space, table),
        }
    file = options.results / "devices.json"
    kept = read_json(file) if file.exists() else {}
    alike = ("width_mult", "resolution", "rounds", "calibration", "check")
    results |= {
        name: result
        for name, result in kept.items()
        if name not in results and all(result["identity"][k] == getattr(options, k) for k in alike)
    }
    results = {name: results[name] for name in RUNTIMES if name in results}
    missing = {name: reason for name, reason in missing.items() if name not in results}
    text = lines(results, missing, options)
    print(text)
    write_text(options.results / "devices.txt", text)
    write_json(options.results / "devices.json", results)


if __name__ == "__main__":
    main()
