"""Published networks beside a run's answers: fine-tuned as these are, and judged alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from pnag.deploy.zoo.network import Library
from pnag.deploy.zoo.weights import load_trainable
from pnag.files import file_fingerprint, write_json
from pnag.images.images import ImageData
from pnag.run.image_run import ImageRun
from pnag.run.preprocessing import preprocessing_of
from pnag.run.published_choice import Candidate, tuning_data, tuning_settings
from pnag.run.run_directory import RunDirectory
from pnag.run.tuned_rows import Row, judged_before
from pnag.supernet.finetune import finetune, finetune_identity, judge, tuned_file
from pnag.supernet.loop import Step, steps_of
from pnag.supernet.plain_network import for_classes, solve_classifiers
from pnag.supernet.settings import FinetuneSettings
from pnag.supernet.weights import save_weights


@dataclass(frozen=True)
class Tuned:
    """A published network, fine-tuned.

    Attributes:
        network: as it runs. trained: as timm builds it. Both are in eval mode on the CPU.
    """

    candidate: Candidate
    data: ImageData
    network: nn.Module
    trained: nn.Module

    @property
    def pixels(self) -> int:
        """Height and width of its images."""
        return self.candidate.sized.pixels


@dataclass(frozen=True)
class _Job:
    candidate: Candidate
    data: ImageData
    settings: FinetuneSettings
    identity: str

    @property
    def steps(self) -> int:
        return steps_of(self.settings.fit, self.data)


def tune_published(run: ImageRun, chosen: Sequence[Candidate]) -> dict[str, Tuned]:
    """Fine-tune networks one after the other on this machine, and judge them on the test part.

    Returns:
        The networks by name.
    """
    if not chosen:
        run.run.published_judged.unlink(missing_ok=True)
        return {}
    jobs = [_job(run, candidate) for candidate in chosen]
    known, judged, tuned = judged_before(run.run), dict[str, Any](), dict[str, Tuned]()
    total, before = sum(job.steps for job in jobs), 0
    with run.display.bar("fine-tuning published networks") as bar:
        for job in jobs:
            name = job.candidate.name

            def show(step: Step, before: int = before, name: str = name) -> None:
                bar.update(before + step.done, total, f"{name}, loss {step.loss:.3f}")

            trained = finetune(
                _begun(run, job),
                job.data,
                job.settings,
                run.run.finetuned,
                identity=job.identity,
                seed=run.recipe.seed,
                accelerator=run.accelerator,
                watch=show,
                notice=run.notice,
            )
            judged[name] = _judge(run, job, trained, known.get(name, {}))
            trained.cpu()
            recipe = job.candidate.sized.network.recipe
            assert isinstance(recipe, Library)
            runs = recipe.as_it_runs(trained).eval()
            tuned[name] = Tuned(job.candidate, job.data, runs, trained)
            before += job.steps
            bar.update(before, total)
    write_json(run.run.published_judged, judged)
    return tuned


def _job(run: ImageRun, candidate: Candidate) -> _Job:
    data = tuning_data(run, candidate.sized)
    settings = tuning_settings(run, data, candidate.epochs)
    weights = candidate.sized.network.weights
    assert weights is not None
    identity = finetune_identity(
        file_fingerprint(weights.path), candidate.name, data, settings, run.recipe.seed,
        run.accelerator,
    )  # fmt: skip
    return _Job(candidate, data, settings, identity)


def _begun(run: ImageRun, job: _Job) -> nn.Module:
    """The published network, with a classifier for the images."""
    torch.manual_seed(run.recipe.seed)
    network = for_classes(load_trainable(job.candidate.sized.network), len(job.data.classes))
    if not tuned_file(run.run.finetuned, job.identity).exists():
        solve_classifiers(network, job.data, job.settings, run.accelerator)
    return network.to(run.accelerator.device)


def _judge(run: ImageRun, job: _Job, network: nn.Module, known: Row) -> Row:
    """Accuracy on the test part, and what the network is."""
    candidate = job.candidate
    about = {
        "key": candidate.sized.network.key,
        "resolution": candidate.sized.pixels,
        "budgets": list(candidate.budgets),
        "epochs": candidate.epochs,
        "params": sum(each.numel() for each in network.parameters()),
        "weights": job.identity,
    }
    if known.get("weights") == job.identity:
        return known | about
    return asdict(judge(network, job.data, "test", run.accelerator.device)) | about


def write_tuned(run: RunDirectory, tuned: Mapping[str, Tuned]) -> None:
    """Beside the exported networks: weights with timm's names, and what goes in and comes out."""
    for name, one in tuned.items():
        path = run.models / f"{name}.safetensors"
        save_weights(one.trained, path, name)
        write_json(run.models / f"{name}.preprocessing.json", preprocessing_of(one.data))
