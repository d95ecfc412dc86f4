"""Published networks that were fine-tuned beside a run's answers, as `metrics.json` has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pnag.deploy.zoo import find
from pnag.files import read_json
from pnag.run.run_directory import RunDirectory

Row = dict[str, Any]


def judged_before(run: RunDirectory) -> Row:
    """What is known about the networks that were tuned, by name."""
    return read_json(run.published_judged) if run.published_judged.exists() else {}


def tuned_rows(run: RunDirectory, proof: Mapping[str, Any]) -> list[Row]:
    """The networks for `metrics.json`, by growing latency; none where none was tuned.

    Args:
        proof: that has timed them under their names.
    """
    rows = []
    for name, judged in judged_before(run).items():
        network, timed = find(judged["key"]), proof["networks"][name]
        training = network.training
        rows.append(
            {
                "name": name,
                "network": network.name,
                "published_top1": network.top1,
                "source": network.source,
                "beyond": training.beyond if training else "",
                "licence": training.licence if training else "",
            }
            | {field: judged[field] for field in ("budgets", "resolution", "epochs", "params")}
            | {f"test_{field}": judged[field] for field in ("top1", "top5", "images")}
            | {
                "measured_ms": timed["milliseconds"],
                "measured_spread": timed["spread"],
                "onnx": str((run.models / proof["files"][name]).relative_to(run.path)),
                "onnx_difference": proof["onnx_difference"][name],
            }
        )
    return sorted(rows, key=lambda row: float(row["measured_ms"]))


def best_tuned(budget: float, answers: Sequence[Row], tuned: Sequence[Row]) -> Row:
    """The most accurate fine-tuned network that held a budget, ours or published.

    An empty row if none held it.

    Args:
        answers, tuned: as `metrics.json` has them.
    """
    kept = ("test_top1", "measured_ms", "measured_spread", "onnx")
    ours = [
        {"name": f"ours for {a['budget']:g} ms", "beyond": "", "ours": True}
        | {field: a[field] for field in kept}
        for a in answers
    ]
    published = [
        {"name": row["name"], "beyond": row["beyond"], "ours": False}
        | {field: row[field] for field in kept}
        for row in tuned
    ]
    held = [row for row in ours + published if row["measured_ms"] <= budget]
    return max(held, key=lambda row: (float(row["test_top1"]), bool(row["ours"])), default={})
