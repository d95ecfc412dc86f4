"""The stage that exports a run's answers, and times them beside the networks people know."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

from rich.markup import escape
from torch import nn

from pnag.cost.proof import Proof
from pnag.deploy.export import export_checked
from pnag.deploy.zoo import KNOWN_NETWORKS
from pnag.errors import PnagError
from pnag.files import file_fingerprint, read_json, write_json
from pnag.run.answer_stage import model_name
from pnag.run.display import Display
from pnag.run.published import published_to_time
from pnag.run.published_networks import Weights, file_stem, imagenet_networks, imagenet_weights
from pnag.run.recipe import Recipe
from pnag.run.run_directory import RunDirectory
from pnag.run.size import Size
from pnag.run.timing import steadiness_of_proof, time_in_turns
from pnag.run.trained import Answer


class Beside(Protocol):
    """A network in eval mode on the CPU, and the height and width of its images."""

    @property
    def network(self) -> nn.Module:
        """The network."""

    @property
    def pixels(self) -> int:
        """Of its images."""


OWN_INPUT = ".preprocessing.json"  # of an answer, which may have a resolution of its own


def proof_stage(
    run: RunDirectory,
    recipe: Recipe,
    size: Size,
    answers: list[Answer],
    tuned: Mapping[str, nn.Module] | None,
    display: Display,
    beside: Mapping[str, Beside] | None = None,
) -> None:
    """Export and time the answers, on ImageNet together with the networks people know.

    Args:
        tuned: the answers' networks by architecture; None for ImageNet's, whose weights are
            published.
        beside: published networks that were fine-tuned, too, by name.
    """
    beside = beside or {}
    # Their published accuracies say nothing about other images.
    known = () if tuned else KNOWN_NETWORKS
    todays = [] if tuned else published_to_time(run, [a.budget for a in answers], recipe.compare)
    weights: Weights = "fine-tuned" if tuned else imagenet_weights(recipe.published, display)
    inputs = {
        "latency": file_fingerprint(run.latency_table),
        "published": [network.key for network in todays],
        "answers": [[a.budget, a.arch] for a in answers],
        "weights": file_fingerprint(run.judged) if tuned else weights,
        "version": 2,  # 2: the proof says which files and weights there are
        "seed": recipe.seed,
        **({"beside": file_fingerprint(run.published_judged)} if beside else {}),
    }
    stems = {model_name(a): file_stem(model_name(a), weights) for a in answers}
    stems |= {name: name for name in beside}
    models = {name: run.models / f"{stem}.onnx" for name, stem in stems.items()}

    def work() -> None:
        archs = dict.fromkeys(a.arch for a in answers)
        made = tuned or imagenet_networks(archs, size, weights, recipe.seed)
        networks = {model_name(a): made[a.arch] for a in answers}
        pixels = {model_name(a): size.pixels(a.arch) for a in answers}
        networks |= {name: one.network for name, one in beside.items()}
        pixels |= {name: one.pixels for name, one in beside.items()}
        _remove_former(run, stems.values())
        differences = _export(networks, models, pixels, display)
        others = {n.name: n for n in known} | {n.key: n for n in todays}
        proof = time_in_turns(
            run,
            recipe.latency,
            networks | {name: network.build() for name, network in others.items()},
            pixels | {name: network.resolution for name, network in others.items()},
            "timing the answers",
            display,
            may_leave_out=others,
        )
        for name, why in proof.left_out.items():
            display.note(f"  {name} does not run on this runtime and is not timed: {escape(why)}")
        _write_proof(run, proof, models, {"onnx_difference": differences, "weights": weights})

    run.stage("proof", inputs, [run.proof, *models.values()], work, display.reused)
    steadiness_of_proof(run).tell(display)


def _write_proof(
    run: RunDirectory, proof: Proof, models: Mapping[str, Path], about: dict[str, object]
) -> None:
    """Keep what was timed, and when, beside what is known about the files."""
    files = {name: path.name for name, path in models.items()}
    measured_at = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    write_json(run.proof, asdict(proof) | about | {"files": files, "measured_at": measured_at})


def _remove_former(run: RunDirectory, stems: Collection[str]) -> None:
    """Remove what the run wrote for the answers of its last proof that are none of these.

    All else in the folder is not the run's own, such as what a user puts there.
    """
    for stem in {*_former_stems(run), *stems}:
        # An answer whose network is another now may have no resolution of its own any more.
        for suffix in (OWN_INPUT,) if stem in stems else (".onnx", ".safetensors", OWN_INPUT):
            path = run.models / f"{stem}{suffix}"
            if path.is_file():
                path.unlink()
    # So that the next proof knows what a stop before the end of this one leaves.
    write_json(run.proof, {"files": {stem: f"{stem}.onnx" for stem in stems}})


def _former_stems(run: RunDirectory) -> set[str]:
    """Of the files of the last proof's answers; empty if there was none, or it does not say."""
    try:
        return {Path(name).stem for name in read_json(run.proof)["files"].values()}
    except (PnagError, KeyError, TypeError, AttributeError):
        return set()


def _export(
    networks: Mapping[str, nn.Module],
    files: Mapping[str, Path],
    pixels: Mapping[str, int],
    display: Display,
) -> dict[str, float]:
    """Write networks as ONNX files; by how much each differs from torch."""
    differences = {}
    with display.bar("exporting") as bar:
        for done, (name, network) in enumerate(networks.items(), 1):
            differences[name] = export_checked(network, files[name], pixels[name])
            bar.update(done, len(networks), name)
    return differences
