"""The commands and options by which `pnag export ARCH` makes a run's networks."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from pnag.commands.bodies.exportable import PUBLISHED
from pnag.commands.bodies.several import SeveralAnswer
from pnag.files import exists, expand_home
from pnag.images.decode import MEGAPIXELS
from pnag.run.recipe import load_recipe, make_recipe
from pnag.run.run_directory import RunDirectory
from pnag.run.trained import Answer, own_answer


def export_command(path: Path, answer: Answer | SeveralAnswer, size: dict[str, Any]) -> str:
    """What exports an answer of a run; a network that the run has tuned, with those weights.

    Args:
        size: as of `export_options`.
    """
    run = RunDirectory(path, reading=True)
    of_images = make_recipe(load_recipe(run.recipe)).images is not None
    if of_images and isinstance(answer, Answer):
        known = own_answer(run, answer.budget)
        if known and known.arch == answer.arch:
            return f"pnag export {shlex.quote(str(path))} --budget {answer.budget!r} --to onnx"
    return f"pnag export {answer.arch} --to onnx {export_options(path, size)}".rstrip()


def export_options(path: Path, size: dict[str, Any]) -> str:
    """What `pnag export ARCH` needs besides to make the networks of the run directory `path`,
    wherever the command is given.

    Args:
        size: what the user says about them, which a run on a table does not know.
    """
    run = RunDirectory(path, reading=True)
    recipe = make_recipe(load_recipe(run.recipe))
    options: dict[str, Any] = dict(size)
    if recipe.table is not None and recipe.table.family is not None:
        options = {"family": recipe.table.family} | options
    if recipe.source == "imagenet" and recipe.published:
        options = {"weights": PUBLISHED} | options
    if recipe.images is not None:
        images = recipe.images
        options = {"weights": run.last_supernet.resolve(), "images": found_anywhere(images.source)}
        options |= {"classes": images.classes} if images.classes else {}
        options |= {"seed": recipe.seed} if recipe.seed else {}
        if images.max_megapixels != MEGAPIXELS:
            options |= {"max_megapixels": images.max_megapixels}
    return " ".join(
        f"--{name.replace('_', '-')} {shlex.quote(str(value))}" for name, value in options.items()
    )


def found_anywhere(images: str) -> str:
    """A source of images as it is found from every folder: paths in full, others as they are."""
    path = expand_home(images)
    return str(path.resolve()) if images != "digits" and exists(path) else images
