"""The exact ranking loss against the brute force over all pairs, side by side in one run.

python benchmarks/ranking_loss.py [--sizes 1000 2000 4000 16000]
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from torch import Tensor

from pnag.search.dominance import dominance_ranks
from pnag.search.ranking_loss import ranking_loss_and_gradient


def brute_force(scores: Tensor, ranks: Tensor, chunk: int = 256) -> tuple[Tensor, Tensor]:
    """Eqn. (F) and its gradient by forming every pair, a chunk of rows at a time."""
    k, m = scores.shape
    value = torch.zeros((), dtype=torch.float64)
    gradient = torch.zeros(k, m, dtype=torch.float64)
    for budget in range(k):
        r, rank = scores[budget].double(), ranks[budget]
        for start in range(0, m, chunk):
            rows = slice(start, min(start + chunk, m))
            sign = torch.where(rank[rows, None] >= rank[None], 1.0, -1.0).double()
            hinge = 1 - (r[rows, None] - r[None]) * sign
            index = torch.arange(rows.start, rows.stop)
            hinge[index - start, index] = 0
            active = (hinge > 0) * sign
            value += hinge.clamp(min=0).sum()
            gradient[budget, rows] -= active.sum(1)
            gradient[budget] += active.sum(0)
    scale = k * m * (m - 1)
    return value / scale, gradient / scale


def main() -> None:
    """Print a row per size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 2000, 4000])
    parser.add_argument("--exact-only", type=int, nargs="*", default=[16000, 64000])
    options = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, K = 10")
    for m in sorted({*options.sizes, *options.exact_only}):
        generator = torch.Generator().manual_seed(m)
        accuracy, cost = torch.rand(2, m, generator=generator)
        scores = torch.randn(10, m, generator=generator) * 5
        ranks = dominance_ranks(accuracy, cost, torch.linspace(0.1, 1, 10))
        exact = []
        for _ in range(5):
            started = time.perf_counter()
            value, gradient = ranking_loss_and_gradient(scores, ranks)
            exact.append(time.perf_counter() - started)
        line = f"M {m:6d}  exact {statistics.median(exact) * 1000:8.1f} ms"
        if m in options.sizes:
            started = time.perf_counter()
            twin_value, twin_gradient = brute_force(scores, ranks)
            seconds = time.perf_counter() - started
            difference = (gradient - twin_gradient).abs().max() / twin_gradient.abs().max()
            line += (
                f"  brute force {seconds * 1000:10.1f} ms  ratio "
                f"{seconds / statistics.median(exact):7.1f}  value differs by "
                f"{abs(float(value - twin_value)):.1e}, gradient by {float(difference):.1e}"
            )
        print(line, flush=True)


if __name__ == "__main__":
    main()
