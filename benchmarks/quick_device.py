"""A latency model of a new device from 20, 50 or 100 whole networks.

    python benchmarks/quick_device.py --facts ../shared/facts

Devices: three GPUs at batch 1, 32 and 64 (nine columns of `ofa_gpu_latency_ms.parquet`: whole
networks as measured) and an i7-8700K (sums of `i7-8700K_latency_ms.csv`'s operators). Each in turn
is the new one. Known are the others, but none of the same GPU, by additive models of their own
(what each block takes, growing with the pixels), multiply-adds and layers. Mean relative error on
1,000 networks that nothing was fitted to, mean of several draws:

- quick: `pnag.cost.quick`, the known devices and the few networks;
- alone: ridge regression on the same parts, fitted to the few networks only;
- scaled: the best known device, times one number that the few networks tell;
- promised: what `quick` says that it errs, from the few networks alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pnag import SearchSpace
from pnag.cost.operators import read_operators
from pnag.cost.published_table import NSGANET
from pnag.cost.quick import fit_quick
from pnag.families import count_batch, family
from pnag.files import write_json, write_text

RESULTS = Path(__file__).parent / "results"
SIZES = (20, 50, 100)
TESTED = 1000
I7 = "i7-8700K"
Floats = NDArray[np.float64]


def parts_of(space: SearchSpace, tokens: Floats, pixels: Floats) -> Floats:
    """(N, 2B) how often each block occurs, and that times the pixels' share of 224x224."""
    ids = family().block_ids(tokens)
    counts = np.zeros((len(ids), len(family().blocks()) + 1))
    np.add.at(counts, (np.arange(len(ids))[:, None], ids), 1.0)
    counts = counts[:, :-1]
    return np.concatenate([counts, counts * (pixels[:, None] / 224) ** 2], axis=1)


def ridge(features: Floats, times: Floats, penalties: Floats) -> tuple[Floats, float]:
    """Weights and bias for relative errors; the penalty is the best by leaving one out."""
    design = np.concatenate([features, np.ones((len(times), 1))], axis=1) / times[:, None]
    best, found = np.inf, None
    for penalty in penalties:
        gram = design @ design.T + penalty * np.eye(len(times))
        inverse = np.linalg.inv(gram)
        left_out = (inverse @ np.ones(len(times))) / np.diag(inverse)
        if (left_out**2).mean() < best:
            best, found = (left_out**2).mean(), design.T @ inverse.sum(axis=1)
    assert found is not None
    return found[:-1], float(found[-1])


def dense(features: Floats, times: Floats) -> Floats:
    """(F + 1,) weights and bias of an additive model of thousands of networks."""
    design = np.concatenate([features, np.ones((len(times), 1))], axis=1) / times[:, None]
    gram = design.T @ design + 1e-6 * np.eye(design.shape[1])
    return np.linalg.solve(gram, design.sum(axis=0))


def main() -> None:
    """Each device in turn is the new one."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--facts", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=10)
    options = parser.parse_args()
    space = SearchSpace()
    frame = pd.read_parquet(options.facts / "ofa_gpu_latency_ms.parquet")
    tokens, pixels = space.encode(frame["arch"]), frame["resolution"].to_numpy(dtype=float)
    times = {
        str(name): frame[name].to_numpy() for name in frame if name not in ("arch", "resolution")
    }
    cpu = np.zeros(len(frame))
    macs = np.zeros(len(frame))
    i7 = options.facts / "i7-8700K_latency_ms.csv"
    operators = read_operators(i7)
    for resolution in map(int, np.unique(pixels)):
        at = pixels == resolution
        model = operators.model(i7, NSGANET, family(), resolution, 1000)
        cpu[at] = model.predict(tokens[at])
        macs[at] = count_batch(family(), tokens[at], resolution=resolution).macs
    times[I7] = cpu
    layers = 5.0 + (family().block_ids(tokens) >= 0).sum(axis=1)
    parts = parts_of(space, tokens, pixels)
    order = np.random.default_rng(0).permutation(len(frame))
    test, rest = order[:TESTED], order[TESTED:]
    fitted = {name: dense(parts[rest], of[rest]) for name, of in times.items()}
    predicted = {name: parts @ w[:-1] + w[-1] for name, w in fitted.items()}
    for name, of in times.items():
        error = np.abs(predicted[name] / of - 1)[test].mean()
        print(f"{name:14} its own model of {len(rest):,} networks: {error:.2%}")
    rows = []
    for name, of in times.items():
        gpu = name.rpartition("_")[0] or name
        others = [other for other in times if not other.startswith(gpu)]
        known = np.stack([predicted[other] for other in others] + [macs / 1e8, layers], axis=1)
        # what a part takes on the known devices, each of which counts alike
        mean = np.mean([np.abs(fitted[o][:-1]) / np.median(times[o]) for o in others], axis=0)
        amounts = parts * mean
        for size in SIZES:
            errors: dict[str, list[float]] = {
                "quick": [],
                "alone": [],
                "scaled": [],
                "promised": [],
            }
            for draw in range(options.draws):
                few = np.random.default_rng(draw).choice(rest, size, replace=False)
                fit = fit_quick(known[few], amounts[few], of[few])
                guess = {"quick": fit.predict(known[test], amounts[test])}
                weights, bias = ridge(parts[few], of[few], np.logspace(-6, 2, 33))
                guess["alone"] = parts[test] @ weights + bias
                scale = np.median(of[few, None] / known[few], axis=0)
                off = np.abs(known[few] * scale / of[few, None] - 1).mean(axis=0)
                guess["scaled"] = known[test, off.argmin()] * scale[off.argmin()]
                for which, values in guess.items():
                    errors[which].append(float(np.abs(values / of[test] - 1).mean()))
                errors["promised"].append(float(np.abs(fit.errors).mean()))
            means = {which: float(np.mean(values)) for which, values in errors.items()}
            rows.append({"device": name, "networks": size, **means})
            print(rows[-1], flush=True)
    table = pd.DataFrame(rows)
    text = table.to_string(index=False, float_format=lambda value: f"{value:.2%}")
    mean = table.groupby("networks")[["quick", "alone", "scaled", "promised"]].mean()
    text += "\n\nmean of all devices\n" + mean.to_string(float_format=lambda v: f"{v:.2%}") + "\n"
    write_json(RESULTS / "quick_device.json", rows)
    write_text(RESULTS / "quick_device.txt", text)
    print(text)


if __name__ == "__main__":
    main()
