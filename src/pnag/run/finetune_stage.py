"""The stage that makes answers into networks of their own: fine-tuned, judged, kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from torch import nn

from pnag.families.elastic_network import ElasticNetwork
from pnag.files import file_fingerprint, fingerprint, read_json, write_json
from pnag.images.images import ImageData
from pnag.run.image_run import ImageRun
from pnag.run.preprocessing import preprocessing_of
from pnag.run.stages import model_name
from pnag.run.supernet_stage import trained_supernet
from pnag.run.trained import Answer
from pnag.supernet.finetune import finetune, finetune_identity, judge
from pnag.supernet.loop import Step
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
    files, settings = run.run, run.finetune_settings(plan)
    supernet = trained_supernet(run)
    identity_of_supernet = file_fingerprint(files.supernet)
    data = {arch: run.tuning_data_of(arch) for arch in dict.fromkeys(a.arch for a in answers)}
    tuned = [
        Tuned(
            arch,
            finetune_identity(
                identity_of_supernet,
                arch,
                data[arch],
                settings,
                run.recipe.seed,
                run.accelerator,
            ),
        )
        for arch in data
    ]
    device = run.accelerator.device
    share = shares(len(tuned), settings, run.data, supernet.family, device.type == "cuda")
    if run.ray_address or share.workers > 1:
        _tune_at_once(run, supernet, tuned, data, settings, share)
    known = read_json(files.judged) if files.judged.exists() else {}
    networks: dict[str, nn.Module] = {}
    judged: dict[str, Any] = {}
    with run.display.bar("fine-tuning") as bar, torch_threads(share.threads):
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
                watch=watch,
                notice=run.notice,
            )
            if known.get(arch, {}).get("weights") == identity:
                judged[arch] = known[arch]
            else:
                found = judge(network, data[arch], "test", device)
                judged[arch] = asdict(found) | {"weights": identity}
            networks[arch] = network.cpu()
        bar.update(len(tuned), len(tuned))
    write_json(files.judged, judged)
    return networks


def _tune_at_once(
    run: ImageRun,
    supernet: ElasticNetwork,
    tuned: list[Tuned],
    data: Mapping[str, ImageData],
    settings: FinetuneSettings,
    share: Shares,
) -> None:
    """Put the weights of all answers into the run's folder, from where `finetune` takes them."""
    how: dict[str, Any] = {"seed": run.recipe.seed, "accelerator": run.accelerator}
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
