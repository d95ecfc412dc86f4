"""The stage that finds resolution and widths for budgets, once, before a supernet is trained."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

from accelerate import Accelerator

from pnag.families.registry import family
from pnag.files import read_json, write_json
from pnag.images.look import own_size, split_of
from pnag.run.display import Display
from pnag.run.recipe import ImagesRecipe, Recipe
from pnag.run.run_directory import RunDirectory
from pnag.run.start import Start
from pnag.run.suited_resolutions import affordable, suited_resolutions, usual_resolutions
from pnag.run.suited_size import (
    Choice,
    SuitedSize,
    Timer,
    given_size,
    short_of,
    suited_size,
)
from pnag.run.timing import runtime_of
from pnag.supernet.plan import USUAL_BATCH
from pnag.supernet.processes import from_main
from pnag.supernet.step_times import steps_of_largest


def size_stage(
    run: RunDirectory,
    recipe: Recipe,
    images: ImagesRecipe,
    start: Start,
    cache: Path,
    accelerator: Accelerator,
    display: Display,
) -> SuitedSize | None:
    """What start and budgets leave to choose from; None where neither says anything.

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
        if recipe.budgets or start.weights or images.resolutions:
            _find_size(run, recipe, images, start, cache, accelerator, display)
        else:
            run.size_plan.unlink(missing_ok=True)
    raw = from_main(
        accelerator, lambda: read_json(run.size_plan) if run.size_plan.exists() else None
    )
    if raw is None:
        return None
    size = SuitedSize(**raw | {name: tuple(raw[name]) for name in ("families", "too_dear")})
    if not begun:
        if size.too_dear:
            pixels = " and ".join(map(str, size.too_dear))
            suit = "suit the budgets" if recipe.budgets else "would suit"
            display.warn(
                f"{pixels} pixels {suit}, but --minutes {images.minutes:g} are too few "
                "to train at them (--resolutions sets them anyway)"
            )
        style = "yellow" if size.beyond or size.busy else "default"
        why = "--budgets" if recipe.budgets else "--start, --resolutions"
        said = size.text(suits_budgets=bool(recipe.budgets))
        display.note(f"[{style}]{said}[/{style}] [dim]({why})[/dim]")
    return size


def _find_size(
    run: RunDirectory,
    recipe: Recipe,
    images: ImagesRecipe,
    start: Start,
    cache: Path,
    accelerator: Accelerator,
    display: Display,
) -> None:
    runtime = runtime_of(recipe.latency)
    classes, seed = images.classes, recipe.seed
    with display.bar("looking at the images") as bar:
        split = split_of(images.source, cache=cache, classes=classes, seed=seed, reading=bar.update)
        bar.update(1, 1)
    inputs = {
        "images": split,
        "budgets": recipe.budgets,
        "resolution": images.resolution,
        "resolutions": images.resolutions,
        "start": start.identity,
        "families": start.families,
        "runtime": runtime.identity(),
        "minutes": images.minutes if start.weights else None,
    }

    def work() -> None:
        own, num_classes = own_size(
            images.source,
            cache=cache,
            classes=classes,
            seed=seed,
            max_megapixels=images.max_megapixels,
        )
        timer = Timer(runtime, num_classes)
        with display.bar("timing networks of several sizes") as bar:
            size = _size(recipe, images, start, own, timer, accelerator)
            bar.update(1, 1)
        write_json(run.size_plan, asdict(replace(size, busy=timer.busy)))

    run.stage("resolution and width", inputs, [run.size_plan], work, display.reused)


def _size(
    recipe: Recipe,
    images: ImagesRecipe,
    start: Start,
    own: int,
    timer: Timer,
    accelerator: Accelerator,
) -> SuitedSize:
    """Args: own: the images' own resolution."""
    families = tuple(family(name) for name in start.families)
    if images.resolutions:
        families = tuple(each.with_resolutions(images.resolutions) for each in families)
        return given_size(recipe.budgets, families, images.resolutions, timer)
    if start.weights is None:
        given = {"--width-mult": images.width_mult, "--resolution": images.resolution}
        options = tuple(option for option, value in given.items() if value)
        choice = Choice(families, images.resolution or own, options)
        return suited_size(recipe.budgets, choice, timer)
    if images.resolution:
        return given_size(recipe.budgets, families, (images.resolution,), timer)
    (of,) = families
    if recipe.budgets:
        found = suited_resolutions(recipe.budgets, of, start.resolution, timer)
    else:
        found = usual_resolutions(own, start.resolution)
    step_seconds = steps_of_largest(of, timer.num_classes, USUAL_BATCH, accelerator)
    kept = affordable(found, images.minutes, step_seconds)
    too_dear = tuple(pixels for pixels in found if pixels > kept[-1])
    chosen = of.with_resolutions(kept) if len(kept) > 1 else of
    size = SuitedSize(kept[-1], (chosen.name,), too_dear=too_dear)
    if too_dear or not recipe.budgets:
        return size
    return replace(size, beyond=short_of(max(recipe.budgets), of, kept[-1], timer))
