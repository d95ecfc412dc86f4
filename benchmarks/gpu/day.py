"""All measurements on one GPU, each part written as soon as it is done; see scripts/gpu_day.sh.

A part that fails is printed with its traceback, and the others still run; the exit status says so.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))

import latency
import step
import torch
import whole_run
from common import Options, Rows, device_name

import judging
import search

RESULTS = Path(__file__).parents[1] / "results"
ROOT = Path(__file__).parents[2]


def cuda_tests(options: Options) -> Rows:
    """The tests of tests/gpu, in a process of their own."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-rfE",
        "-n",
        "4",
        "--durations=6",
        "--tb=short",
        "-p",
        "no:cacheprovider",
        "tests/gpu",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    print(done.stdout[-6000:], done.stderr[-2000:], flush=True)
    if done.returncode:
        raise RuntimeError(f"pytest ended with {done.returncode}")
    return {"tests": done.stdout.strip().splitlines()[-1]}


PARTS: dict[str, Callable[[Options], Rows]] = {
    "tests": cuda_tests,
    "step": step.measure,
    "judging": judging.measure,
    "latency": latency.measure,
    "search": search.measure,
    "whole-run": whole_run.measure,
}


def main() -> int:
    """Run the parts, print one table; 1 if a part failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("--images", help="folder to train on, such as CIFAR-10; else digits")
    parser.add_argument("--minutes", type=float, default=2.0, help="of the run on own images")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--tiny", action="store_true", help="smallest sizes, for a CPU")
    given = parser.parse_args()
    names = given.parts.split(",")
    if unknown := [name for name in names if name not in PARTS]:
        parser.error(f"there is no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    cuda = torch.cuda.is_available()
    if not cuda and not given.tiny:
        parser.error("torch finds no GPU; --tiny runs on a CPU")
    device = torch.device("cuda" if cuda else "cpu")
    options = Options(device, given.tiny, given.images, given.minutes)
    given.out.mkdir(parents=True, exist_ok=True)
    where = {"device": device_name(device), "torch": torch.__version__, "python": sys.version[:6]}
    print(where, flush=True)
    lines, failed = [], False
    for name in names:
        print(f"--- {name}", flush=True)
        started = time.perf_counter()
        try:
            rows = PARTS[name](options)
        except Exception:
            failed = True
            traceback.print_exc()
            rows = {"failed": traceback.format_exc().strip().splitlines()[-1][:300]}
        seconds = round(time.perf_counter() - started, 1)
        lines += [(name, what, value) for what, value in (rows | {"seconds": seconds}).items()]
        if "failed" not in rows:
            text = json.dumps(where | {"tiny": given.tiny, "seconds": seconds} | rows, indent=1)
            file = given.out / f"gpu_{name.replace('-', '_')}.json"
            file.write_text(text + "\n", encoding="utf-8")
    wide = max(len(what) for _, what, _ in lines)
    for name, what, value in lines:
        shown = f"{value:.4g}" if isinstance(value, float) else value
        print(f"{name:10s}  {what:{wide}s}  {shown}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
