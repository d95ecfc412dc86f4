"""The exact ranking loss against the brute force over all pairs, side by side in one run.

    python benchmarks/ranking_loss.py

The brute force takes its K budgets one after the other, so for large M one of them is timed and
multiplied by K. Both are timed in turns; of the exact loss the median of several turns counts.
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from torch import Tensor

from pnag.cost.runtimes.machine import cpu_name
from pnag.files import write_text
from pnag.search import active_pairs_gpu
from pnag.search.dominance import dominance_ranks
from pnag.search.ranking_loss import ranking_loss_and_gradient

RESULTS = Path(__file__).parent / "results"
K = 10
ONE_BUDGET = 16_000  # from this M on the brute force is timed on one budget


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


def median_seconds(work: object, turns: int) -> float:
    """Of `turns` calls after one that warms up."""
    taken = []
    for turn in range(turns + 1):
        started = time.perf_counter()
        work()  # type: ignore[operator]
        if turn:
            taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def figure(rows: list[tuple[int, float, float, float]]) -> str:
    """Seconds over M on logarithmic axes, as SVG."""
    drawing, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    sizes = [row[0] for row in rows]
    for index, name in ((3, "brute force, all pairs"), (2, "wavelet matrix (GPU code, on CPU)"),
                        (1, "compiled sweep")):  # fmt: skip
        axes.loglog(sizes, [row[index] for row in rows], "o-", label=name)
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.minorticks_off()
    axes.set_xlabel("architectures M (K = 10 budgets)")
    axes.set_ylabel("seconds for value and gradient")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    buffer = io.StringIO()
    drawing.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def main() -> None:
    """Print and write a row per size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 4000, 16000, 64000])
    options = parser.parse_args()
    lines = [f"{cpu_name()}, {torch.get_num_threads()} threads, torch {torch.__version__}, K = {K}"]
    print(lines[0], flush=True)
    rows = []
    for m in options.sizes:
        generator = torch.Generator().manual_seed(m)
        accuracy, cost = torch.rand(2, m, generator=generator)
        scores = torch.randn(K, m, generator=generator) * 5
        ranks = dominance_ranks(accuracy, cost, torch.linspace(0.1, 1, K))
        sweep = median_seconds(lambda: ranking_loss_and_gradient(scores, ranks), 9)  # noqa: B023
        wavelet = median_seconds(
            lambda: active_pairs_gpu.active_pairs(scores.double(), ranks),  # noqa: B023
            5,
        )
        part = K if m < ONE_BUDGET else 1
        started = time.perf_counter()
        twin_value, twin_gradient = brute_force(scores[:part], ranks[:part])
        brute = (time.perf_counter() - started) * K / part
        value, gradient = ranking_loss_and_gradient(scores[:part], ranks[:part])
        difference = (gradient - twin_gradient).abs().max() / twin_gradient.abs().max()
        rows.append((m, sweep, wavelet, brute))
        lines.append(
            f"M {m:6d}  sweep {sweep * 1000:8.2f} ms  wavelet {wavelet * 1000:8.1f} ms  brute "
            f"force {brute * 1000:10.0f} ms{' (1 budget x 10)' if part == 1 else '':17}  ratio "
            f"{brute / sweep:7.0f}  value differs by {abs(float(value - twin_value)):.1e}, "
            f"gradient by {float(difference):.1e}"
        )
        print(lines[-1], flush=True)
    write_text(RESULTS / "ranking_loss.txt", "\n".join(lines) + "\n")
    write_text(RESULTS / "ranking_loss.svg", figure(rows))


if __name__ == "__main__":
    main()
