"""The stage that finds resolution and widths for budgets, once, before a supernet is trained."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

from accelerate import Accelerator

from pnag.files import read_json, write_json
from pnag.pipeline.display import Display
from pnag.pipeline.recipe import ImagesRecipe, Recipe
from pnag.pipeline.run_directory import RunDirectory
from pnag.pipeline.suited_size import Choice, SuitedSize, Timer, suited_size
from pnag.pipeline.timing import runtime_of
from pnag.training.look import own_size, split_of
from pnag.training.plan import WIDTHS
from pnag.training.processes import from_main


def size_stage(
    run: RunDirectory,
    recipe: Recipe,
    images: ImagesRecipe,
    cache: Path,
    accelerator: Accelerator,
    display: Display,
) -> SuitedSize | None:
    """What the budgets leave to choose from; None where there were none before training began.

    A supernet that is trained, or begun, stays what it is, whatever further budgets are asked.

    Args:
        cache: of decoded images.

    Raises:
        PnagError: if no network is within the least budget, or for images or a runtime that cannot
            be used.
    """
    begun = from_main(
        accelerator,
        lambda: run.supernet.exists() or any(run.supernet_phases.glob("*.safetensors")),
    )
    if accelerator.is_main_process and not begun:
        if recipe.budgets:
            _find_size(run, recipe, images, cache, display)
        else:
            run.size_plan.unlink(missing_ok=True)
    raw = from_main(
        accelerator, lambda: read_json(run.size_plan) if run.size_plan.exists() else None
    )
    if raw is None:
        return None
    size = SuitedSize(**raw | {"widths": tuple(raw["widths"])})
    if not begun:
        style = "yellow" if size.beyond or size.busy else "default"
        display.note(f"[{style}]{size.told}[/{style}] [dim](--budgets)[/dim]")
    return size


def _find_size(
    run: RunDirectory, recipe: Recipe, images: ImagesRecipe, cache: Path, display: Display
) -> None:
    runtime = runtime_of(recipe)
    classes, seed = images.classes, recipe.seed
    with display.bar("looking at the images") as bar:
        split = split_of(images.source, cache=cache, classes=classes, seed=seed, reading=bar.update)
        bar.update(1, 1)
    inputs = {
        "images": split,
        "budgets": recipe.budgets,
        "resolution": images.resolution,
        "width_mult": images.width_mult,
        "runtime": runtime.identity(),
    }

    def work() -> None:
        given = {"--width-mult": images.width_mult, "--resolution": images.resolution}
        own, num_classes = own_size(
            images.source,
            cache=cache,
            classes=classes,
            seed=seed,
            max_megapixels=images.max_megapixels,
        )
        choice = Choice(
            (images.width_mult,) if images.width_mult else WIDTHS,
            images.resolution or own,
            tuple(option for option, value in given.items() if value),
        )
        with display.bar("timing networks of several sizes") as bar:
            timer = Timer(runtime, num_classes)
            size = suited_size(recipe.budgets, choice, timer)
            bar.update(1, 1)
        write_json(run.size_plan, asdict(replace(size, busy=timer.busy)))

    run.stage("resolution and width", inputs, [run.size_plan], work, display.reused)
