"""Is a supernet of one's own, trained on other images, a better start than fresh weights?

    python benchmarks/own_start.py --first .../tiny-imagenet-100 --images .../cifar10 --out DIR

A supernet is trained from fresh weights on the first images. Two runs on the others, with the same
budgets, seed and minutes, then start from it and from fresh weights. Each part is kept as soon as
it is finished, so a stopped benchmark goes on. Nothing else should run.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from transfer import subset

from pnag.cost.runtimes.machine import cpu_name
from pnag.files import read_json, write_json, write_text

RESULTS = Path(__file__).parent / "results"
RESOLUTION = 32  # CIFAR-10's own


def answers(images: Path, start: str, budgets: str, minutes: float, out: Path) -> Any:
    """Of one `pnag run`."""
    command = [
        sys.executable, "-m", "pnag", "run", "--images", str(images), "--start", start,
        "--budgets", budgets, "--resolution", str(RESOLUTION), "--minutes", str(minutes),
        "--out", str(out), "--json",
    ]  # fmt: skip
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)["answers"]


def report(results: dict[str, Any]) -> str:
    """A row a budget; latencies are those of the answers, timed at the end of each run."""
    console = Console(width=120, file=io.StringIO())
    console.print(results["about"])
    table = Table()
    for name in ("budget, ms", "scratch, ms", "top-1", "own start, ms", "top-1", "difference"):
        table.add_column(name, justify="right")
    for fresh, started in zip(results["scratch"], results["own"], strict=True):
        assert fresh["budget"] == started["budget"]
        table.add_row(
            f"{fresh['budget']:g}",
            *(text for of in (fresh, started)
              for text in (f"{of['measured_ms']:.3f}", f"{100 * of['test_top1']:.2f}")),
            f"{100 * (started['test_top1'] - fresh['test_top1']):+.2f}",
        )  # fmt: skip
    console.print(table)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def main() -> None:
    """Run what is missing, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first", type=Path, required=True, help="images to train a start on")
    parser.add_argument("--images", type=Path, required=True, help="folder of Parquet files")
    parser.add_argument("--a-class", type=int, default=500, help="images of each class of those")
    parser.add_argument("--first-minutes", type=float, default=20)
    parser.add_argument("--minutes", type=float, default=10, help="of each run that is compared")
    parser.add_argument("--budgets", default="0.12,0.16,0.2", help="in ms")
    parser.add_argument("--out", type=Path, required=True, help="folder for all files")
    parser.add_argument("--name", help="of the files in results/ that the table goes to")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    file, first = options.out / "own_start.json", options.out / "first"
    results: dict[str, Any] = read_json(file) if file.exists() else {}
    results["about"] = (
        f"{cpu_name()}, {torch.get_num_threads()} thread(s), torch {torch.__version__}; "
        f"{options.minutes:g} minutes on {options.images.name}, {options.a_class} images a class; "
        f"the start: {options.first_minutes:g}-minute run's supernet on {options.first.name}"
    )
    # With the budgets, for the supernet to be as large as they allow.
    subprocess.run(
        [sys.executable, "-m", "pnag", "train", "--images", str(options.first), "--start",
         "scratch", "--budgets", options.budgets, "--resolution", str(RESOLUTION),
         "--minutes", str(options.first_minutes), "--out", str(first)],
        check=True,
    )  # fmt: skip
    images = subset(options.images, options.a_class, options.out / "images")
    for name, start in (("scratch", "scratch"), ("own", str(first))):
        if name not in results:
            results[name] = answers(
                images, start, options.budgets, options.minutes, options.out / name
            )
            write_json(file, results)
    text = report(results)
    print(text)
    if options.name:
        write_text(RESULTS / f"own_start_{options.name}.txt", text)
        write_json(RESULTS / f"own_start_{options.name}.json", results)


if __name__ == "__main__":
    main()
