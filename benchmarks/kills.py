"""Ten SIGKILLs or more over a whole `pnag run --images digits`: does it end as one left alone?

    python benchmarks/kills.py --out /tmp/kills

The first run is left alone. The second is killed at random moments until it has come to its end,
each time started again with the same command. Both work with the first one's latency table, for
times that are measured twice are never the same; the correction by a timed ladder of networks, too,
is a measurement, so what is compared is all that comes before it (weights, table, front) and the
fine-tuned weights of every architecture that both have answered with.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import torch
import yaml
from safetensors.torch import load_file

from pnag.files import file_fingerprint, read_json, write_text

RESULTS = Path(__file__).parent / "results"
KILLS = 10  # at least
MOST_KILLS = 30  # then it may end
QUICK = {
    "latency": {"rounds": 3, "calibration": 8, "check": 6},
    "evaluator": {"steps": 20},
    "generator": {"iterations": 100, "samples": 16, "refine_steps": 2},
    "front": {"budgets": 16, "draws": 16, "rounds": 8, "children": 256},
    "supernet": {"fit": {"batch_size": 32, "learning_rate": 0.1}},
    "finetune": {"fit": {"batch_size": 32, "learning_rate": 0.05}},
}
SUPERNET = "supernet.safetensors"
SAME = (
    "table.parquet",
    "accuracy.safetensors",
    "logs/pretrained_evaluator.safetensors",
    "evaluator.safetensors",
    "generator.safetensors",
    "front.parquet",
)


def main() -> None:
    """Run twice, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="an empty folder")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    options.out.mkdir(parents=True)
    recipe = options.out / "quick.yaml"
    recipe.write_text(yaml.safe_dump(QUICK))
    alone, killed = options.out / "alone", options.out / "killed"

    def start(out: Path) -> subprocess.Popen[bytes]:
        words = f"--images digits --out {out} --recipe {recipe} --width-mult 0.25 --epochs 12 "
        words += "--architectures 120 --rounds 2 --per-round 20 --finetune-epochs 4"
        log = (options.out / f"{out.name}.log").open("ab")
        return subprocess.Popen(
            [sys.executable, "-m", "pnag", "run", *words.split()], stdout=log, stderr=log
        )

    started = time.monotonic()
    if start(alone).wait():
        raise SystemExit(f"the first run failed: {options.out / 'alone.log'}")
    seconds = time.monotonic() - started
    (killed / "cost").mkdir(parents=True)
    shutil.copy(alone / "cost" / "latency_table.json", killed / "cost" / "latency_table.json")

    rng = random.Random(options.seed)
    lines = [f"left alone: {seconds:.0f} s"]
    number = 0
    while True:
        # A tenth of the whole, on average, of which each life spends some on starting up.
        life = rng.uniform(0.04, 0.16) * seconds if number < MOST_KILLS else None
        process = start(killed)
        try:
            code = process.wait(timeout=life)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            number += 1
            stages = sorted(p.name for p in killed.iterdir())
            lines.append(f"kill {number:2d} after {life:5.1f} s; there are: {', '.join(stages)}")
            print(lines[-1], flush=True)
            continue
        if code:
            raise SystemExit(f"a resumed run failed: {options.out / 'killed.log'}")
        break
    differing, tuned = compare(alone, killed)
    lines.append(
        f"{number} kills; compared bit by bit: {', '.join(SAME)}, all weights of the supernet and "
        f"of {tuned} fine-tuned networks; differing: {', '.join(differing) or 'none'}"
    )
    text = "\n".join(lines) + "\n"
    print(text)
    write_text(RESULTS / "kills.txt", text)
    if differing or number < KILLS:
        raise SystemExit(1)


def compare(alone: Path, killed: Path) -> tuple[list[str], int]:
    """What differs, and how many fine-tuned networks both have of the same architecture.

    Of the supernet and those the weights, for their files also tell the minutes of the plan, which
    were timed.
    """
    differing = [
        name for name in SAME if file_fingerprint(alone / name) != file_fingerprint(killed / name)
    ]
    if not same_weights(alone / SUPERNET, killed / SUPERNET):
        differing.append(SUPERNET)
    mine, others = (
        {answer["arch"]: run / "models" / f"pnag-{answer['budget']:g}ms.safetensors"
         for answer in read_json(run / "architectures.json")}
        for run in (alone, killed)
    )  # fmt: skip
    both = sorted(mine.keys() & others.keys())
    differing += [mine[arch].name for arch in both if not same_weights(mine[arch], others[arch])]
    return differing, len(both)


def same_weights(one: Path, other: Path) -> bool:
    """Whether two files hold the same tensors."""
    first, second = load_file(one), load_file(other)
    return first.keys() == second.keys() and all(
        torch.equal(value, second[name]) for name, value in first.items()
    )


if __name__ == "__main__":
    main()
