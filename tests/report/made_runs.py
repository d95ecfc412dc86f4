"""Run directories as a finished `pnag run` leaves them, made in a moment from made-up numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

import pnag
from pnag.deploy.zoo import KNOWN_NETWORKS
from pnag.families.registry import of_width
from pnag.files import write_json, write_text
from pnag.run.answer_stage import model_name, spread_budgets
from pnag.run.margin import answer_with_margin, margin_of
from pnag.run.metrics import collect_metrics
from pnag.run.recipe import make_recipe, save_recipe
from pnag.run.run_directory import RunDirectory
from pnag.run.size import Size
from pnag.run.tables import write_table
from pnag.run.trained import Answer, load_calibrated_front
from pnag.search.front import Front, FrontSettings, improve, pareto_front
from pnag.search.sources import SOURCES
from pnag.space.choices import space_of_rows

SPACE = pnag.SearchSpace()
TODAYS = {"lcnet_100": 4, "levit_128s": 7, "hgnetv2_b0": 9, "levit_256": 40}  # key: ms
DEVICE = {"device": "A <processor> & more", "runtime": "onnxruntime", "version": "1.20.0",
          "threads": 1, "rounds": 3}  # fmt: skip


def make_run(
    path: Path,
    source: str,
    *,
    scale: float = 1.0,
    steps: int = 12,
    unsteady: int = 0,
    further: bool = False,
) -> dict[str, Any]:
    """Fill `path` with a finished run whose device needs `scale` times the usual time.

    Args:
        unsteady: disturbed turns of all that was timed; the machine's speed then moved by 31 %.
        further: whether it has two further costs, `params` and `joules`.

    Returns:
        Its metrics.
    """
    run, rng = RunDirectory(path), np.random.default_rng(0)
    size = Size(64, of_width(0.5), 10) if source == "images" else Size()

    def label(tokens: Any) -> tuple[Any, Any]:
        macs = size.count_batch(tokens).macs
        cost = scale * (2 + macs / 4e7) if size.resolution == 224 else scale * (0.3 + macs / 2e7)
        quality = (SPACE.features(tokens) @ np.linspace(0, 1, SPACE.num_features)) / 40
        return 0.78 - 0.2 * np.exp(-cost / cost.mean() - quality), cost

    tokens = SPACE.sample_unique(400, rng)
    accuracy, cost = label(tokens)
    frame = pd.DataFrame({"arch": SPACE.text(tokens), "accuracy": accuracy, "cost": cost})
    write_table(frame, run.table)
    settings = FrontSettings(rounds=steps, children=512, bins=64)
    front = improve(SPACE, tokens, label, (cost.min(), cost.max()), settings)
    own = pareto_front(tokens, accuracy, cost)
    rows = {"arch": SPACE.text(front.tokens), "accuracy": front.accuracy, "cost": front.cost}
    rows["from"] = np.array(SOURCES)[np.arange(len(front.tokens)) % len(SOURCES)]
    write_table(pd.DataFrame(rows), run.front)
    write_table(pd.DataFrame({"accuracy": own.accuracy, "cost": own.cost}), run.own_front)
    falling = np.exp(-np.arange(250) / 40)
    write_json(run.evaluator_curve, {"ranking_loss": (0.1 + falling).tolist()})
    rising: list[float | None] = [None, *(0.75 - 0.1 * falling).tolist()]
    write_json(run.generator_curve, {"accuracy_within_budget": rising})

    if further:
        _answered_vectors(run, tokens, accuracy, cost)
    if source != "table":
        _checked(run, front, unsteady)
    margin = margin_of(run, None)
    answers = [
        answer_with_margin(load_calibrated_front(run, SPACE), SPACE, budget, margin)
        for budget in spread_budgets(front)
    ]
    values: dict[str, Any] = {"source": source}
    if source == "table":
        values["table"] = {"path": "t.csv", "accuracy": "top1", "cost": "energy (mJ)"}
    if source == "images":
        values["images"] = {"source": "digits"}
    recipe = make_recipe(values)
    save_recipe(recipe, run.recipe)
    if source != "imagenet":
        told = {"rows": 400, "mean_error": 0.00123, "deviation": 0.02, "tau": 0.91, "rough": False}
        names = ("accuracy", "cost") if source == "table" else ("accuracy",)
        write_json(run.prediction_errors, dict.fromkeys(names, told))
    if source != "table":
        _timed(run, size, answers, known=source == "imagenet", scale=scale, unsteady=unsteady)
    if source == "images":
        _trained(run, answers)
    metrics = collect_metrics(run, recipe, None if source == "table" else size, answers)
    write_json(run.metrics, metrics)
    return metrics


CHOICES = ("layers", "act", "second <width>")


def make_run_of_choices(path: Path) -> dict[str, Any]:
    """Fill `path` with a finished run on a table's own choices, of two costs.

    Returns:
        Its metrics.
    """
    run, rng = RunDirectory(path), np.random.default_rng(0)
    rows: list[dict[str, Any]] = [
        dict(zip(CHOICES, (layers, act, second), strict=True))
        for layers in (1, 2, 3)
        for act in ("gelu", "relu", "<swish>")
        for second in ((8, 16, 48) if layers > 1 else (None,))
    ]
    space = space_of_rows(rows, CHOICES)
    tokens = space.encode(rows)
    cost = np.array([10.0 * r["layers"] + (r[CHOICES[2]] or 0) / 4 for r in rows])
    accuracy = 0.5 + np.log(cost) / 20 + rng.random(len(rows)) / 100
    frame = pd.DataFrame({"arch": space.text(tokens), "accuracy": accuracy, "cost": cost})
    write_table(frame, run.table)
    write_json(run.choices, space.as_json())
    front = pareto_front(tokens, accuracy, cost)
    columns = {"arch": space.text(front.tokens), "accuracy": front.accuracy, "cost": front.cost}
    write_table(pd.DataFrame(columns | {"from": SOURCES[1]}), run.front)
    write_table(pd.DataFrame(columns), run.own_front)
    write_json(run.further_costs, {"joules": "cost-1.pt"})
    write_table(frame.assign(joules=50 - cost, **{"from": SOURCES[0]}), run.vector_front)
    write_json(run.evaluator_curve, {"ranking_loss": [0.5, 0.2]})
    write_json(run.generator_curve, {"accuracy_within_budget": [None, 0.6]})
    told = {"rows": 50, "mean_error": 0.00123, "deviation": 0.02, "tau": 0.91, "rough": False}
    write_json(run.prediction_errors, {"accuracy": told, "cost": told})
    columns_of = {"path": "t.csv", "accuracy": "score", "cost": "watts", "choices": CHOICES}
    recipe = make_recipe({"source": "table", "table": columns_of | {"further_costs": ["joules"]}})
    save_recipe(recipe, run.recipe)
    own = load_calibrated_front(run, space)
    answers = [answer_with_margin(own, space, budget, 0.0) for budget in spread_budgets(front)]
    metrics = collect_metrics(run, recipe, None, answers)
    write_json(run.metrics, metrics)
    return metrics


def _answered_vectors(run: RunDirectory, tokens: Any, accuracy: Any, cost: Any) -> None:
    """What a run of three costs leaves of them, but for the predictors."""
    write_json(run.further_costs, {"params": "cost-1.pt", "joules": "cost-2.pt"})
    columns = {
        "arch": SPACE.text(tokens),
        "accuracy": accuracy,
        "cost": cost,
        "params": Size().count_batch(tokens).params,
        "joules": 9 - 0.2 * cost + (tokens == 1).sum(1) / 10,
        "from": np.array(SOURCES)[np.arange(len(tokens)) % len(SOURCES)],
    }
    write_table(pd.DataFrame(columns), run.vector_front)


def _checked(run: RunDirectory, front: Front, unsteady: int) -> None:
    """What the check networks say of the latency model."""
    speed = 0.31 if unsteady else 0.02
    costs = np.linspace(front.cost[0], front.cost[-1], 50)
    error = {"networks": 50, "mape": 0.012, "within_5": 0.98, "within_10": 1.0, "tau": 0.97,
             "measured_ms": (costs * (1 + 0.02 * np.sin(np.arange(50)))).tolist(),
             "predicted_ms": costs.tolist(),
             "measured_spread": [0.01] * 50,
             "drift": {"spread": speed, "levels": 99, "remeasured": 3, "unsteady": unsteady}
             }  # fmt: skip
    write_json(run.latency_error, error)
    write_json(run.latency_model, {})  # by which a run is known that measured


def _timed(
    run: RunDirectory,
    size: Size,
    answers: list[Answer],
    *,
    known: bool,
    scale: float,
    unsteady: int,
) -> None:
    speed = 0.31 if unsteady else 0.02
    write_json(run.latency_table, {"identity": DEVICE | size.identity()})
    times = {model_name(a): 0.99 * a.cost for a in answers}
    times[model_name(answers[0])] = 1.05 * answers[0].budget  # one that does not hold
    if known:
        speeds = (13, 19, 10.5, 22, 27)
        times |= {n.name: scale * ms for n, ms in zip(KNOWN_NETWORKS, speeds, strict=True)}
        times |= {key: scale * ms for key, ms in TODAYS.items()}
    proof = {"networks": {name: {"milliseconds": ms, "spread": 0.01} for name, ms in times.items()},
             "onnx_difference": {model_name(a): 1e-6 for a in answers},
             "files": {model_name(a): f"{model_name(a)}.onnx" for a in answers},
             "weights": "published" if known else "fine-tuned",
             "speed": 1.01, "drift": speed, "remeasured": 0, "unsteady": unsteady}  # fmt: skip
    write_json(run.proof, proof)


def _trained(run: RunDirectory, answers: list[Answer]) -> None:
    judged = {a.arch: {"top1": a.accuracy + 0.01, "top5": 0.99, "images": 2000} for a in answers}
    write_json(run.judged, judged)
    rows = []
    for step in range(1, 61):
        row: dict[str, Any] = {"step": step * 10, "phase": f"phase {step // 20}", "loss": 2 / step}
        if step % 5 == 0:
            row |= {"smallest": 0.5 + step / 300, "random": 0.55 + step / 300,
                    "largest": 0.6 + step / 300}  # fmt: skip
        rows.append(row)
    write_json(run.supernet_curve, {"identity": {}, "rows": rows})


def unfinished_run(path: Path) -> None:
    """A directory as a run leaves it that was stopped early."""
    path.mkdir()
    write_text(path / "recipe.yaml", yaml.safe_dump({"source": "imagenet", "resolutions": [224]}))
