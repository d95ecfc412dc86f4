"""The stage that makes answers into networks of their own: fine-tuned, judged, kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pnag.families.elastic_network import ElasticNetwork
from pnag.files import file_fingerprint, fingerprint, read_json, write_json
from pnag.images.batches import steps_per_epoch
from pnag.images.images import ImageData
from pnag.run.answer_stage import model_name
from pnag.run.image_run import ImageRun
from pnag.run.preprocessing import preprocessing_of
from pnag.run.supernet_stage import begun_with
from pnag.run.trained import Answer
from pnag.supernet.finetune import finetune, finetune_identity, judge
from pnag.supernet.loop import Step
from pnag.supernet.plan import FinetuningPlan
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
    archs = dict.fromkeys(a.arch for a in answers)  # to look at images takes a while: once for each
    data = {arch: run.tuning_data_of(arch) for arch in archs}
    plan = _shared(run, plan, len(archs))
    begun = begun_with(run, list(archs))
    of = next(iter(begun.values()))[0].family
    tuned = _as_planned(run, plan, of.space.resolutions, data, begun)
    device = run.accelerator.device
    share = shares(len(tuned), tuned[0].settings, run.data, of, device.type == "cuda")
    if run.ray_address or share.workers > 1:
        _tune_at_once(run, begun, tuned, data, share)
    known, steps = _judged(run), [_steps(each, data[each.arch]) for each in tuned]
    networks: dict[str, nn.Module] = {}
    judged: dict[str, Any] = {}
    with run.display.bar("fine-tuning") as bar, torch_threads(share.threads):
        for number, (arch, settings, identity) in enumerate(tuned):

            def watch(step: Step, number: int = number) -> None:
                text = f"network {number + 1} of {len(tuned)}, loss {step.loss:.3f}"
                bar.update(sum(steps[:number]) + step.done, sum(steps), text)

            network = finetune(
                begun[arch][0],
                arch,
                data[arch],
                settings,
                run.run.finetuned,
                identity=identity,
                seed=run.recipe.seed,
                accelerator=run.accelerator,
                watch=watch,
                notice=run.notice,
            )
            judged[arch] = _judge(known, arch, network, data[arch], identity, device)
            networks[arch] = network.cpu()
        bar.update(sum(steps), sum(steps))
    write_json(run.run.judged, judged)
    return networks


def _shared(run: ImageRun, plan: FinetuningPlan, networks: int) -> FinetuningPlan:
    """The plan's minutes shared by the networks that there are: several answers can be the same.

    Only the first answers count: later budgets leave networks that are tuned as they are.
    """
    file = run.run.tuned_networks
    run.stage("networks to fine-tune", asdict(plan), [file], lambda: write_json(file, networks))
    return plan.shared_by(read_json(file))


def _as_planned(
    run: ImageRun,
    plan: FinetuningPlan,
    resolutions: Sequence[int],
    data: Mapping[str, ImageData],
    begun: Mapping[str, tuple[ElasticNetwork, Path]],
) -> list[Tuned]:
    """What to fine-tune, by architecture, on which images.

    Args:
        resolutions: that architectures choose among. begun: from `begun_with`.
    """
    weights = {path: file_fingerprint(path) for path in {path for _, path in begun.values()}}
    seed, accelerator, tuned = run.recipe.seed, run.accelerator, []
    for arch, images in data.items():
        epochs = plan.epochs_at(images.preprocessing.resolution, resolutions)
        how = run.finetune_settings(epochs)
        identity = finetune_identity(weights[begun[arch][1]], arch, images, how, seed, accelerator)
        tuned.append(Tuned(arch, how, identity))
    return tuned


def _steps(answer: Tuned, data: ImageData) -> int:
    fit = answer.settings.fit
    return fit.epochs * steps_per_epoch(data, fit.batch_size)


def _judged(run: ImageRun) -> dict[str, Any]:
    """What is known of earlier answers."""
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
    begun: Mapping[str, tuple[ElasticNetwork, Path]],
    tuned: list[Tuned],
    data: Mapping[str, ImageData],
    share: Shares,
) -> None:
    """Put the weights of all answers into the run's folder, from where `finetune` takes them."""
    how: dict[str, Any] = {"seed": run.recipe.seed, "accelerator": run.accelerator}
    folder, supernets = run.run.finetuned, {arch: supernet for arch, (supernet, _) in begun.items()}
    if run.ray_address:
        with run.display.bar("fine-tuning on the cluster") as bar:
            finetune_on_ray(
                supernets, tuned, data, folder, address=run.ray_address,
                watch=bar.update, **how,
            )  # fmt: skip
        return
    with run.display.bar(f"fine-tuning, {share.workers} networks at a time") as bar:
        finetune_side_by_side(
            supernets, tuned, data, folder, share=share,
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
