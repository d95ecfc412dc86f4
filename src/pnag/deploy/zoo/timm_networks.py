"""Today's networks: those of timm that are small, on or near the front of its published results.

`timm_networks.csv` names them, with the published numbers (`scripts/timm_networks.py` rewrites
these). All else is read from timm's registry: image size, licence and place of the weights,
and what the weights' name says about their training. Networks that are trained in another form
than they run in (MobileOne, RepVGG, RepViT, FastViT, LeViT, ...) are built in the form they run in.
"""

from __future__ import annotations

import csv
from importlib import resources

import timm

from pnag.deploy.zoo.network import TIMM, Counted, Library, Network, Training
from pnag.downloads import PublishedFile

SOURCE = "timm's results for ImageNet (Apache-2.0)"
PLACE = "an i7-12700H: batch 1, float32, compiled; timm's results (Apache-2.0)"
"""Where `Network.published_ms` was measured."""

# What the parts of the names of weights say: `e200_r256_in12k_ft_in1k`.
MORE_IMAGES = {
    "in12k": "ImageNet-12k",
    "in21k": "ImageNet-21k",
    "in22k": "ImageNet-22k",
    "ssld": "chosen from ImageNet-22k",
}
TAUGHT = {"dist", "ssld", "usi"}


def training_of(weights: str, licence: str) -> Training:
    """How weights were trained, as far as their name says.

    Args:
        weights: the part of timm's name after the dot. licence: that timm names, or empty.
    """
    parts = weights.split("_")
    more = next((images for part, images in MORE_IMAGES.items() if part in parts), "")
    return Training(more, not TAUGHT.isdisjoint(parts), licence)


def _network(row: dict[str, str]) -> Network:
    """The network in a line of the data file, with what the registry knows about it."""
    name, pixels = row["network"], int(row["pixels"])
    registered = timm.get_pretrained_cfg(name, allow_unregistered=False)
    assert registered is not None
    usual = registered.input_size[-1]
    counted = Counted(int(row["params"]), int(row["macs"]), int(row["conv_macs"]))
    mean, deviation = (
        ", ".join(f"{each:.3g}" for each in values) for values in (registered.mean, registered.std)
    )
    return Network(
        row["key"],
        name if pixels == usual else f"{name} at {pixels} pixels",
        TIMM,
        Library("timm", name, counted, fused=True),
        pixels,
        top1=round(float(row["top1"]) / 100, 5),
        top5=round(float(row["top5"]) / 100, 5),
        source=SOURCE,
        weights=PublishedFile(
            f"{str(registered.hf_hub_id).replace('/', '--')}.safetensors",
            f"https://huggingface.co/{registered.hf_hub_id}/resolve/main/model.safetensors",
            None,
        ),
        weights_by="timm",
        note=f"takes images normalised by mean ({mean}) and deviation ({deviation})",
        training=training_of(registered.tag or "", registered.license or ""),
        published_ms=float(row["i7_ms"]),
    )


def _networks() -> tuple[Network, ...]:
    file = resources.files("pnag.deploy.zoo") / "timm_networks.csv"
    return tuple(map(_network, csv.DictReader(file.read_text(encoding="utf-8").splitlines())))


NETWORKS = _networks()
