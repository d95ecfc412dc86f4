"""The stages of a run on own images: decode, plan, train the supernet, collect, fine-tune."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from pnag.cost.latency_model import LatencyModel
from pnag.errors import PnagError
from pnag.files import file_fingerprint, fingerprint, read_json, write_json
from pnag.networks import load_checkpoint
from pnag.networks.supernet import LARGEST, Supernet
from pnag.pipeline.display import Display
from pnag.pipeline.recipe import ImagesRecipe, Recipe
from pnag.pipeline.run_directory import RunDirectory
from pnag.pipeline.size import Size
from pnag.pipeline.stages import model_name
from pnag.pipeline.tables import write_table
from pnag.pipeline.trained import Answer, save_gaussian_process
from pnag.search.gaussian_process import fit_gaussian_process
from pnag.search.rounds import ask_in_rounds
from pnag.space import SearchSpace, Tokens, sample_shared
from pnag.training.collect import collect
from pnag.training.finetune import finetune, finetune_identity, judge
from pnag.training.images import PARTS, ImageData, load_images
from pnag.training.loop import Step, to_device
from pnag.training.phases import PHASES
from pnag.training.plan import (
    AnswersPlan,
    SupernetPlan,
    evaluator_settings,
    plan_answers,
    plan_supernet,
    suited_batch,
)
from pnag.training.settings import FinetuneSettings, SupernetSettings
from pnag.training.subnets import SubnetEvaluator, fastest_precision
from pnag.training.supernet_training import Progress, epochs_of, train_supernet
from pnag.training.weights import save_weights

SPACE = SearchSpace()
LOOK_SHARE = 0.03  # of the training's time may go into looking at its accuracy
LOOK_IMAGES = 500
WORKER_BYTES = 4 << 30  # that a process which judges subnets may take


@dataclass(frozen=True)
class ImageRun:
    """What all stages of a run on images need."""

    run: RunDirectory
    recipe: Recipe
    images: ImagesRecipe
    data: ImageData
    accelerator: Accelerator
    display: Display

    def stage(
        self,
        name: str,
        inputs: Any,
        outputs: list[Path],
        work: Callable[[], object],
        *,
        shared: bool = False,
    ) -> None:
        """A stage as `RunDirectory.stage`, where there may be several processes.

        Args:
            shared: whether all of them do the work together, or the main one alone.
        """
        done = self.run.is_done(name, inputs, outputs)
        self.accelerator.wait_for_everyone()  # all have looked before one writes
        if self.accelerator.is_main_process:
            self.run.stage(name, inputs, outputs, work, self.display.reused)
        elif shared and not done:
            work()
        self.accelerator.wait_for_everyone()

    def supernet_settings(self, epochs: int) -> SupernetSettings:
        """The recipe's, for these images."""
        settings = self.recipe.supernet
        fit = suited_batch(settings.fit, self.data)
        return replace(settings, fit=replace(fit, epochs=epochs))

    def finetune_settings(self, epochs: int) -> FinetuneSettings:
        """The recipe's, for these images."""
        settings = self.recipe.finetune
        fit = suited_batch(settings.fit, self.data)
        return replace(settings, fit=replace(fit, epochs=epochs))


def make_accelerator(images: ImagesRecipe) -> Accelerator:
    """The GPU if there is one, and the other processes if there are."""
    cuda = torch.cuda.is_available()
    # On the CPU bfloat16 training took 2.2 times as long as float32 (AMD EPYC with avx512_bf16).
    precision = images.precision or (fastest_precision("cuda") if cuda else "float32")
    return Accelerator(
        cpu=not cuda,
        mixed_precision="bf16" if precision == "bfloat16" else "no",
        # others wait while the main process decodes and plans
        kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(hours=12))],
    )


def decode_images(display: Display, source: str, **options: Any) -> ImageData:
    """`load_images` with a bar."""
    with display.bar("decoding the images") as bar:
        data = load_images(source, **options, progress=bar.update)
        read = sum(len(data.part(part)) for part in PARTS)
        bar.update(read, read)  # of the cache nothing is told
    return data


def open_images(run: RunDirectory, recipe: Recipe, display: Display) -> ImageRun:
    """Decode the images, or take them from the cache.

    Raises:
        PnagError: for images that cannot be used, or a recipe without any.
    """
    images = recipe.images
    if images is None:
        raise PnagError("there are no images to train on; name them with --images")
    accelerator = make_accelerator(images)
    if not accelerator.is_main_process:
        display = Display(Console(quiet=True))
    with accelerator.main_process_first():
        data = decode_images(
            display,
            images.source,
            resolution=images.resolution,
            cache=images.cache or run.path / "images",
            classes=images.classes,
            seed=recipe.seed,
            on_corrupt=images.on_corrupt,
        )
    for note in data.notes:
        display.note(f"[yellow]note:[/yellow] {escape(note)}")
    pixels = data.preprocessing.resolution
    display.note(
        f"{len(data.classes)} classes at {pixels}x{pixels}: {len(data.train):,} images to train "
        f"on, {len(data.validation):,} to choose by, {len(data.test):,} to judge by"
    )
    return ImageRun(run, recipe, images, data, accelerator, display)


def plan_supernet_stage(run: ImageRun) -> SupernetPlan:
    """Decide once how large the supernet is, and say how long it will take."""
    width_mult = run.images.width_mult
    epochs = run.images.epochs or run.recipe.supernet.fit.epochs or None
    settings = run.supernet_settings(epochs or 0)
    inputs = {
        "data": run.data.identity,
        "minutes": run.images.minutes,
        "supernet": asdict(settings),
        "precision": run.accelerator.mixed_precision,
        "width_mult": width_mult,
        "epochs": epochs,
    }

    def work() -> None:
        plan = plan_supernet(
            run.data,
            settings,
            minutes=run.images.minutes,
            accelerator=run.accelerator,
            width_mult=width_mult,
            epochs=epochs,
        )
        write_json(run.run.supernet_plan, asdict(plan))

    run.stage("plan of the supernet", inputs, [run.run.supernet_plan], work)
    plan = SupernetPlan(**read_json(run.run.supernet_plan))
    epochs_of(run.supernet_settings(plan.epochs))  # too few are refused before any time is spent
    run.display.note(
        f"supernet of width {plan.width_mult:g}, {plan.epochs} epochs: about {plan.minutes:.3g} "
        "min [dim](--minutes, --width-mult, --epochs)[/dim]"
    )
    return plan


def plan_answers_stage(run: ImageRun, supernet: SupernetPlan) -> AnswersPlan:
    """Decide how many architectures to collect and how long to fine-tune."""
    images, rounds = run.images, run.recipe.rounds * run.recipe.per_round
    tuning = images.finetune_epochs or run.recipe.finetune.fit.epochs or None
    answers = len(run.recipe.budgets) or 5
    settings = run.finetune_settings(tuning or 0)
    inputs = {
        "data": run.data.identity,
        "minutes": images.minutes,
        "width_mult": supernet.width_mult,
        "finetune": asdict(settings),
        "precision": run.accelerator.mixed_precision,
        "answers": answers,
        "architectures": images.architectures,
        "finetune_epochs": tuning,
    }

    def work() -> None:
        plan = plan_answers(
            run.data,
            settings,
            supernet.width_mult,
            minutes=images.minutes,
            answers=answers,
            accelerator=run.accelerator,
            architectures=images.architectures,
            finetune_epochs=tuning,
        )
        write_json(run.run.answers_plan, asdict(plan))

    run.stage("plan of the answers", inputs, [run.run.answers_plan], work)
    plan = AnswersPlan(**read_json(run.run.answers_plan))
    if plan.architectures <= rounds:
        raise PnagError(
            f"{plan.architectures} architectures leave none to sample besides "
            f"{run.recipe.rounds} rounds of {run.recipe.per_round}; raise --architectures, or "
            "lower --rounds or --per-round"
        )
    run.display.note(
        f"{plan.architectures:,} architectures: about {plan.collecting_minutes:.3g} min; "
        f"{plan.finetune_epochs} epoch(s) of fine-tuning: about {plan.finetune_minutes:.3g} min; "
        "and some minutes to time this machine [dim](--architectures, --finetune-epochs)[/dim]"
    )
    return plan


def supernet_stage(run: ImageRun, plan: SupernetPlan) -> None:
    """Train all phases; the phases' own files make it resumable."""
    settings = run.supernet_settings(plan.epochs)
    main = run.accelerator.is_main_process
    inputs = {
        "data": run.data.identity,
        "supernet": asdict(settings),
        "width_mult": plan.width_mult,
        "precision": run.accelerator.mixed_precision,
        "seed": run.recipe.seed,
    }

    def work() -> None:
        with run.display.bar("training the supernet") as bar:
            watch = _Watch(run, inputs, bar.update) if main else None
            supernet = train_supernet(
                run.data,
                settings,
                run.run.supernet_phases,
                width_mult=plan.width_mult,
                seed=run.recipe.seed,
                accelerator=run.accelerator,
                watch=watch or (lambda progress: None),
            )
        if watch:
            watch.board.close()
            save_weights(supernet, run.run.supernet, fingerprint(inputs))

    outputs = [run.run.supernet, run.run.supernet_curve]
    run.stage("supernet", inputs, outputs, work, shared=True)


class _Watch:
    """Shows loss and accuracies while the supernet trains, and keeps them for the report."""

    def __init__(
        self, run: ImageRun, inputs: dict[str, Any], show: Callable[[int, int, str], None]
    ) -> None:
        self.run, self.show, self.file = run, show, run.run.supernet_curve
        self.identity = fingerprint(inputs)
        self.rows: list[dict[str, Any]] = []
        if self.file.exists():
            earlier = read_json(self.file)
            self.rows = earlier["rows"] if earlier["identity"] == self.identity else []
        self.board = SummaryWriter(str(run.run.path / "logs" / "tensorboard"))
        self.losses: list[float] = []
        self.looked = time.monotonic()
        self.look_seconds = 0.0
        self.accuracy = ""

    def __call__(self, progress: Progress) -> None:
        self.losses.append(progress.loss)
        text = f"{progress.phase.name} {self.accuracy} loss {progress.loss:.2f}"
        self.show(progress.done, progress.total, text)
        if not progress.ends_epoch:
            return
        row: dict[str, Any] = {
            "step": progress.done,
            "phase": progress.phase.name,
            "loss": float(np.mean(self.losses)),
        }
        self.losses = []
        since = time.monotonic() - self.looked
        if progress.done == progress.total or since * LOOK_SHARE >= self.look_seconds:
            started = time.monotonic()
            row |= top1_of_three(progress.supernet, self.run)
            self.looked = time.monotonic()
            self.look_seconds = self.looked - started
            self.accuracy = "top-1 {smallest:.0%}/{random:.0%}/{largest:.0%}".format(**row)
        # A run that was killed may tell an epoch twice.
        self.rows = [r for r in self.rows if r["step"] < progress.done] + [row]
        write_json(self.file, {"identity": self.identity, "rows": self.rows})
        for name, value in row.items():
            if isinstance(value, float):
                self.board.add_scalar(f"supernet/{name}", value, progress.done)


def top1_of_three(supernet: Supernet, run: ImageRun) -> dict[str, float]:
    """Top-1 of the smallest, the largest and the median of three random subnets, roughly."""
    archs = [PHASES["sandwich"][0].smallest, LARGEST]
    random = SPACE.sample(3, np.random.default_rng(0))
    settings = evaluator_settings(run.accelerator.device, LOOK_IMAGES)
    evaluator = SubnetEvaluator(supernet, run.data, settings)
    smallest, largest, *others = evaluator.accuracies(np.concatenate([SPACE.encode(archs), random]))
    return {
        "smallest": float(smallest),
        "largest": float(largest),
        "random": float(np.median(others)),
    }


def load_supernet(run: ImageRun) -> Supernet:
    """The run's trained supernet, on the accelerator's device."""
    supernet = load_checkpoint(run.run.supernet)
    to_device(supernet, run.accelerator.device)
    return supernet.eval()


def workers() -> int:
    """Processes that judge subnets: one for each CPU that has the memory, or one for a GPU."""
    if torch.cuda.is_available():
        return 1
    free = psutil.virtual_memory().available // WORKER_BYTES
    return int(max(1, min(torch.get_num_threads(), free)))


def collect_stage(run: ImageRun, plan: AnswersPlan, size: Size) -> None:
    """Judge sampled subnets, then, in rounds, the most promising ones; fit the predictor."""
    recipe, files = run.recipe, run.run
    settings = evaluator_settings(run.accelerator.device)
    what = {
        "supernet": file_fingerprint(files.supernet),
        "data": run.data.identity,
        "judged": asdict(settings),
    }
    rows_file = files.collected / f"{fingerprint(what)}.csv"
    inputs = {
        **what,
        "latency": file_fingerprint(files.latency_model),
        "architectures": plan.architectures,
        "rounds": [recipe.rounds, recipe.per_round],
        "seed": recipe.seed,
    }

    def work() -> None:
        supernet = load_supernet(run)
        cost = LatencyModel.load(files.latency_model)
        sampled = plan.architectures - recipe.rounds * recipe.per_round
        tokens = sample_shared(SPACE, sampled, np.random.default_rng(recipe.seed))

        def truth(wanted: Tokens, show: Callable[[int, int], None]) -> NDArray[np.float64]:
            rows = collect(
                supernet,
                run.data,
                wanted,
                rows_file,
                settings=settings,
                workers=workers(),
                progress=show,
            )
            accuracy: NDArray[np.float64] = rows["accuracy"].to_numpy()
            return accuracy

        with run.display.bar("judging subnets") as bar:
            accuracy = truth(tokens, bar.update)
        costs = cost.predict(tokens)
        if recipe.rounds:
            with run.display.bar("asking for the most promising") as bar:
                tokens, accuracy, costs = ask_in_rounds(
                    SPACE, tokens, accuracy, costs, cost.predict,
                    lambda wanted: (truth(wanted, lambda done, total: None), cost.predict(wanted)),
                    rounds=recipe.rounds, per_round=recipe.per_round, seed=recipe.seed,
                    progress=bar.update,
                )  # fmt: skip
        counts = size.count_batch(SPACE, tokens)
        table = {
            "arch": SPACE.text(tokens),
            "accuracy": accuracy,
            "cost": costs,
            "params": counts.params,
            "macs": counts.macs,
        }
        write_table(pd.DataFrame(table), files.table)
        process = fit_gaussian_process(SPACE, tokens, accuracy, seed=recipe.seed)
        save_gaussian_process(process, files.accuracy_predictor)

    run.stage("collecting", inputs, [files.table, files.accuracy_predictor], work)


def finetune_stage(run: ImageRun, plan: AnswersPlan, answers: list[Answer]) -> dict[str, nn.Module]:
    """Fine-tune the answers' networks, judge them on the test part.

    Returns:
        The networks, on the CPU, by architecture.
    """
    files, settings = run.run, run.finetune_settings(plan.finetune_epochs)
    supernet = load_supernet(run)
    archs = list(dict.fromkeys(a.arch for a in answers))
    known = read_json(files.judged) if files.judged.exists() else {}
    networks: dict[str, nn.Module] = {}
    judged: dict[str, Any] = {}
    with run.display.bar("fine-tuning") as bar:
        for number, arch in enumerate(archs):

            def watch(step: Step, number: int = number) -> None:
                text = f"network {number + 1} of {len(archs)}, loss {step.loss:.3f}"
                bar.update(number * step.total + step.done, len(archs) * step.total, text)

            identity = finetune_identity(
                file_fingerprint(files.supernet),
                arch,
                run.data,
                settings,
                run.recipe.seed,
                run.accelerator,
            )
            network = finetune(
                supernet,
                arch,
                run.data,
                settings,
                files.finetuned,
                identity=identity,
                seed=run.recipe.seed,
                accelerator=run.accelerator,
                watch=watch,
            )
            if known.get(arch, {}).get("weights") == identity:
                judged[arch] = known[arch]
            else:
                found = judge(network, run.data, "test", run.accelerator.device)
                judged[arch] = asdict(found) | {"weights": identity}
            networks[arch] = network.cpu()
        bar.update(len(archs), len(archs))
    write_json(files.judged, judged)
    return networks


def write_weights(run: ImageRun, answers: list[Answer], networks: dict[str, nn.Module]) -> None:
    """Beside the exported networks: their weights for timm, and what goes in and comes out."""
    for a in answers:
        path = run.run.models / f"{model_name(a)}.safetensors"
        save_weights(networks[a.arch], path, fingerprint(a.arch))
    how = asdict(run.data.preprocessing) | {"channels": "RGB", "layout": "NCHW"}
    write_json(run.run.models / "preprocessing.json", how | {"classes": run.data.classes})
