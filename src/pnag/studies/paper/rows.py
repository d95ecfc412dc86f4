"""The rows of the paper's table with what was computed and measured here beside them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pnag.deploy.zoo import ZOO, Network, PrintedRow
from pnag.deploy.zoo.network import PNAG, Ours
from pnag.studies.paper.answers import METHODS
from pnag.studies.paper.devices import printed_table, zoo_networks
from pnag.studies.paper.figures import METHOD_NAMES
from pnag.studies.paper.study import Study


def rows_of_table(
    study: Study, answers: dict[str, list[dict[str, Any]]], times: dict[str, Any]
) -> list[dict[str, Any]]:
    """The paper's table, row by row, with what was computed and measured here beside it.

    A row of a method (EVO-30) stands beside our answer of that method to the budget that 30 ms are
    here. A row of PNAG stands beside the paper's own architecture, and is followed by the answers
    that have no printed row: ours, and OFA-MO's. Budgets that stand for none of the paper's come
    last.
    """
    rows: list[dict[str, Any]] = []

    def found_here(group: str, number: int, budget: str) -> dict[str, Any]:
        name = f"{METHOD_NAMES[group]}-{budget}, found here"
        return _found_here(study, name, group, answers[group][number], times)

    for printed in printed_table(study.paper) or _rows_of_the_phone(study):
        row: dict[str, Any] = {"name": printed.name, "printed": asdict(printed)}
        method, _, budget = printed.name.rpartition("-")
        number = study.rank.get(float(budget)) if budget.isdigit() else None
        if method in ("EVO", "NAS-MO") and number is not None:
            found = answers[method.lower()][number]
            row |= _found_here(study, printed.name, method.lower(), found, times)
        elif printed.key:
            row |= _timed_here(study, ZOO[printed.key], printed.note, times)
        else:
            row |= {"group": None, "note": printed.note}
        rows.append(row)
        if method == "PNAG" and number is not None:
            rows += [found_here(group, number, budget) for group in ("pnag", "ofa-mo")]
    if not study.rank:
        asked = enumerate(study.budgets)
        rows += [found_here(g, n, f"{budget:g}") for n, budget in asked for g in ("pnag", *METHODS)]
    return rows


def _timed_here(
    study: Study, network: Network, printed: str, times: dict[str, Any]
) -> dict[str, Any]:
    """What a row of a published network has beside its printed numbers.

    Args:
        printed: the paper's note.
    """
    counts, timed = network.counts(), times["networks"].get(network.key)
    if timed is None:
        return {"group": None, "note": f"does not run on {study.recipe.latency.runtime}"}
    own = f"{network.resolution}x{network.resolution}"
    differs = network.resolution != study.size.resolution
    notes = [printed, f"here timed and counted at {own}" if differs else ""]
    row = {
        "group": "paper" if network.family == PNAG else "comparator",
        "params_m": counts.params / 1e6,
        "macs_m": counts.conv_macs / 1e6,
        "milliseconds": timed["milliseconds"],
        "spread": timed["spread"],
        "note": "; ".join(filter(None, notes)),
    }
    if network.family == PNAG and isinstance(network.recipe, Ours):
        row |= {"arch": network.recipe.arch, "width_mult": network.recipe.width_mult}
    return row


def _found_here(
    study: Study, name: str, method: str, answer: dict[str, Any], times: dict[str, Any]
) -> dict[str, Any]:
    """A row of a method's answer: predicted top-1, counted size, measured latency."""
    counts, timed = study.size.count(answer["arch"]), times["networks"][answer["arch"]]
    return {
        "name": name,
        "group": method,
        "budget": answer["budget"],
        "params_m": counts.params / 1e6,
        "macs_m": counts.conv_macs / 1e6,
        "milliseconds": timed["milliseconds"],
        "spread": timed["spread"],
        "top1": answer["accuracy"],
        "arch": answer["arch"],
    }


def _rows_of_the_phone(study: Study) -> list[PrintedRow]:
    """The paper's architectures and methods for the phone, of which it prints no numbers here."""
    names = [
        (f"{method}-{budget:g}", f"pnag-mobile-{budget:g}" if method == "PNAG" else None)
        for budget in study.paper.budgets
        for method in ("EVO", "NAS-MO", "PNAG")
    ]
    names += [(n.name, n.key) for n in zoo_networks(study.device) if n.family != PNAG]
    return [PrintedRow(0, name, None, None, None, None, None, None, key, "") for name, key in names]


def networks_with_accuracy(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows with a latency here and a top-1: predicted for ours, printed or published for others."""
    found = []
    for row in rows:
        printed = row.get("printed") or {}
        top1 = row.get("top1") or printed.get("top1")
        if top1 is None and printed.get("key"):
            top1 = ZOO[printed["key"]].top1
        if row["group"] and top1:
            found.append(row | {"top1": top1})
    return found
