"""All numbers of a run that a person or a script would ask for: `metrics.json`."""

from __future__ import annotations

from typing import Any

import pandas as pd

from pnag.deploy.zoo import KNOWN_NETWORKS
from pnag.files import read_json
from pnag.run.answer_stage import model_name
from pnag.run.margin import margin_of
from pnag.run.published import best_of_all, published_rows
from pnag.run.recipe import Recipe
from pnag.run.run_directory import RunDirectory
from pnag.run.size import Size
from pnag.run.tables import read_table
from pnag.run.timing import steadiness_of_ladder, steadiness_of_proof, steadiness_of_table
from pnag.run.trained import Answer, uncorrected_cost
from pnag.run.tuned_rows import best_tuned, tuned_rows


def collect_metrics(
    run: RunDirectory, recipe: Recipe, size: Size | None, answers: list[Answer]
) -> dict[str, Any]:
    """The metrics of a run whose stages are done.

    Args:
        size: of the networks; None where there is a table only, and nothing was timed.
    """
    table, front, own = (read_table(path) for path in (run.table, run.front, run.own_front))
    proof = read_json(run.proof) if size else None
    judged = read_json(run.judged) if recipe.images else {}
    rows = []
    for a in answers:
        # What the generator's own draws and the sampled table have within the same cost, all by
        # the uncorrected prediction.
        on_front = front["cost"][front["arch"] == a.arch]
        uncorrected = float(on_front.iloc[0]) if len(on_front) else uncorrected_cost(run, a.cost)
        row = a.as_json() | {
            "arch": a.arch,
            "generator_accuracy": _best_within(own, uncorrected),
            "table_accuracy": _best_within(table, uncorrected),
        }
        row |= {f"test_{name}": value for name, value in judged.get(a.arch, {}).items()}
        if size and proof is not None:
            row |= _timed(run, size, a, proof)
        rows.append(row)
    metrics: dict[str, Any] = {
        "source": recipe.source,
        "unit": "ms" if recipe.table is None else recipe.table.cost,
        "table": {
            "architectures": len(table),
            "cost_min": float(table["cost"].min()),
            "cost_max": float(table["cost"].max()),
            "best_accuracy": float(table["accuracy"].max()),
        },
        "ranking_loss": read_json(run.evaluator_curve)["ranking_loss"][-1],
        "front": {"architectures": len(front), "cheapest": float(front["cost"].iloc[0])},
        "margin": margin_of(run, recipe.margin),
        "answers": rows,
    }
    if recipe.source != "imagenet":
        metrics["predictors"] = read_json(run.prediction_errors)
    if proof is not None:
        metrics |= _of_device(run, recipe, proof)
        metrics |= _others(proof["networks"], rows)
        # Those of another run of the directory may lie there.
        if recipe.images and (tuned := tuned_rows(run, proof)):
            metrics["tuned_published"] = tuned
            for row in rows:
                row["best"] = best_tuned(row["budget"], rows, tuned)
    return metrics


def _best_within(table: pd.DataFrame, budget: float) -> float | None:
    within = table["accuracy"][table["cost"] <= budget]
    return float(within.max()) if len(within) else None


def _timed(run: RunDirectory, size: Size, a: Answer, proof: dict[str, Any]) -> dict[str, Any]:
    """What is counted and was timed of an answer's network."""
    name, counts = model_name(a), size.count(a.arch)
    timed = proof["networks"][name]
    return {
        "params": counts.params,
        "macs": counts.macs,
        "measured_ms": timed["milliseconds"],
        "measured_spread": timed["spread"],
        "held": bool(timed["milliseconds"] <= a.budget),
        "onnx": (run.models / proof["files"][name]).relative_to(run.path).as_posix(),
        "onnx_difference": proof["onnx_difference"][name],
    }


def _of_device(run: RunDirectory, recipe: Recipe, proof: dict[str, Any]) -> dict[str, Any]:
    """How the device was measured, and how well."""
    timings = (steadiness_of_table(run), steadiness_of_ladder(run), steadiness_of_proof(run))
    return {
        "weights": proof["weights"],
        "latency": read_json(run.latency_error),
        "device": read_json(run.latency_table)["identity"],
        "proof": {k: proof[k] for k in ("speed", "drift", "remeasured", "unsteady")},
        "busy": [timing.warning for timing in timings if timing.warning],
    }


def _others(timed: dict[str, Any], answers: list[dict[str, Any]]) -> dict[str, Any]:
    """The networks that were timed beside the answers; each answer gets what is best of all.

    Args:
        timed: what the proof holds of each network, by the name that it was timed under.
    """
    known: list[dict[str, Any]] = [
        {
            "name": network.name,
            "top1": network.top1,
            "source": network.source,
            "measured_ms": timed[network.name]["milliseconds"],
            "measured_spread": timed[network.name]["spread"],
        }
        for network in KNOWN_NETWORKS
        if network.name in timed
    ]
    published = published_rows(timed)
    for row in known + published:
        row["beaten_by"] = _beaten_by(row, answers)
    for row in answers if known else ():
        row["best"] = best_of_all(row["budget"], answers, known, published)
    return {"known": known, "published": published}


def _beaten_by(known: dict[str, Any], answers: list[dict[str, Any]]) -> str | None:
    """The answer that is both faster and more accurate, if there is one; the fastest such."""
    better = [
        a
        for a in answers
        if a["measured_ms"] < known["measured_ms"] and a["accuracy"] > known["top1"]
    ]
    return min(better, key=lambda a: a["measured_ms"])["arch"] if better else None
