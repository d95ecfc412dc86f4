"""What it is worth that architectures choose their resolution: the Note 10's tables as truth.

    python benchmarks/elastic_resolution.py

The published accuracy predictor takes the resolution, and there is a published latency table of the
Samsung Note 10 for each of 160, 176, 192, 208 and 224 pixels (width 1.2). For each budget: the best
accuracy that a strong search finds with all of them to choose from, and at 224 alone; and what one
search as `pnag run` does it answers from 16,000 uniformly sampled rows of either, judged by the
truth. Each part is kept in `results/elastic_resolution.json`, so a stopped run goes on.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path
from typing import Any

import numpy as np
from note10 import FACTS, WIDTH_MULT, Note10
from rich.console import Console
from rich.table import Table
from search_note10 import machine, problem_of, settings_of_a_run

from pnag.cost.operators import Operators, read_operators
from pnag.cost.published_table import NOTE10
from pnag.families import Family
from pnag.families.ofa_mobilenetv3 import ofa
from pnag.files import read_json, write_json, write_text
from pnag.search.front import Front, FrontSettings, improve
from pnag.search.methods import silent
from pnag.search.pnag import NoStore, train_and_search

RESULTS = Path(__file__).parent / "results"
RESOLUTIONS = (160, 176, 192, 208, 224)
BUDGETS = (15.0, 18.0, 21.0, 25.0, 30.0)
ROWS = 16_000


class ElasticNote10(Note10):
    """The truth of architectures that choose among some resolutions.

    Args:
        resolutions: of `RESOLUTIONS`.
    """

    def __init__(self, resolutions: tuple[int, ...]) -> None:
        super().__init__()
        family: Family = ofa(WIDTH_MULT).with_resolutions(resolutions)
        self.space = family.space
        folder = FACTS / "note10_latency_ms"
        times: dict[str, Any] = {}
        for pixels in resolutions:
            times |= read_operators(folder / f"{pixels}_lookup_table.yaml").times
        self.latency_model = Operators(times).model(folder, NOTE10, family, resolutions[-1], 1000)


def best(truth: ElasticNote10) -> Front:
    """What a search by the truth itself finds."""
    rng = np.random.default_rng(0)
    start = [truth.space.sample(20_000, rng), truth.space.sample_stretched(20_000, rng)]
    settings = FrontSettings(rounds=200, children=8000, bins=800)
    return improve(
        truth.space, np.concatenate(start), lambda t: (truth.accuracy(t), truth.latency(t)),
        (12.0, 40.0), settings, seed=0,
    )  # fmt: skip


def searched(truth: ElasticNote10) -> Front:
    """What a run's search answers from a table of uniformly sampled rows."""
    tokens = truth.space.sample_unique(ROWS, np.random.default_rng(0))
    problem = problem_of(truth, tokens, truth.accuracy(tokens), truth.latency(tokens), 0)
    settings = settings_of_a_run()
    store = NoStore(settings, silent)
    _, found = train_and_search(
        problem.tokens, problem.accuracy, problem.cost, problem.labels, settings, store, 0
    )
    return found.front


def answers(truth: ElasticNote10, front: Front) -> list[dict[str, Any]]:
    """For each budget the front's answer with its true accuracy and latency."""
    rows = []
    for budget in BUDGETS:
        index = front.best(budget)
        if index is None:
            rows.append({"budget": budget, "cheapest": float(front.cost[0])})
            continue
        tokens = front.tokens[index : index + 1]
        rows.append(
            {
                "budget": budget,
                "arch": truth.space.text(tokens)[0],
                "accuracy": float(truth.accuracy(tokens)[0]),
                "latency": float(truth.latency(tokens)[0]),
            }
        )
    return rows


def report(results: dict[str, Any]) -> str:
    """A row for each way to search, a column for each budget."""
    console = Console(width=120, file=io.StringIO())
    console.print(results["machine"])
    table = Table(title="true top-1 in % (true latency in ms, resolution)", title_justify="left")
    for name in ("search", *(f"{budget:g} ms" for budget in BUDGETS)):
        table.add_column(name)
    for name, rows in results["ways"].items():
        cells = [
            f"{100 * row['accuracy']:.2f} ({row['latency']:.1f}, {row['arch'].rpartition('@')[2]})"
            if "arch" in row
            else f"none: from {row['cheapest']:.1f} ms"
            for row in rows
        ]
        table.add_row(name, *cells)
    console.print(table)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def main() -> None:
    """Run what is missing, write and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.parse_args()
    file = RESULTS / "elastic_resolution.json"
    results: dict[str, Any] = read_json(file) if file.exists() else {"ways": {}}
    results["machine"] = machine()
    for resolutions, name in ((RESOLUTIONS, "160 to 224"), (RESOLUTIONS[-1:], "224 alone")):
        truth = ElasticNote10(resolutions)
        for way, search in (("best known", best), ("as pnag run", searched)):
            key = f"{way}, {name}"
            if key not in results["ways"]:
                results["ways"][key] = answers(truth, search(truth))
                write_json(file, results)
    text = report(results)
    write_text(file.with_suffix(".txt"), text)
    print(text)


if __name__ == "__main__":
    main()
