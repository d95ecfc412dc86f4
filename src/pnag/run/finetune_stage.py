"""The stage that makes answers into networks of their own: fine-tuned, judged, kept."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from pnag.families.base import Family
from pnag.families.elastic_network import ElasticNetwork
from pnag.files import file_fingerprint, fingerprint, read_json, write_json
from pnag.images.images import ImageData
from pnag.run.answer_stage import model_name
from pnag.run.display import Bar
from pnag.run.image_run import ImageRun
from pnag.run.preprocessing import preprocessing_of
from pnag.run.supernet_stage import begun_with, trained_supernet
from pnag.run.trained import Answer
from pnag.run.tuning_order import Begins, largest_at, waves, what_each_begins_with
from pnag.supernet.finetune import finetune, finetune_identity, judge, tuned_file
from pnag.supernet.loop import Step, steps_of
from pnag.supernet.plan import FinetuningPlan
from pnag.supernet.settings import Begun
from pnag.supernet.side_by_side import Answer as Tuned
from pnag.supernet.side_by_side import Shares, finetune_on_ray, finetune_side_by_side, shares
from pnag.supernet.weights import load_finished, save_weights
from pnag.threads import torch_threads


def finetune_stage(
    run: ImageRun, plan: FinetuningPlan, answers: list[Answer]
) -> dict[str, nn.Module]:
    """Fine-tune the answers' networks, judge them on the test part.

    Returns:
        The networks, on the CPU, by architecture.
    """
    supernet = trained_supernet(run)
    of, device = supernet.family, run.accelerator.device
    archs = list(dict.fromkeys(a.arch for a in answers))
    planned = plan.epochs_text(of.space.resolutions)
    plan, begins = _in_order(run, plan, archs, of)
    if (epochs := plan.epochs_text(of.space.resolutions)) != planned:
        run.notice(f"{plan.networks} network(s) share the minutes: {epochs} epoch(s) for each")
    order = waves(archs, begins)
    # looking at images takes a while
    data = {arch: run.tuning_data_of(arch) for wave in order for arch in wave}
    tuned, begin = _as_planned(run, plan, data, begins, supernet)
    teacher = supernet.subnet() if run.tuning.distillation else None
    known, numbers = _judged(run), {arch: number for number, arch in enumerate(tuned, 1)}
    networks: dict[str, nn.Module] = {}
    judged: dict[str, Any] = {}
    for wave in order:
        each = [tuned[arch] for arch in wave]
        share = shares(len(wave), each[0].settings, run.data, of, device.type == "cuda")
        begun = {arch: begin(arch) for arch in wave}
        if run.ray_address or share.workers > 1:
            _tune_at_once(run, begun, of, each, data, teacher, share)
        steps = [steps_of(one.settings.fit, data[one.arch]) for one in each]
        with run.display.bar("fine-tuning") as bar, torch_threads(share.threads):
            for place, (arch, settings, identity) in enumerate(each):
                name = f"network {numbers[arch]} of {len(tuned)}"
                network = finetune(
                    begun[arch],
                    data[arch],
                    settings,
                    run.run.finetuned,
                    identity=identity,
                    seed=run.recipe.seed,
                    accelerator=run.accelerator,
                    teacher=teacher,
                    watch=_show(bar, sum(steps[:place]), sum(steps), name),
                    notice=run.notice,
                )
                if arch in archs:  # and not only what one of them begins with
                    judged[arch] = _judge(known, arch, network, data[arch], identity, device)
                    networks[arch] = network.cpu()
            bar.update(sum(steps), sum(steps))
    write_json(run.run.judged, judged)
    return networks


def _show(bar: Bar, before: int, total: int, name: str) -> Callable[[Step], None]:
    """A function that shows a network's steps, after those of others, of so many in all."""
    return lambda step: bar.update(before + step.done, total, f"{name}, loss {step.loss:.3f}")


def _in_order(
    run: ImageRun, plan: FinetuningPlan, archs: Sequence[str], of: Family
) -> tuple[FinetuningPlan, Begins]:
    """The plan's minutes shared by the networks that there are, and what each begins with.

    Several answers can be the same network. Only the first answers count: later budgets leave
    networks that are tuned as they are.
    """
    # Not an output of a stage: a stage is redone when its file changes, and this one grows.
    file = run.run.tuning_order
    identity = fingerprint([asdict(plan), file_fingerprint(run.run.last_supernet)])
    found = read_json(file) if file.exists() else {}
    if found.get("identity") != identity:
        found = {"identity": identity, "begins": {}}
    begins = what_each_begins_with(archs, of, found["begins"], cut=run.adapting)
    if "first" not in found:
        first = any(_is_first(arch, begins, of) for arch in begins)
        found |= {"networks": len(begins), "first": first}
    write_json(file, found | {"begins": begins})
    return plan.shared_by(found["networks"], found["first"]), begins


def _is_first(arch: str, begins: Begins, of: Family) -> bool:
    """Whether it is the network that others, of further budgets too, begin with."""
    return begins[arch] is None and arch in largest_at(of)


def _as_planned(
    run: ImageRun,
    plan: FinetuningPlan,
    data: Mapping[str, ImageData],
    begins: Begins,
    supernet: ElasticNetwork,
) -> tuple[dict[str, Tuned], Callable[[str], nn.Module]]:
    """How to fine-tune each architecture, and a function that gives it as it begins.

    Args:
        data: to tune on, by architecture, in order.
    """
    of = supernet.family
    weights = begun_with(run, supernet, [arch for arch in data if begins[arch] is None])
    files = {path: file_fingerprint(path) for path in {path for _, path in weights.values()}}
    largest = largest_at(of)
    tuned: dict[str, Tuned] = {}
    for arch, images in data.items():
        before = begins[arch]
        origin = tuned[before].identity if before else files[weights[arch][1]]
        first = _is_first(arch, begins, of)
        epochs = plan.epochs_at(images.preprocessing.resolution, of.space.resolutions, first)
        begun: Begun = "elsewhere"
        if arch in largest:
            begun = "supernet" if first else "tuned"
        settings = run.finetune_settings(epochs, begun)
        identity = finetune_identity(
            origin, arch, images, settings, run.recipe.seed, run.accelerator
        )
        tuned[arch] = Tuned(arch, settings, identity)

    def begin(arch: str) -> nn.Module:
        before = begins[arch]
        if before is None:
            plain: nn.Module = weights[arch][0].subnet(arch)
            return plain
        network = of.build(before, len(run.data.classes))
        identity = tuned[before].identity
        file = tuned_file(run.run.finetuned, identity)
        there = load_finished(network, file, identity, run.accelerator)
        assert there  # it comes earlier in the order
        if arch not in largest:
            whole = copy.deepcopy(supernet)  # others begin with its own weights
            whole.take_largest(network)
            network = whole.subnet(arch)
        return network.to(run.accelerator.device)

    return tuned, begin


def _judged(run: ImageRun) -> dict[str, Any]:
    """What is known about earlier answers."""
    return read_json(run.run.judged) if run.run.judged.exists() else {}


def _judge(
    known: Mapping[str, Any],
    arch: str,
    network: nn.Module,
    data: ImageData,
    identity: str,
    device: torch.device,
) -> Any:
    """Accuracy on the test part, measured again where the weights have changed."""
    if known.get(arch, {}).get("weights") == identity:
        return known[arch]
    return asdict(judge(network, data, "test", device)) | {"weights": identity}


def _tune_at_once(
    run: ImageRun,
    networks: Mapping[str, nn.Module],
    of: Family,
    tuned: list[Tuned],
    data: Mapping[str, ImageData],
    teacher: nn.Module | None,
    share: Shares,
) -> None:
    """Put the weights of all answers into the run's folder, from where `finetune` takes them.

    Args:
        networks: to train on, by architecture.
    """
    how: dict[str, Any] = {
        "seed": run.recipe.seed, "accelerator": run.accelerator, "teacher": teacher
    }  # fmt: skip
    folder = run.run.finetuned
    if run.ray_address:
        with run.display.bar("fine-tuning on the cluster") as bar:
            finetune_on_ray(
                networks, of, tuned, data, folder, address=run.ray_address,
                watch=bar.update, **how,
            )  # fmt: skip
        return
    with run.display.bar(f"fine-tuning, {share.workers} networks at a time") as bar:
        finetune_side_by_side(
            networks, of, tuned, data, folder, share=share,
            watch=lambda done, total, loss: bar.update(done, total, f"loss {loss:.3f}"), **how,
        )  # fmt: skip


def write_weights(run: ImageRun, answers: list[Answer], networks: dict[str, nn.Module]) -> None:
    """Beside the exported networks: their weights for timm, and what goes in and comes out."""
    for a in answers:
        path = run.run.models / f"{model_name(a)}.safetensors"
        save_weights(networks[a.arch], path, fingerprint(a.arch))
        own = preprocessing_of(run.data_of(a.arch))  # at its own resolution
        write_json(path.with_suffix(".preprocessing.json"), own)
    write_json(run.run.models / "preprocessing.json", preprocessing_of(run.data))
