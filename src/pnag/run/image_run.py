"""What all stages of a run on own images need: opened images, accelerator, settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs
from rich.console import Console

from pnag.errors import PnagError
from pnag.images.images import ImageData, load_images
from pnag.images.joined import with_validation
from pnag.run.decoded_images import decode_images, tell_images
from pnag.run.display import Display
from pnag.run.finished_supernet import begun_from_scratch, kept_precision
from pnag.run.recipe import ImagesRecipe, Recipe
from pnag.run.run_directory import RunDirectory
from pnag.run.size_stage import size_stage
from pnag.run.start import SCRATCH, Start, find_start
from pnag.run.suited_size import SuitedSize
from pnag.space import BaseArchitecture
from pnag.supernet.plan import (
    SupernetPlan,
    suited_batch,
    with_batch,
)
from pnag.supernet.precision import MIXED, training_precision
from pnag.supernet.processes import from_main
from pnag.supernet.settings import (
    ADAPTING,
    ADAPTING_ONE,
    Begun,
    FinetuneSettings,
    Precision,
    SupernetSettings,
    adapted,
    suited_to,
)


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
    ) -> None:
        """A stage as `RunDirectory.stage`, of whose processes the main one does the work."""
        if self.accelerator.is_main_process:
            self.run.stage(name, inputs, outputs, work, self.display.reused)
        self.accelerator.wait_for_everyone()

    def begin_shared_stage(self, name: str, inputs: Any, outputs: list[Path]) -> bool:
        """Whether all processes together are to do a stage's work, and then to end it."""
        # The main process looks for all: their disks may be others.
        done = from_main(self.accelerator, lambda: self.run.is_done(name, inputs, outputs))
        if self.accelerator.is_main_process:
            if done:
                self.display.reused(name)
            else:
                self.run.begin_stage()
        self.accelerator.wait_for_everyone()
        return not done

    def end_shared_stage(self, name: str, inputs: Any, outputs: list[Path]) -> None:
        """Record that the work of a stage was done."""
        if self.accelerator.is_main_process:
            self.run.end_stage(name, inputs, outputs)
        self.accelerator.wait_for_everyone()

    def notice(self, text: str) -> None:
        """Say what a user should know."""
        self.display.warn(text)

    @property
    def settings(self) -> SupernetSettings:
        """The recipe's for the supernet; from trained weights it is adapted."""
        settings = self.recipe.supernet
        if self.start.weights is None or settings.method == "progressive":
            return settings
        return replace(settings, method="transfer", fit=adapted(settings.fit, ADAPTING))

    @property
    def adapting(self) -> bool:
        """Whether trained weights are adapted, rather than trained as fresh ones are."""
        return self.settings.method == "transfer"

    @property
    def trains_in_rounds(self) -> bool:
        """Whether each round trains the supernet further before it judges what it asks for."""
        return self.adapting and self.recipe.rounds > 0 and self.images.train_in_rounds

    @property
    def tuning(self) -> FinetuneSettings:
        """The recipe's for fine-tuning, likewise."""
        settings = self.recipe.finetune
        if self.start.weights is None:
            return settings
        return replace(settings, fit=adapted(settings.fit, ADAPTING_ONE))

    @property
    def cache(self) -> Path:
        """Folder of decoded images."""
        return _cache(self.run, self.images)

    def tuning_data_of(self, arch: str) -> ImageData:
        """What an answer is fine-tuned on: all but the test images."""
        return with_validation(self.data_of(arch), self.cache)

    def data_of(self, arch: str) -> ImageData:
        """The images at the resolution that an architecture chooses."""
        pixels = BaseArchitecture.parse(arch).resolution
        if pixels in (0, self.data.preprocessing.resolution):
            return self.data
        return self.start.normalise(self.decoded_at(pixels))

    def decoded_at(self, pixels: int) -> ImageData:
        """The images at any resolution, normalised by themselves."""
        return load_images(
            self.images.source, resolution=pixels, **_how(self.run, self.recipe, self.images)
        )

    def supernet_settings(self, plan: SupernetPlan) -> SupernetSettings:
        """The recipe's, with what was planned."""
        settings = self.settings
        fit = with_batch(
            suited_to(settings.fit, plan.epochs, len(self.data.train)), plan.batch_size
        )
        return replace(settings, fit=replace(fit, epochs=plan.epochs))

    def finetune_settings(self, epochs: float, begun: Begun = "elsewhere") -> FinetuneSettings:
        """The recipe's, with so many epochs of these images; `begun` as in `suited_to`."""
        return tuning_for(self.tuning, epochs, self.data, self.accelerator.device, begun)


def make_accelerator(
    images: ImagesRecipe, kept: Precision | None = None, *, trained: bool = False
) -> Accelerator:
    """The GPU if there is one, and the other processes if there are.

    Args:
        kept: the precision that the run was begun with, perhaps on another machine.
        trained: whether its supernet is trained and nothing tuned: the rest can then be done in
            what this machine can.

    Raises:
        PnagError: if this machine cannot train in that precision.
    """
    cuda = torch.cuda.is_available()
    own = training_precision("cuda" if cuda else "cpu")
    if trained and kept == "float16" and not cuda:
        kept = own
    precision = images.precision or kept or own
    if precision == "float16" and not cuda:
        fix = "go on where it was begun, or start over with another --out"
        if images.precision and not kept:
            fix = "choose float32 or bfloat16 with images.precision in a --recipe"
        raise PnagError(f"training in float16 needs an NVIDIA GPU, but torch finds none; {fix}")
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
    kept = kept_precision(run.supernet, run.supernet_plan)
    accelerator = make_accelerator(
        images, kept, trained=run.supernet.exists() and not run.judged.exists()
    )
    if not accelerator.is_main_process:
        display = Display(Console(quiet=True))
    start = from_main(accelerator, lambda: _start(run, images, display))
    if start.weights is None and recipe.supernet.method == "transfer":
        raise PnagError(
            "--train-method transfer adapts trained weights, and this supernet starts from fresh "
            "ones; take sandwich or progressive, or give a --start"
        )
    suited = size_stage(run, recipe, images, start, _cache(run, images), accelerator, display)
    with accelerator.local_main_process_first():  # each machine of a cluster has its own cache
        data = decode_images(
            display,
            images.source,
            resolution=images.resolution or (suited.resolution if suited else None),
            **_how(run, recipe, images),
        )
    tell_images(display, data)
    data = start.normalise(data)
    return ImageRun(run, recipe, images, start, data, accelerator, display, suited, ray_address)


def _start(run: RunDirectory, images: ImagesRecipe, display: Display) -> Start:
    """What the supernet starts from; the fresh weights that were taken for want of others stay."""
    scratch = begun_from_scratch(run.supernet, run.supernet_phases, run.supernet_plan)
    if images.start is None and scratch:
        display.note("the supernet was begun from fresh weights, and stays so (--out for another)")
        images = images.model_copy(update={"start": SCRATCH})
    return find_start(images, display.warn)


def _cache(run: RunDirectory, images: ImagesRecipe) -> Path:
    """Folder of decoded images."""
    return images.cache or run.path / "images"


def _how(run: RunDirectory, recipe: Recipe, images: ImagesRecipe) -> dict[str, Any]:
    """How a run's images are read, at any resolution: options of `load_images`."""
    return {
        "cache": _cache(run, images),
        "classes": images.classes,
        "seed": recipe.seed,
        "on_corrupt": images.on_corrupt,
        "max_megapixels": images.max_megapixels,
    }


def tuning_for(
    settings: FinetuneSettings,
    epochs: float,
    data: ImageData,
    device: torch.device,
    begun: Begun = "elsewhere",
) -> FinetuneSettings:
    """The same for so many epochs of these images, on a device, of weights begun so."""
    fit = suited_to(settings.fit, epochs, len(data.train), begun)
    fit = suited_batch(fit, data, device=device)
    return replace(settings, fit=replace(fit, epochs=epochs))
