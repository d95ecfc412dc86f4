"""The stage that makes answers into networks of their own: fine-tuned, judged, kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import nn

from pnag.families.base import Family
from pnag.families.elastic_network import ElasticNetwork
from pnag.files import file_fingerprint, fingerprint, read_json, write_json
from pnag.images.images import ImageData
from pnag.images.joined import with_validation
from pnag.judging.recalibrate import recalibrate
from pnag.run.answer_stage import model_name
from pnag.run.image_run import ImageRun
from pnag.run.preprocessing import preprocessing_of
from pnag.run.supernet_stage import trained_supernet, trained_teacher
from pnag.run.trained import Answer
from pnag.supernet.finetune import MEASURED, finetune, finetune_identity, judge
from pnag.supernet.loop import Step, to_device
from pnag.supernet.plan import FinetuningPlan
from pnag.supernet.settings import FinetuneSettings
from pnag.supernet.side_by_side import Answer as Tuned
from pnag.supernet.side_by_side import Shares, finetune_on_ray, finetune_side_by_side, shares
from pnag.supernet.weights import save_weights
from pnag.threads import torch_threads


def finetune_stage(
    run: ImageRun, plan: FinetuningPlan, answers: list[Answer]
) -> dict[str, nn.Module]:
    """Fine-tune the answers' networks, judge them on the test part.

    Returns:
        The networks, on the CPU, by architecture.
    """
    settings, teacher = run.finetune_settings(plan), trained_teacher(run)
    archs = list(dict.fromkeys(a.arch for a in answers))
    if teacher:
        whole = whole_networks(teacher.family)  # trained before they were chosen among
        images = with_validation(run.data, run.cache)
        data = {arch: run.data if arch in whole else images for arch in archs}
    else:
        data = {arch: run.tuning_data_of(arch) for arch in archs}
    networks = tune(run, settings, teacher, data, "fine-tuning")
    known, device = _judged(run), run.accelerator.device
    identities = {t.arch: t.identity for t in _with_identities(run, settings, data, bool(teacher))}
    judged: dict[str, Any] = {}
    with run.display.bar("judging the answers") as bar:
        for number, (arch, network) in enumerate(networks.items(), 1):
            to_device(network, device)
            own = run.data_of(arch)
            judged[arch] = _judge(known, arch, network, own, identities[arch], device)
            networks[arch] = network.cpu()
            bar.update(number, len(networks))
    write_json(run.run.judged, judged)
    return networks


def whole_networks(of: Family) -> list[str]:
    """The family's largest architecture at each of its resolutions."""
    largest = of.largest
    pixels = of.space.resolutions or (0,)
    return [str(replace(largest, resolution=each)) for each in pixels]


def tune(
    run: ImageRun,
    settings: FinetuneSettings,
    teacher: ElasticNetwork | None,
    data: Mapping[str, ImageData],
    title: str,
) -> dict[str, nn.Module]:
    """Networks by architecture, on the CPU: trained here, or before.

    Args:
        teacher: sees the images at the greatest resolution, so all are at that.
        data: images to train on, by architecture.
        title: of the bar.
    """
    supernet, files = trained_supernet(run), run.run
    tuned = _with_identities(run, settings, data, teacher is not None)
    device = run.accelerator.device
    share = shares(len(tuned), settings, run.data, supernet.family, device.type == "cuda")
    if run.ray_address or share.workers > 1:
        _tune_at_once(run, supernet, teacher, tuned, data, settings, share)
    networks: dict[str, nn.Module] = {}
    with run.display.bar(title) as bar, torch_threads(share.threads):
        for number, (arch, identity) in enumerate(tuned):

            def watch(step: Step, number: int = number) -> None:
                text = f"network {number + 1} of {len(tuned)}, loss {step.loss:.3f}"
                bar.update(number * step.total + step.done, len(tuned) * step.total, text)

            network = finetune(
                supernet,
                arch,
                data[arch],
                settings,
                files.finetuned,
                identity=identity,
                seed=run.recipe.seed,
                accelerator=run.accelerator,
                teacher=teacher,
                watch=watch,
                notice=run.notice,
            )
            if teacher:  # it was trained on images that were scaled, not decoded at its resolution
                recalibrate(network, run.data_of(arch), images=MEASURED, device=device)
            networks[arch] = network.cpu()
        bar.update(len(tuned), len(tuned))
    return networks


def _with_identities(
    run: ImageRun, settings: FinetuneSettings, data: Mapping[str, ImageData], taught: bool
) -> list[Tuned]:
    """The answers, with hashes of all that their weights depend on."""
    weights = [run.run.supernet, *([run.run.largest] if taught else [])]
    begun_with = "".join(map(file_fingerprint, weights))
    seed, accelerator = run.recipe.seed, run.accelerator
    return [
        Tuned(arch, finetune_identity(begun_with, arch, images, settings, seed, accelerator))
        for arch, images in data.items()
    ]


def _judged(run: ImageRun) -> dict[str, Any]:
    """What is known of answers of before."""
    return read_json(run.run.judged) if run.run.judged.exists() else {}


def _judge(
    known: Mapping[str, Any],
    arch: str,
    network: nn.Module,
    data: ImageData,
    identity: str,
    device: torch.device,
) -> Any:
    """Accuracy on the test part, found anew where the weights are others."""
    if known.get(arch, {}).get("weights") == identity:
        return known[arch]
    return asdict(judge(network, data, "test", device)) | {"weights": identity}


def _tune_at_once(
    run: ImageRun,
    supernet: ElasticNetwork,
    teacher: ElasticNetwork | None,
    tuned: list[Tuned],
    data: Mapping[str, ImageData],
    settings: FinetuneSettings,
    share: Shares,
) -> None:
    """Put the weights of all answers into the run's folder, from where `finetune` takes them."""
    how: dict[str, Any] = {
        "seed": run.recipe.seed, "accelerator": run.accelerator, "teacher": teacher
    }  # fmt: skip
    folder = run.run.finetuned
    if run.ray_address:
        with run.display.bar("fine-tuning on the cluster") as bar:
            finetune_on_ray(
                supernet, tuned, data, settings, folder, address=run.ray_address,
                watch=bar.update, **how,
            )  # fmt: skip
        return
    with run.display.bar(f"fine-tuning, {share.workers} networks at a time") as bar:
        finetune_side_by_side(
            supernet, tuned, data, settings, folder, share=share,
            watch=lambda done, total, loss: bar.update(done, total, f"loss {loss:.3f}"), **how,
        )  # fmt: skip


def write_weights(run: ImageRun, answers: list[Answer], networks: dict[str, nn.Module]) -> None:
    """Beside the exported networks: their weights for timm, and what goes in and comes out."""
    for a in answers:
        path = run.run.models / f"{model_name(a)}.safetensors"
        save_weights(networks[a.arch], path, fingerprint(a.arch))
        data = run.data_of(a.arch)
        if data is not run.data:  # its own resolution
            write_json(path.with_suffix(".preprocessing.json"), preprocessing_of(data))
    write_json(run.run.models / "preprocessing.json", preprocessing_of(run.data))
