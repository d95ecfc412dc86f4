"""`report.html`: one self-contained page of a run, on which a budget can be moved."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from html import escape
from typing import Any

import pandas as pd

from pnag.families import Family
from pnag.families.registry import family_of
from pnag.report.best_of_all import best_of_all_sections, margin_text, published_data
from pnag.report.cells import (
    accuracy_axis,
    answer_cells,
    answer_header,
    is_percent,
    measured_cell,
    table_name,
    what_accuracy_means,
)
from pnag.report.drawing import drawing, drawings, legend
from pnag.report.markup import asset, page, section, table
from pnag.report.results import Results
from pnag.report.series import curve, short
from pnag.report.tuned_published import tuned_sections

FOUND_BY = (
    "Found by: the table, whose architectures were known before the search; f, the generator, "
    "which draws architectures for a budget; or a local search, which changes a few choices."
)
CLOUD = 2000  # points of the table that are drawn
TIMED = ("name", "measured_ms", "measured_spread")  # of a network that was timed
ANSWER = (
    "budget", "arch", "accuracy", "cost", "measured_ms", "measured_spread", "test_top1", "params",
    "macs", "from",
)  # fmt: skip


def write_report(results: Results) -> str:
    """The page of a run directory, as HTML."""
    path, metrics = results.path.resolve(), results.metrics
    return page(
        "page.html",
        "page.js",
        _data(results),
        title=f"pnag: {escape(path.name)}",
        about=about(metrics),
        busy=unsure_times(metrics.get("busy", [])),
        unit=escape(metrics["unit"]),
        cost_name=cost_name_of(metrics),
        thing="network" if results.family else "choice",
        meaning=_meaning(results),
        found_by=FOUND_BY,
        further=_further(results),
        answers=_answers(metrics),
        architectures=asset("architectures.html") if results.family else "",
        known=best_of_all_sections(metrics)
        + tuned_sections(metrics)
        + (_known(metrics) if metrics.get("known") else ""),
        latency=_latency(metrics) if "latency" in metrics else "",
        supernet=_supernet() if metrics["source"] == "images" else "",
        path=escape(shlex.quote(str(path))),  # read from anywhere
    )


def cost_name_of(metrics: dict[str, Any]) -> str:
    """What the budget is of."""
    return "latency" if metrics["source"] != "table" else "cost"


def about(metrics: dict[str, Any]) -> str:
    """Where a run's numbers come from, as HTML."""
    if "device" not in metrics:
        return (
            f"From a table of {metrics['table']['architectures']:,} architectures; cost is "
            f"<b>{escape(metrics['unit'])}</b>."
        )
    d = metrics["device"]
    threads = "1 thread" if d["threads"] == 1 else f"{d['threads']} threads"
    return (
        f"Networks for <b>{escape(d['device'])}</b>: {escape(d['runtime'])} "
        f"{escape(d['version'])}, {threads}, batch {d.get('batch', 1)}, {_pixels(d)}."
    )


def _pixels(device: dict[str, Any]) -> str:
    """The size of the images; where architectures choose it, all sizes."""
    sizes = family_of(device).space.resolutions or (device["resolution"],)
    return f"{', '.join(f'{size}×{size}' for size in sizes)} pixels"


def unsure_times(warnings: list[str]) -> str:
    """Warnings about times that were taken on a busy machine, as HTML; empty texts are skipped."""
    return "".join(f"<p class='note'>{escape(text)}</p>" for text in warnings if text)


def size_options(device: dict[str, Any]) -> str:
    """What `pnag export` needs besides the architecture to make fresh networks for a device."""
    defaults: dict[str, Any] = {
        "family": "", "width_mult": 1.0, "resolution": 224, "num_classes": 1000
    }  # fmt: skip
    return " ".join(
        f"--{name.replace('_', '-')} {shlex.quote(str(device[name]).removesuffix('.0'))}"
        for name, default in defaults.items()
        if device.get(name, default) != default
    )


def front_columns(front: pd.DataFrame, family: Family | None) -> dict[str, list[Any]]:
    """The front for the page's script; costs in full, so that it answers as `pnag generate`.

    Rows of choices, which have no family, are `arch` as JSON, and have no counts and no drawing.
    """
    columns: dict[str, list[Any]] = {
        "arch": front["arch"].tolist(),
        "accuracy": front["accuracy"].round(6).tolist(),
        "cost": front["cost"].tolist(),
    }
    if family:
        columns |= {name: front[name].tolist() for name in ("params", "macs")}
        columns["drawing"] = drawings(family, front["arch"])
    # Files of other methods do not say it.
    return columns | ({"from": front["from"].tolist()} if "from" in front else {})


def _data(results: Results) -> dict[str, Any]:
    """Everything that the page's script shows."""
    metrics, family = results.metrics, results.family
    cloud = results.sampled.sample(min(CLOUD, len(results.sampled)), random_state=0)
    own = metrics["source"] == "images"
    data: dict[str, Any] = {
        "unit": metrics["unit"],
        "timed": "proof" in metrics,
        "percent": is_percent(metrics),
        "costName": cost_name_of(metrics).capitalize() + " (predicted)",
        "costAxis": cost_name_of(metrics),
        "accuracyName": "Top-1 (predicted)" if is_percent(metrics) else "Accuracy (predicted)",
        "accuracyAxis": accuracy_axis(metrics),
        "tableName": table_name(metrics),
        "exportOptions": results.export_options,
        "legend": legend(family).as_json() if family else None,
        "front": front_columns(results.front, family),
        "table": {name: short(cloud[name].tolist()) for name in ("accuracy", "cost")},
        "answers": answers_data(results),
        "known": [_only(network, ("top1", *TIMED)) for network in metrics.get("known", [])],
        "published": published_data(metrics),
        "tuned": [
            _only(network, ("test_top1", *TIMED)) for network in metrics.get("tuned_published", [])
        ],
        "margin": metrics.get("margin", 0.0),
        "evaluator": curve(results.log("evaluator")["ranking_loss"]),
        "generator": curve(results.log("generator")["accuracy_within_budget"]),
    }
    if "latency" in metrics:
        data["latency"] = _latency_data(metrics["latency"])
    if results.vectors is not None:
        data["vectors"] = _vectors_data(results, results.vectors)
    if own:
        data["supernet"] = results.log("supernet")["rows"]
    return data


def answers_data(results: Results) -> list[dict[str, Any]]:
    """A run's answers for the page's script.

    Those of a run on images are exported with the weights that they were tuned to: by the run's
    path, `exported`, and options of their own.
    """
    path, answers = shlex.quote(str(results.path.resolve())), []
    for answer in results.metrics["answers"]:
        data = _only(answer, ANSWER)
        if results.family:
            data["drawing"] = drawing(results.family, answer["arch"]).as_json()
        if results.metrics["source"] == "images":
            data |= {"exported": path, "exportOptions": f"--budget {answer['budget']!r}"}
        answers.append(data)
    return answers


def _only(row: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Those of a row's values that have one of the names."""
    return {name: row[name] for name in names if name in row}


def _latency_data(error: dict[str, Any]) -> dict[str, list[float]]:
    """What the latency model was checked on."""
    columns = {"measured": "measured_ms", "predicted": "predicted_ms", "spread": "measured_spread"}
    return {name: short(error[column]) for name, column in columns.items()}


def _vectors_data(results: Results, vectors: pd.DataFrame) -> dict[str, Any]:
    """The front of several costs, the most accurate first."""
    best_first = vectors.sort_values("accuracy", ascending=False, kind="stable")
    columns = {
        name: [values[row] for row in best_first.index] for name, values in results.further.items()
    }
    return front_columns(best_first, results.family) | {"further": columns}


def _meaning(results: Results) -> str:
    """What the numbers of the page are, as HTML."""
    text, family = escape(what_accuracy_means(results.metrics)), results.family
    if family and "device" not in results.metrics:
        pixels = "their own resolution" if family.elastic else "224×224 pixels"
        text += (
            f" Parameters and MAdds are those of {escape(family.label)}, {pixels} and 1000 "
            "classes, as the command exports it."
        )
    return text


def _further(results: Results) -> str:
    """Where the further budgets go, as HTML; nothing in a run of one cost."""
    if results.vectors is None:
        return ""
    return (
        "<div id='further' role='group' aria-label='Further budgets'></div><p class='muted'>The "
        f"best within all budgets of the {len(results.vectors):,} architectures that are the best "
        "for some budgets; <code>pnag generate</code> with several <code>--budget</code> searches "
        "a little further.</p>"
    )


def _answers(metrics: dict[str, Any]) -> str:
    timed = "proof" in metrics
    held = {True: "<span class='yes'>yes</span>", False: "<span class='no'>no</span>"}
    rows = [
        answer_cells(a) + ([held[a["held"]]] if timed else []) + [escape(a["from"])]
        for a in metrics["answers"]
    ]
    header = answer_header(metrics) + (["held"] if timed else []) + ["found by"]
    header[0] += f" ({escape(metrics['unit'])})"
    chosen = [a.get("choices", {}) for a in metrics["answers"]]  # none of networks
    header += [escape(name) for name in chosen[0]]
    rows = [r + [choice_cell(c) for c in row.values()] for r, row in zip(rows, chosen, strict=True)]
    note = (
        "<p class='muted'>Held means that it was measured within the budget"
        f"{margin_text(metrics)}; ± is half the middle 50 % of the rounds.</p>"
    )
    return table(header, rows, "Answers") + (note if timed else "")


def choice_cell(value: str | float | None) -> str:
    """A choice as HTML; a dash where it does not exist."""
    return "–" if value is None else escape(str(value))


def _known(metrics: dict[str, Any]) -> str:
    budgets = {a["arch"]: a["budget"] for a in metrics["answers"]}
    rows = [
        [
            escape(k["name"]),
            f"{k['top1']:.1%}",
            measured_cell(k),
            f"yes, for {budgets[k['beaten_by']]:g} ms" if k["beaten_by"] else "no",
        ]
        for k in metrics["known"]
    ]
    header = ["network", "top-1 (published)", "ms (measured)", "an answer is better"]
    sources = "; ".join(dict.fromkeys(escape(k["source"]) for k in metrics["known"]))
    speed = metrics["proof"]["speed"] - 1
    change = "slower" if speed > 0 else "faster"
    note = (
        f"<p class='muted'>Published by: {sources}. During this run the machine was "
        f"{abs(speed):.1%} {change} than when the latency table was measured; the times are "
        "corrected for that. Better means faster and more accurate.</p>"
    )
    title = "Networks timed in the same run"
    return section("known", title, table(header, rows, title) + note)


def _latency(metrics: dict[str, Any]) -> str:
    e = metrics["latency"]
    return section(
        "latency",
        "Latency model",
        "<div id='latency-chart' class='chart'></div>"
        f"<p class='muted'>{e['networks']} networks that calibration never saw: {e['mape']:.1%} "
        f"mean error, {e['within_5']:.0%} within 5 %, {e['within_10']:.0%} within 10 %, Kendall "
        f"tau {e['tau']:.3f}. Speed of the machine: ±{e['drift']['spread']:.1%} over "
        f"{e['drift']['levels']} readings, {e['drift']['remeasured']} turns taken again, "
        f"{e['drift']['unsteady']} kept although unsteady.</p>",
    )


def _supernet() -> str:
    return section(
        "supernet",
        "Supernet",
        "<div class='charts'><div><div id='supernet-loss' class='chart'></div></div>"
        "<div><div id='supernet-top1' class='chart'></div></div></div>",
    )
