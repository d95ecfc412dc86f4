"""Today's published networks beside a run's answers: which are timed, and what is best of all."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from pnag.cost.latency_model import LatencyModel
from pnag.deploy.zoo import KNOWN_NETWORKS, TIMM_NETWORKS, Network
from pnag.deploy.zoo.along_front import along_front
from pnag.run.run_directory import RunDirectory

# MobileNetV3-Large as nearly as the default space has it, and its published latency where
# `Network.published_ms` was measured (mobilenetv3_large_100 at 224 pixels).
MOBILENETV3_LARGE = (
    "2,3,4,2,3:3,3,0,0,5,5,5,0,3,3,3,3,3,3,0,0,5,5,5,0:4,3,0,0,3,3,3,0,6,3,3,3,6,6,0,0,6,6,6,0"
)
MOBILENETV3_LARGE_MS = 7.377
# It predicts others roughly, so those near the budgets' range are timed, too.
BELOW, ABOVE = 0.7, 1.2
PUBLISHED_AT = 224  # pixels that MobileNetV3-Large's published latency is of

Row = dict[str, Any]


def published_to_time(run: RunDirectory, budgets: list[float], count: int) -> list[Network]:
    """The networks of timm to time beside the answers to some budgets in ms.

    What each takes here is guessed: its published latency times what MobileNetV3-Large is predicted
    to take here, over what was published of it.

    Args:
        count: how many at the most.
    """
    if not count:
        return []
    model = LatencyModel.load(run.latency_model)
    space = model.family.space
    pixels = max(space.resolutions, default=PUBLISHED_AT)
    text = MOBILENETV3_LARGE + (f"@{pixels}" if space.resolutions else "")
    here = float(model.predict(space.encode([text]))[0]) * (PUBLISHED_AT / pixels) ** 2
    slower = here / MOBILENETV3_LARGE_MS
    guessed = {n.key: slower * (n.published_ms or 0.0) for n in TIMM_NETWORKS}
    return along_front(TIMM_NETWORKS, guessed, BELOW * min(budgets), ABOVE * max(budgets), count)


def published_rows(timed: Mapping[str, Any]) -> list[Row]:
    """The timed networks of timm, by growing latency, for `metrics.json`.

    Args:
        timed: what the proof holds of each network, by the name that it was timed under.
    """
    rows = [
        {
            "name": network.key,
            "network": network.name,
            "top1": network.top1,
            "source": network.source,
            "beyond": network.training.beyond if network.training else "",
            "licence": network.training.licence if network.training else "",
            "resolution": network.resolution,
            "params": network.counts().params,
            "macs": network.counts().macs,
            "measured_ms": timed[network.key]["milliseconds"],
            "measured_spread": timed[network.key]["spread"],
            "export": export_command(network),
        }
        for network in TIMM_NETWORKS
        if network.key in timed
    ]
    return sorted(rows, key=lambda row: float(row["measured_ms"]))


def export_command(network: Network) -> str:
    """The command that writes a published network with its weights."""
    return f"pnag zoo export {network.key} --pretrained"


def best_of_all(budget: float, answers: list[Row], known: list[Row], published: list[Row]) -> Row:
    """The most accurate network that was timed and held a budget, ours or published.

    Ours counts with its predicted top-1. An empty row if none held it.

    Args:
        answers, known, published: as `metrics.json` has them.
    """
    keys = {network.name: network for network in KNOWN_NETWORKS}
    candidates = [
        {
            "name": f"ours for {a['budget']:g} ms",
            "top1": a["accuracy"],
            "beyond": "",
            "ours": True,
            "export": f"pnag export {shlex.quote(a['arch'])} --weights published",
        }
        | _times(a)
        for a in answers
    ]
    candidates += [
        {
            "name": k["name"],
            "top1": k["top1"],
            "beyond": "",
            "ours": False,
            "export": export_command(keys[k["name"]]),
        }
        | _times(k)
        for k in known
    ]
    candidates += [
        {name: p[name] for name in ("name", "top1", "beyond", "export")}
        | {"ours": False}
        | _times(p)
        for p in published
    ]
    held = [row for row in candidates if row["measured_ms"] <= budget]
    return max(held, key=lambda row: (float(row["top1"]), bool(row["ours"])), default={})


def _times(row: Row) -> Row:
    return {name: row[name] for name in ("measured_ms", "measured_spread")}
