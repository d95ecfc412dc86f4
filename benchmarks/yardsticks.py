"""How much networks' times differ from one measurement to the next, and what yardsticks take out.

    python benchmarks/yardsticks.py --times 9 --busy 1

Twelve networks from the smallest to the largest are timed again and again, as a run times its
front. Between each two of these measurements, how much does a network's time change: in proportion
to the reference network alone, and with five networks of other sizes to compare by? The networks
never change, so each change is an error of measuring. About 16 seconds each time.
"""

from __future__ import annotations

import argparse
import statistics
from contextlib import nullcontext
from itertools import permutations
from pathlib import Path

import numpy as np
import torch
from busy import busy_processes

from pnag.cost.measure import prepare_network
from pnag.cost.runtimes import make_runtime
from pnag.cost.runtimes.machine import cpu_name
from pnag.cost.yardsticks import Times, brought_back, measure_beside_yardsticks, yardsticks
from pnag.families import family
from pnag.files import write_text

RESULTS = Path(__file__).parent / "results"
NETWORKS = 12


def log_times(times: Times) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """(N,) of each network's median."""
    return np.log([statistics.median(of_one) for of_one in times.values()])


def main() -> None:
    """Time them again and again; tell."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--times", type=int, default=9)
    parser.add_argument("--rounds", type=int, default=24)
    parser.add_argument("--busy", type=int, default=0, help="processes that never wait, beside")
    parser.add_argument("--runtime", default="onnxruntime")
    parser.add_argument("--family", default="ofa-mobilenetv3@128,160,192,224", help="of `make run`")
    options = parser.parse_args()
    of, runtime = family(options.family), make_runtime(options.runtime)
    torch.manual_seed(0)
    texts = of.space.text(of.space.sample_stretched(NETWORKS, np.random.default_rng(1)))
    networks = {text: prepare_network(runtime, of, text, 224, 1000) for text in texts}
    reference = prepare_network(runtime, of, of.middling, 224, 1000)
    beside = {text: prepare_network(runtime, of, text, 224, 1000) for text in yardsticks(of)}
    found, known = [], []
    with busy_processes(options.busy) if options.busy else nullcontext():
        for number in range(options.times):
            times, now, drift = measure_beside_yardsticks(
                networks, reference, beside, {}, rounds=options.rounds
            )
            found.append(times)
            known.append(now)
            print(f"{number}: reference {statistics.median(drift.levels):.3f} ms", flush=True)
    pairs = list(permutations(range(options.times), 2))
    alone = [log_times(found[b]) - log_times(found[a]) for a, b in pairs]
    level = [
        log_times(brought_back(found[b], known[b], known[a])) - log_times(found[a])
        for a, b in pairs
    ]
    lines = [f"{cpu_name()}, {options.runtime}, {options.times} measurements of {options.rounds} "
             f"rounds, {options.busy} busy process(es) beside; {of.name}"]  # fmt: skip
    for name, changes in (("the reference alone", alone), ("yardsticks", level)):
        values = np.concatenate(changes)
        lines.append(
            f"{name:20} a network's time changes by {values.std():.2%} (standard deviation), in "
            f"19 of 20 cases by no more than {np.quantile(np.abs(values), 0.95):.2%}; all together "
            f"by {np.mean(changes, axis=1).std():.2%}"
        )
    text = "\n".join(lines) + "\n"
    write_text(RESULTS / f"yardsticks_busy{options.busy}.txt", text)
    print(text)


if __name__ == "__main__":
    main()
