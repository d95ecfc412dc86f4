"""The stages of a run on own images: decode, plan, train the supernet, collect, fine-tune."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
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
from pnag.space import SearchSpace, Tokens
from pnag.space.sharing import sample_shared
from pnag.training.collect import collect
from pnag.training.finetune import finetune, judge
from pnag.training.images import PARTS, ImageData, load_images
from pnag.training.loop import Step, to_device
from pnag.training.phases import PHASES
from pnag.training.plan import Plan, evaluator_settings, make_plan
from pnag.training.settings import FinetuneSettings, SupernetSettings
from pnag.training.subnets import SubnetEvaluator
from pnag.training.supernet_training import Progress, train_supernet
from pnag.training.weights import save_weights

SPACE = SearchSpace()
LOOK_SHARE = 0.03  # of the training's time may go into looking at its accuracy
LOOK_IMAGES = 500


def workers() -> int:
    """Processes that judge subnets: one for each CPU, or one where a GPU does the work."""
    return 1 if torch.cuda.is_available() else torch.get_num_threads()


def make_accelerator(images: ImagesRecipe) -> Accelerator:
    """The GPU if there is one, and the other processes if there are."""
    # On the CPU bfloat16 training took 2.2 times as long as float32 (AMD EPYC with avx512_bf16).
    precision = images.precision or ("bfloat16" if torch.cuda.is_available() else "float32")
    return Accelerator(mixed_precision="bf16" if precision == "bfloat16" else "no")


def images_stage(run: RunDirectory, images: ImagesRecipe, seed: int, display: Display) -> ImageData:
    """Decode the images, or take them from the cache."""
    with display.bar("decoding the images") as bar:
        data = load_images(
            images.source,
            resolution=images.resolution,
            cache=images.cache or run.path / "images",
            classes=images.classes,
            seed=seed,
            on_corrupt=images.on_corrupt,
            progress=bar.update,
        )
        images_read = sum(len(data.part(part)) for part in PARTS)
        bar.update(images_read, images_read)  # of the cache nothing is told
    for note in data.notes:
        display.note(f"[yellow]note:[/yellow] {escape(note)}")
    if data.skipped:
        display.note(
            f"[yellow]note:[/yellow] {len(data.skipped)} image(s) left out that cannot be read, "
            f"the first: {escape(data.skipped[0])}"
        )
    pixels = data.preprocessing.resolution
    display.note(
        f"{len(data.classes)} classes at {pixels}x{pixels}: {len(data.train):,} images to train "
        f"on, {len(data.validation):,} to choose by, {len(data.test):,} to judge by"
    )
    return data


def plan_stage(
    run: RunDirectory,
    recipe: Recipe,
    images: ImagesRecipe,
    data: ImageData,
    accelerator: Accelerator,
    display: Display,
) -> Plan:
    """Decide once how large everything is, and say how long it will take."""
    decided: dict[str, Any] = {
        "width_mult": images.width_mult,
        "epochs": images.epochs,
        "architectures": images.architectures,
        "finetune_epochs": images.finetune_epochs,
    }
    inputs = {
        "data": data.identity,
        "minutes": images.minutes,
        "supernet": asdict(recipe.supernet),
        "finetune": asdict(recipe.finetune),
        **decided,
    }

    def work() -> None:
        plan = make_plan(
            data,
            recipe.supernet,
            recipe.finetune,
            minutes=images.minutes,
            answers=len(recipe.budgets) or 5,
            accelerator=accelerator,
            **decided,
        )
        write_json(run.plan, asdict(plan))

    run.stage("plan", inputs, [run.plan], work, display.reused)
    plan = Plan(**read_json(run.plan))
    expected = ", ".join(f"{name} {value:g} min" for name, value in plan.minutes.items())
    display.note(
        f"supernet of width {plan.width_mult:g} for {plan.epochs} epochs, {plan.architectures:,} "
        f"architectures, {plan.finetune_epochs} epochs of fine-tuning; expected: {expected}, "
        "besides timing this machine [dim](change with --minutes, --width-mult, --epochs, "
        "--architectures, --finetune-epochs)[/dim]"
    )
    return plan


def planned_supernet(recipe: Recipe, plan: Plan) -> SupernetSettings:
    """The recipe's supernet at the plan's size."""
    fit = replace(recipe.supernet.fit, epochs=plan.epochs)
    return replace(recipe.supernet, width_mult=plan.width_mult, fit=fit)


def planned_finetuning(recipe: Recipe, plan: Plan) -> FinetuneSettings:
    """The recipe's fine-tuning at the plan's length."""
    fit = replace(recipe.finetune.fit, epochs=plan.finetune_epochs)
    return replace(recipe.finetune, fit=fit)


def supernet_stage(
    run: RunDirectory,
    recipe: Recipe,
    data: ImageData,
    plan: Plan,
    accelerator: Accelerator,
    display: Display,
) -> None:
    """Train all phases; the phases' own files make it resumable."""
    settings = planned_supernet(recipe, plan)
    inputs = {"data": data.identity, "supernet": asdict(settings), "seed": recipe.seed}

    def work() -> None:
        with display.bar("training the supernet") as bar:
            watch = _Watch(run, data, inputs, bar.update)
            supernet = train_supernet(
                data,
                settings,
                run.supernet_phases,
                seed=recipe.seed,
                accelerator=accelerator,
                watch=watch,
            )
            watch.close()
        if accelerator.is_main_process:
            save_weights(supernet, run.supernet, fingerprint(inputs))

    run.stage("supernet", inputs, [run.supernet], work, display.reused)


class _Watch:
    """Shows loss and accuracies while the supernet trains, and keeps them for the report."""

    def __init__(
        self,
        run: RunDirectory,
        data: ImageData,
        inputs: dict[str, Any],
        show: Callable[[int, int, str], None],
    ) -> None:
        self.file, self.data, self.show = run.supernet_curve, data, show
        self.identity = fingerprint(inputs)
        self.rows: list[dict[str, Any]] = []
        if self.file.exists():
            earlier = read_json(self.file)
            self.rows = earlier["rows"] if earlier["identity"] == self.identity else []
        self.board = SummaryWriter(str(run.path / "logs" / "tensorboard"))
        self.looked = time.monotonic()
        self.look_seconds = 0.0
        self.accuracy = ""

    def __call__(self, progress: Progress) -> None:
        text = f"{progress.phase.name} {self.accuracy} loss {progress.loss:.3f}"
        self.show(progress.done, progress.total, text)
        if not progress.ends_epoch:
            return
        row: dict[str, Any] = {
            "step": progress.done,
            "phase": progress.phase.name,
            "loss": progress.loss,
        }
        since = time.monotonic() - self.looked
        if progress.done == progress.total or since * LOOK_SHARE >= self.look_seconds:
            started = time.monotonic()
            row |= top1_of_three(progress.supernet, self.data)
            self.looked = time.monotonic()
            self.look_seconds = self.looked - started
            self.accuracy = "top-1 {smallest:.0%}/{random:.0%}/{largest:.0%}".format(**row)
        # A run that was killed may tell an epoch twice.
        self.rows = [r for r in self.rows if r["step"] < progress.done] + [row]
        write_json(self.file, {"identity": self.identity, "rows": self.rows})
        for name, value in row.items():
            if isinstance(value, float):
                self.board.add_scalar(f"supernet/{name}", value, progress.done)

    def close(self) -> None:
        self.board.close()


def top1_of_three(supernet: Supernet, data: ImageData) -> dict[str, float]:
    """Top-1 of the smallest, the largest and the median of three random subnets, roughly."""
    archs = [PHASES["sandwich"][0].smallest, LARGEST]
    random = SPACE.sample(3, np.random.default_rng(0))
    evaluator = SubnetEvaluator(supernet, data, evaluator_settings(data, LOOK_IMAGES))
    smallest, largest, *others = evaluator.accuracies(np.concatenate([SPACE.encode(archs), random]))
    return {
        "smallest": float(smallest),
        "largest": float(largest),
        "random": float(np.median(others)),
    }


def load_supernet(run: RunDirectory, accelerator: Accelerator) -> Supernet:
    """The run's trained supernet, on the accelerator's device."""
    supernet = load_checkpoint(run.supernet)
    to_device(supernet, accelerator)
    return supernet.eval()


def collect_stage(
    run: RunDirectory,
    recipe: Recipe,
    data: ImageData,
    plan: Plan,
    size: Size,
    accelerator: Accelerator,
    display: Display,
) -> None:
    """Judge sampled subnets, then, in rounds, the most promising ones; fit the predictor."""
    asked = recipe.rounds * recipe.per_round
    if plan.architectures <= asked:
        raise PnagError(
            f"{plan.architectures} architectures do not leave any to sample besides "
            f"{recipe.rounds} rounds of {recipe.per_round}; raise --architectures or lower --rounds"
        )
    settings = evaluator_settings(data)
    what = {
        "supernet": file_fingerprint(run.supernet),
        "data": data.identity,
        "judged": asdict(settings),
    }
    judged = fingerprint(what)
    inputs = {
        **what,
        "latency": file_fingerprint(run.latency_model),
        "architectures": plan.architectures,
        "rounds": [recipe.rounds, recipe.per_round],
        "seed": recipe.seed,
    }

    def work() -> None:
        supernet = load_supernet(run, accelerator)
        cost = LatencyModel.load(run.latency_model)
        tokens = sample_shared(
            SPACE, plan.architectures - asked, np.random.default_rng(recipe.seed)
        )

        def truth(wanted: Tokens, show: Callable[[int, int], None]) -> NDArray[np.float64]:
            file = run.collected / f"{judged}.csv"
            rows = collect(
                supernet, data, wanted, file, settings=settings, workers=workers(), progress=show
            )
            accuracy: NDArray[np.float64] = rows["accuracy"].to_numpy()
            return accuracy

        with display.bar("judging subnets") as bar:
            accuracy = truth(tokens, bar.update)
        costs = cost.predict(tokens)
        if recipe.rounds:
            with display.bar("asking for the most promising") as bar:
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
        write_table(pd.DataFrame(table), run.table)
        process = fit_gaussian_process(SPACE, tokens, accuracy, seed=recipe.seed)
        save_gaussian_process(process, run.accuracy_predictor)

    outputs = [run.table, run.accuracy_predictor]
    run.stage("collecting", inputs, outputs, work, display.reused)


def write_weights(
    run: RunDirectory, data: ImageData, answers: list[Answer], networks: dict[str, nn.Module]
) -> None:
    """Beside the exported networks: their weights for timm, and what goes in and comes out."""
    for a in answers:
        path = run.models / f"{model_name(a)}.safetensors"
        save_weights(networks[a.arch], path, fingerprint(a.arch))
    how = asdict(data.preprocessing) | {"channels": "RGB", "layout": "NCHW"}
    write_json(run.models / "preprocessing.json", how | {"classes": data.classes})


def finetune_stage(
    run: RunDirectory,
    recipe: Recipe,
    data: ImageData,
    plan: Plan,
    answers: list[Answer],
    accelerator: Accelerator,
    display: Display,
) -> dict[str, nn.Module]:
    """Fine-tune the answers' networks, judge them on the test part.

    Returns:
        The networks, on the CPU, by architecture.
    """
    settings = planned_finetuning(recipe, plan)
    supernet = load_supernet(run, accelerator)
    identity = file_fingerprint(run.supernet)
    archs = list(dict.fromkeys(a.arch for a in answers))
    networks: dict[str, nn.Module] = {}
    judged: dict[str, Any] = {}
    with display.bar("fine-tuning") as bar:
        for number, arch in enumerate(archs):

            def watch(step: Step, number: int = number) -> None:
                text = f"network {number + 1} of {len(archs)}, loss {step.loss:.3f}"
                bar.update(number * step.total + step.done, len(archs) * step.total, text)

            network = finetune(
                supernet,
                arch,
                data,
                settings,
                run.finetuned,
                supernet_identity=identity,
                seed=recipe.seed,
                accelerator=accelerator,
                watch=watch,
            )
            judged[arch] = asdict(judge(network, data, "test", accelerator.device))
            networks[arch] = network.cpu()
        bar.update(len(archs), len(archs))
    write_json(run.judged, judged)
    return networks
