"""The stages of a run on own images: decode, plan, train the supernet, collect, fine-tune."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from torch.utils.tensorboard import SummaryWriter

from pnag.cost.latency_model import LatencyModel
from pnag.errors import PnagError
from pnag.families.checkpoints import load_checkpoint
from pnag.families.elastic_network import ElasticNetwork
from pnag.families.registry import family
from pnag.files import file_fingerprint, fingerprint, read_json, write_json
from pnag.pipeline.decoded_images import decode_images, tell_images
from pnag.pipeline.display import Display
from pnag.pipeline.finished_supernet import (
    Asked,
    finished_plan,
    kept_precision,
    load_plan,
    refuse_another_training,
    save_plan,
)
from pnag.pipeline.own_labels import accuracy_error, as_json, tell_errors
from pnag.pipeline.preprocessing import preprocessing_of
from pnag.pipeline.recipe import ImagesRecipe, Recipe
from pnag.pipeline.run_directory import RunDirectory
from pnag.pipeline.size import Size
from pnag.pipeline.size_stage import size_stage
from pnag.pipeline.stages import DEFAULT_BUDGETS
from pnag.pipeline.start import Start, find_start
from pnag.pipeline.suited_size import SuitedSize
from pnag.pipeline.tables import architecture_table, write_table
from pnag.pipeline.trained import save_gaussian_process
from pnag.search.gaussian_process import fit_gaussian_process
from pnag.search.rounds import ask_in_rounds
from pnag.space import BaseArchitecture, Tokens, sample_shared
from pnag.training.batches import steps_per_epoch
from pnag.training.collect import collect
from pnag.training.images import ImageData, load_images
from pnag.training.joined import with_validation
from pnag.training.loop import to_device
from pnag.training.phases import PHASES
from pnag.training.plan import (
    SHARES,
    VALIDATION,
    CollectingPlan,
    FinetuningPlan,
    SupernetPlan,
    evaluator_settings,
    plan_collecting,
    plan_finetuning,
    plan_supernet,
    suited_batch,
    with_batch,
)
from pnag.training.precision import MIXED, training_precision
from pnag.training.processes import from_main
from pnag.training.settings import (
    ADAPTING,
    ADAPTING_ONE,
    FinetuneFit,
    FinetuneSettings,
    FitSettings,
    Precision,
    SupernetSettings,
)
from pnag.training.subnets import make_evaluator
from pnag.training.supernet_training import Progress, epochs_of, train_supernet
from pnag.training.trained_on import TrainedOn
from pnag.training.weights import save_described
from pnag.training.workers import suited_workers

LOOK_SHARE = 0.03  # of the training's time may go into looking at its accuracy
LOOK_IMAGES = 500


@dataclass(frozen=True)
class ImageRun:
    """What all stages of a run on images need.

    Attributes:
        ray_address: of a cluster that judges subnets and fine-tunes answers, if there is one.
    """

    run: RunDirectory
    recipe: Recipe
    images: ImagesRecipe
    start: Start
    data: ImageData
    accelerator: Accelerator
    display: Display
    suited: SuitedSize | None = None  # to the budgets
    ray_address: str | None = None

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
        # The main process looks for all, before it writes: their disks may be others.
        done = from_main(self.accelerator, lambda: self.run.is_done(name, inputs, outputs))
        if self.accelerator.is_main_process:
            self.run.stage(name, inputs, outputs, work, self.display.reused)
        elif shared and not done:
            work()
        self.accelerator.wait_for_everyone()

    def notice(self, text: str) -> None:
        """Say what a user should know."""
        self.display.note(f"[yellow]note:[/yellow] {escape(text)}")

    @property
    def settings(self) -> SupernetSettings:
        """The recipe's for the supernet; from trained weights it is adapted."""
        settings = self.recipe.supernet
        if self.start.weights is None or settings.method == "progressive":
            return settings
        fit = ADAPTING if settings.fit == FitSettings() else settings.fit
        return replace(settings, method="transfer", fit=fit)

    @property
    def tuning(self) -> FinetuneSettings:
        """The recipe's for fine-tuning, likewise."""
        settings = self.recipe.finetune
        if self.start.weights is None or settings.fit != FinetuneFit():
            return settings
        return replace(settings, fit=ADAPTING_ONE)

    @property
    def cache(self) -> Path:
        """Folder of decoded images."""
        return self.images.cache or self.run.path / "images"

    def tuning_data_of(self, arch: str) -> ImageData:
        """What an answer is fine-tuned on: all but the test images."""
        return with_validation(self.data_of(arch), self.cache)

    def data_of(self, arch: str) -> ImageData:
        """The images at the resolution that an architecture chooses."""
        pixels = BaseArchitecture.parse(arch).resolution
        if pixels in (0, self.data.preprocessing.resolution):
            return self.data
        data = load_images(
            self.images.source,
            resolution=pixels,
            cache=self.cache,
            classes=self.images.classes,
            seed=self.recipe.seed,
            on_corrupt=self.images.on_corrupt,
            max_megapixels=self.images.max_megapixels,
        )
        return self.start.normalise(data)

    def supernet_settings(self, plan: SupernetPlan) -> SupernetSettings:
        """The recipe's, with what was planned."""
        settings = self.settings
        fit = with_batch(settings.fit, plan.batch_size)
        return replace(settings, fit=replace(fit, epochs=plan.epochs))

    def finetune_settings(self, plan: FinetuningPlan) -> FinetuneSettings:
        """The recipe's, for these images, with what was planned."""
        settings = self.tuning
        fit = suited_batch(settings.fit, self.data, device=self.accelerator.device)
        return replace(settings, fit=replace(fit, epochs=plan.epochs))


def make_accelerator(images: ImagesRecipe, kept: Precision | None = None) -> Accelerator:
    """The GPU if there is one, and the other processes if there are.

    Args:
        kept: the precision that the run was begun with, perhaps on another machine.

    Raises:
        PnagError: if this machine cannot train in that precision.
    """
    cuda = torch.cuda.is_available()
    precision = images.precision or kept or training_precision("cuda" if cuda else "cpu")
    if precision == "float16" and not cuda:
        raise PnagError(
            "training in float16 needs an NVIDIA GPU, and torch finds none; choose float32 or "
            "bfloat16 with images.precision in a --recipe"
        )
    return Accelerator(
        cpu=not cuda,
        mixed_precision=MIXED[precision],
        # others wait while the main process decodes and plans
        kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(hours=12))],
    )


def open_images(
    run: RunDirectory, recipe: Recipe, display: Display, ray_address: str | None = None
) -> ImageRun:
    """Decode the images, or take them from the cache.

    Raises:
        PnagError: for images that cannot be used, or a recipe without any.
    """
    images = recipe.images
    if images is None:
        raise PnagError("there are no images to train on; name them with --images")
    accelerator = make_accelerator(images, kept_precision(run.supernet, run.supernet_plan))
    if not accelerator.is_main_process:
        display = Display(Console(quiet=True))
    cache = images.cache or run.path / "images"
    start = from_main(accelerator, lambda: _start(run, images, display))
    suited = size_stage(run, recipe, images, start, cache, accelerator, display)
    with accelerator.local_main_process_first():  # each machine of a cluster has its own cache
        data = decode_images(
            display,
            images.source,
            resolution=images.resolution or (suited.resolution if suited else None),
            cache=cache,
            classes=images.classes,
            seed=recipe.seed,
            on_corrupt=images.on_corrupt,
            max_megapixels=images.max_megapixels,
        )
    tell_images(display, data)
    data = start.normalise(data)
    return ImageRun(run, recipe, images, start, data, accelerator, display, suited, ray_address)


def _start(run: RunDirectory, images: ImagesRecipe, display: Display) -> Start:
    """What the supernet starts from; of one that is trained its weights are not needed again."""
    return find_start(images, lambda text: display.note(f"[yellow]note:[/yellow] {escape(text)}"))


def _asked(run: ImageRun) -> Asked:
    images, settings = run.images, run.settings
    epochs = images.epochs or settings.fit.epochs or None
    return Asked(
        images=run.data.identity,
        supernet=replace(settings, fit=replace(settings.fit, epochs=0)).identity(),
        seed=run.recipe.seed,
        minutes=images.minutes,
        start=run.start.identity,
        family=images.family,
        width_mult=images.width_mult,
        epochs=epochs,
        precision=images.precision,
    )


def _about_supernet(run: ImageRun, plan: SupernetPlan) -> dict[str, Any]:
    """What the supernet's file says: what for and how it was made, on what, and what goes in."""
    images, seed = run.images, run.recipe.seed
    return {
        "asked": asdict(_asked(run)),
        "family": plan.family,
        "num_classes": len(run.data.classes),
        "plan": asdict(plan),
        "preprocessing": preprocessing_of(run.data),
        "trained_on": asdict(
            TrainedOn.of(run.data, images.classes, seed, images.on_corrupt, images.max_megapixels)
        ),
    }


def plan_supernet_stage(run: ImageRun) -> SupernetPlan:
    """Decide once how large the supernet is, and say how long it will take.

    Raises:
        PnagError: if the run has a supernet, trained or begun, that was asked for differently, the
            plan's batch does not suit the processes, or the memory or the epochs do not suffice.
    """
    asked, processes = _asked(run), run.accelerator.num_processes
    settings = run.settings
    names = run.suited.families if run.suited else run.start.families

    def look() -> SupernetPlan | None:
        finished = finished_plan(run.run.supernet, asked)
        if finished is None:
            refuse_another_training(run.run.supernet_phases, run.run.supernet_plan, asked)
        return finished

    finished = from_main(run.accelerator, look)

    def work() -> None:
        plan = finished or plan_supernet(
            run.data,
            settings,
            minutes=asked.minutes,
            accelerator=run.accelerator,
            families=[family(name) for name in names],
            epochs=asked.epochs,
        )
        save_plan(run.run.supernet_plan, asked, plan)

    # Without what the machine or the processes decide: a run goes on elsewhere as it was begun.
    inputs = asdict(asked) | {"families": names}
    run.stage("plan of the supernet", inputs, [run.run.supernet_plan], work)
    plan = from_main(run.accelerator, lambda: load_plan(run.run.supernet_plan))
    if plan.batch_size % (2 * processes) and not finished:
        raise PnagError(
            f"the supernet was planned with batches of {plan.batch_size}, which {processes} "
            f"processes cannot share in pairs; start another number, or delete "
            f"{run.run.supernet_plan} to plan anew"
        )
    epochs_of(run.supernet_settings(plan))  # too few are refused before any time is spent
    run.display.note(
        f"supernet of {family(plan.family).label}, {plan.epochs} epochs in batches of "
        f"{plan.batch_size}, {plan.precision}: about {plan.minutes:.3g} "
        "min [dim](--minutes, --width-mult, --epochs)[/dim]"
    )
    if run.suited and not finished and plan.minutes > 1.1 * SHARES["supernet"] * asked.minutes:
        run.display.note(
            "[yellow]note:[/yellow] no narrower supernet reaches the budgets, and training this "
            f"one takes longer than --minutes {asked.minutes:g} allows: give more, or smaller "
            "--budgets"
        )
    return plan


def plan_collecting_stage(run: ImageRun, supernet: SupernetPlan) -> CollectingPlan:
    """Decide once how many architectures to collect.

    Raises:
        PnagError: if that leaves none besides those of the rounds.
    """
    images, rounds = run.images, run.recipe.rounds * run.recipe.per_round
    inputs = {
        "data": run.data.identity,
        "minutes": images.minutes,
        "family": supernet.family,
        "precision": images.precision,
        "architectures": images.architectures,
        "images": VALIDATION,
    }

    def work() -> None:
        plan = plan_collecting(
            run.data,
            family(supernet.family),
            minutes=images.minutes,
            device=run.accelerator.device,
            precision=images.precision,
            architectures=images.architectures,
        )
        write_json(run.run.collecting_plan, asdict(plan))

    run.stage("plan of the collecting", inputs, [run.run.collecting_plan], work)
    plan = CollectingPlan(**read_json(run.run.collecting_plan))
    if plan.architectures <= rounds:
        raise PnagError(
            f"{plan.architectures} architectures leave none to sample besides "
            f"{run.recipe.rounds} rounds of {run.recipe.per_round}; raise --architectures, or "
            "lower --rounds or --per-round"
        )
    run.display.note(
        f"{plan.architectures:,} architectures, judged in {plan.precision}: about "
        f"{plan.minutes:.3g} min, and some to time this machine [dim](--architectures)[/dim]"
    )
    return plan


def plan_finetuning_stage(run: ImageRun, supernet: SupernetPlan) -> FinetuningPlan:
    """Decide once how long to fine-tune an answer.

    The number of answers counts the first time only: later budgets leave the epochs what they are,
    and with them the networks that are fine-tuned already.
    """
    images, settings = run.images, run.tuning
    tuning = images.finetune_epochs or settings.fit.epochs or None
    fit = suited_batch(settings.fit, run.data, device=run.accelerator.device)
    settings = replace(settings, fit=fit)
    answers = len(run.recipe.budgets) or DEFAULT_BUDGETS
    inputs = {
        "data": run.data.identity,
        "minutes": images.minutes,
        "family": supernet.family,
        "finetune": asdict(settings),
        "precision": run.accelerator.mixed_precision,
        "finetune_epochs": tuning,
    }

    def work() -> None:
        plan = plan_finetuning(
            run.data,
            settings,
            family(supernet.family),
            minutes=images.minutes,
            answers=answers,
            accelerator=run.accelerator,
            epochs=tuning,
        )
        write_json(run.run.finetuning_plan, asdict(plan))

    run.stage("plan of the fine-tuning", inputs, [run.run.finetuning_plan], work)
    plan = FinetuningPlan(**read_json(run.run.finetuning_plan))
    run.display.note(
        f"{plan.epochs} epoch(s) of fine-tuning for {answers} answer(s): about "
        f"{answers * plan.minutes:.3g} min [dim](--finetune-epochs)[/dim]"
    )
    return plan


def supernet_stage(run: ImageRun, plan: SupernetPlan) -> None:
    """Train all phases; the phases' own files make it resumable."""
    settings = run.supernet_settings(plan)
    main, asked = run.accelerator.is_main_process, _asked(run)
    inputs = {
        "data": run.data.identity,
        "supernet": settings.identity(),
        "family": plan.family,
        "precision": plan.precision,
        "seed": run.recipe.seed,
        "start": run.start.identity,
    }

    def work() -> None:
        with run.display.bar("training the supernet") as bar:
            watch = _Watch(run, inputs, bar.update) if main else None
            # There though the stage is to be done where its record or its curve was removed.
            finished = from_main(
                run.accelerator, lambda: finished_plan(run.run.supernet, asked) is not None
            )
            if finished and main:
                supernet = trained_supernet(run)
            elif not finished:
                supernet = train_supernet(
                    run.data,
                    settings,
                    run.run.supernet_phases,
                    family=family(plan.family),
                    start=run.start.weights,
                    start_identity=run.start.identity,
                    seed=run.recipe.seed,
                    accelerator=run.accelerator,
                    watch=watch or (lambda progress: None),
                    notice=run.notice,
                )
        if watch:
            steps = plan.epochs * steps_per_epoch(run.data, plan.batch_size)
            watch.finish(supernet, steps, PHASES[settings.method][-1].name)
            if not finished:
                save_described(supernet, run.run.supernet, _about_supernet(run, plan))

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
        self._write()  # also where all is trained and no step will be told

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
        self._add(row)  # before the accuracies: a stop while they are found then loses less
        since = time.monotonic() - self.looked
        if progress.done == progress.total or since * LOOK_SHARE >= self.look_seconds:
            self._look(row, progress.supernet)

    def finish(self, supernet: ElasticNetwork, step: int, phase: str) -> None:
        """Add what the last row lacks: a stop came before it, or someone has removed the file."""
        last = self.rows[-1] if self.rows else {"step": 0}
        if last["step"] < step or "largest" not in last:
            row = last if last["step"] == step else {"step": step, "phase": phase}
            self._look(row, supernet)
        self.board.close()

    def _look(self, row: dict[str, Any], supernet: ElasticNetwork) -> None:
        started = time.monotonic()
        found = top1_of_three(supernet, self.run)
        self._add(row | found)
        self.looked = time.monotonic()
        self.look_seconds = self.looked - started
        self.accuracy = "top-1 {smallest:.0%}/{random:.0%}/{largest:.0%}".format(**found)

    def _add(self, row: dict[str, Any]) -> None:
        # A run that was killed may tell an epoch twice.
        self.rows = [r for r in self.rows if r["step"] < row["step"]] + [row]
        self._write()
        for name, value in row.items():
            if isinstance(value, float):
                self.board.add_scalar(f"supernet/{name}", value, row["step"])

    def _write(self) -> None:
        write_json(self.file, {"identity": self.identity, "rows": self.rows})


def top1_of_three(supernet: ElasticNetwork, run: ImageRun) -> dict[str, float]:
    """Top-1 of the smallest, the largest and the median of three random subnets, roughly."""
    space = supernet.family.space
    archs = [supernet.family.smallest, supernet.family.largest]
    random = space.sample(3, np.random.default_rng(0))
    settings = evaluator_settings(run.accelerator.device, LOOK_IMAGES, run.images.precision)
    evaluator = make_evaluator(supernet, run.data, settings)
    smallest, largest, *others = evaluator.accuracies(np.concatenate([space.encode(archs), random]))
    return {
        "smallest": float(smallest),
        "largest": float(largest),
        "random": float(np.median(others)),
    }


def trained_supernet(run: ImageRun) -> ElasticNetwork:
    """The run's trained supernet, on the accelerator's device."""
    supernet = load_checkpoint(run.run.supernet)
    to_device(supernet, run.accelerator.device)
    return supernet.eval()


def collect_stage(run: ImageRun, plan: CollectingPlan, size: Size) -> None:
    """Judge sampled subnets, then, in rounds, the most promising ones; fit the predictor."""
    recipe, files = run.recipe, run.run
    settings = evaluator_settings(run.accelerator.device, precision=plan.precision)
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
        "shared": run.images.shared,
        "rounds": [recipe.rounds, recipe.per_round],
        "seed": recipe.seed,
    }

    def work() -> None:
        supernet = trained_supernet(run)
        cost = LatencyModel.load(files.latency_model)
        sampled = plan.architectures - recipe.rounds * recipe.per_round
        rng, space = np.random.default_rng(recipe.seed), size.of.space
        tokens = sample_shared(space, sampled, rng, shared=run.images.shared)

        def truth(wanted: Tokens, show: Callable[[int, int], None]) -> NDArray[np.float64]:
            rows = collect(
                supernet,
                run.data,
                wanted,
                rows_file,
                settings=settings,
                workers=None if run.ray_address else suited_workers(supernet, run.data, settings),
                ray_address=run.ray_address,
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
                    space, tokens, accuracy, costs, cost.predict,
                    lambda wanted: (truth(wanted, lambda done, total: None), cost.predict(wanted)),
                    rounds=recipe.rounds, per_round=recipe.per_round, seed=recipe.seed,
                    progress=bar.update,
                )  # fmt: skip
        write_table(architecture_table(tokens, accuracy, costs, size), files.table)
        process = fit_gaussian_process(space, tokens, accuracy, seed=recipe.seed)
        save_gaussian_process(process, files.accuracy_predictor)
        errors = {"accuracy": accuracy_error(process, accuracy, recipe.seed)}
        write_json(files.prediction_errors, as_json(errors))

    outputs = [files.table, files.accuracy_predictor, files.prediction_errors]
    run.stage("collecting", inputs, outputs, work)
    tell_errors(
        read_json(files.prediction_errors),
        {"accuracy": "top-1"},
        run.display,
        "give more --minutes or judge more --architectures",
    )
