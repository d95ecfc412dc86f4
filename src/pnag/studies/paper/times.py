"""All networks of an experiment, timed in turns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pnag.deploy.zoo import Network
from pnag.files import file_fingerprint, read_json, write_json
from pnag.run.display import Display
from pnag.run.timing import TIME_AGAIN, Steadiness, time_in_turns
from pnag.studies.paper.study import Study


def time_networks(
    study: Study, archs: Sequence[str], zoo: Sequence[Network], display: Display
) -> dict[str, Any]:
    """Every distinct network timed in turns, each at its own resolution.

    Args:
        archs: of our space, as text. zoo: published networks.

    Returns:
        A `Proof` as JSON, its networks by architecture text or the zoo's key.
    """
    file = _file(study)
    resolutions = {network.key: network.resolution for network in zoo}
    inputs = {
        "latency": file_fingerprint(study.run.latency_table),
        "networks": archs,
        "zoo": resolutions,
        "rounds": study.recipe.latency.rounds,
    }

    def work() -> None:
        torch.manual_seed(study.recipe.seed)
        networks: dict[str, nn.Module] = {arch: study.size.build(arch) for arch in archs}
        networks |= {network.key: network.build() for network in zoo}
        what = "timing all networks in turns"
        latency = study.recipe.latency
        proof = time_in_turns(
            study.run, latency, networks, resolutions, what, display, may_leave_out=resolutions
        )
        write_json(file, asdict(proof))

    times: dict[str, Any] = study.stage("times", inputs, file, work, display)
    steadiness(study, times).tell(display)
    return times


def steadiness(study: Study, times: dict[str, Any]) -> Steadiness:
    """Of the machine while the networks were timed."""
    return Steadiness("all networks", _file(study), times["unsteady"], times["drift"], TIME_AGAIN)


def forget_unsure_times(study: Study) -> None:
    """Remove the times if something disturbed the machine meanwhile, so that they are retaken."""
    file = _file(study)
    if file.exists() and steadiness(study, read_json(file)).warning:
        file.unlink()


def _file(study: Study) -> Path:
    return study.folder / "times.json"
