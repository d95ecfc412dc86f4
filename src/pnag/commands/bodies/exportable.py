"""What `pnag export` writes: the network of an architecture, or the answers of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import nn

from pnag.errors import PnagError
from pnag.families import load_published
from pnag.families.checkpoints import load_noted
from pnag.families.elastic_network import ElasticNetwork
from pnag.files import read_json
from pnag.run.budgets import Budget, check_units
from pnag.run.named_family import named_family
from pnag.run.own_space import refuse_choices
from pnag.run.preprocessing import (
    IMAGENET_CLASSES,
    expected_input,
    imagenet_preprocessing,
    supernet_preprocessing,
)
from pnag.run.recipe import Recipe, load_recipe, make_recipe
from pnag.run.run_directory import RunDirectory, answer_name, finished_run
from pnag.run.size import Size, family_of_recipe
from pnag.space import BaseArchitecture

FRESH = "fresh weights: it predicts nothing until it is trained"
PUBLISHED = "published"


@dataclass(frozen=True)
class Exportable:
    """A network that is ready to be exported.

    Attributes:
        name: of its files, without a suffix.
        network: in eval mode, on the CPU.
        preprocessing: what goes in and comes out, for its file's `.preprocessing.json`.
        weights: what they are, in words. trained: whether they are worth anything.
        guessed: whether nothing says what goes in, and `preprocessing` is ImageNet's.
        note: which weights of several in a file they are, if there are several.
    """

    name: str
    network: nn.Module
    resolution: int
    preprocessing: dict[str, Any]
    weights: str
    trained: bool
    guessed: bool = False
    note: str = ""


def fresh(arch: str, size: Size, seed: int, name: str = "pnag") -> Exportable:
    """An architecture with fresh weights.

    Raises:
        BadValueError: (a ValueError) for a malformed architecture.
    """
    torch.manual_seed(seed)
    pixels = size.pixels(arch)
    preprocessing = imagenet_preprocessing(pixels, size.num_classes)
    return Exportable(
        name,
        size.build(arch).eval(),
        pixels,
        preprocessing,
        FRESH,
        trained=False,
        guessed=size.num_classes != IMAGENET_CLASSES,
    )


@dataclass(frozen=True)
class Trained:
    """A supernet to cut networks out of.

    Attributes:
        name: where it is from, for messages: a file, or `published`.
        preprocessing: what its file says that goes in and comes out; None if nothing does.
        note: which of several supernets in the file it is; empty if there is one.
    """

    name: str
    supernet: ElasticNetwork
    preprocessing: dict[str, Any] | None
    note: str = ""


def load_supernet(
    weights: str,
    *,
    width_mult: float | None = None,
    num_classes: int | None = None,
    resolution: int | None = None,
    run: Path | None = None,
) -> Trained:
    """The supernet of a file, or the one that Once-for-All published.

    Args:
        weights: a file, or `published`.
        width_mult, num_classes, resolution: that it must have, if not None.
        run: whose networks are that large; options say so if None.

    Raises:
        PnagError: if it cannot be had, or is of another width, class count or resolution.
    """
    preprocessing, note = None, ""
    supernet: ElasticNetwork
    if weights == PUBLISHED:
        supernet = load_published(width_mult or 1.0)
    else:
        supernet, note = load_noted(Path(weights))
        preprocessing = supernet_preprocessing(Path(weights), supernet.num_classes)
    own_width = supernet.family.identity().get("width_mult")
    if own_width is None:
        named_family(supernet.family.name, width_mult)  # refuses a width
    for name, asked, found in (
        ("width-mult", width_mult, own_width),
        ("num-classes", num_classes, supernet.num_classes),
        ("resolution", resolution, preprocessing["resolution"] if preprocessing else None),
    ):
        if None not in (asked, found) and asked != found:
            said = f"--{name} is {asked:g}" if run is None else f"{run} has {name} {asked:g}"
            fix = "" if run else f"leave --{name} out, or "
            raise PnagError(
                f"{said}, but the supernet of {weights} has {found:g}; {fix}give --weights that fit"
            )
    return Trained(weights, supernet, preprocessing, note)


def subnet(arch: str, trained: Trained, resolution: int | None, name: str = "pnag") -> Exportable:
    """An architecture with a supernet's weights and, so far, the supernet's statistics.

    Args:
        resolution: in pixels, where the supernet's file does not say; 224 if None.

    Raises:
        BadValueError: (a ValueError) for a malformed architecture.
    """
    classes = trained.supernet.num_classes
    preprocessing, guessed = expected_input(trained.preprocessing, classes, resolution or 224)
    said = (
        f"weights of the supernet {trained.name}, with its batch norms, which fit no single "
        "subnet: --images SOURCE measures them again"
    )
    own = BaseArchitecture.parse(arch).resolution
    if own:  # it says its resolution, and the file's is the largest
        shorter = round(preprocessing["shorter"] * own / preprocessing["resolution"])
        preprocessing = {**preprocessing, "resolution": own, "shorter": shorter}
    pixels = int(preprocessing["resolution"])
    if guessed:
        said += (
            f"; nothing says what images it was trained on: {pixels}x{pixels} pixels and "
            "ImageNet's mean and deviation are a guess"
        )
    network = trained.supernet.subnet(arch).eval()
    return Exportable(
        name, network, pixels, preprocessing, said, trained=True, guessed=guessed, note=trained.note
    )


@dataclass(frozen=True)
class FinishedRun:
    """A run's answers and what they need to become networks."""

    files: RunDirectory
    recipe: Recipe
    answers: list[dict[str, Any]]

    @property
    def of_images(self) -> bool:
        """Whether its answers have weights of their own."""
        return self.recipe.images is not None


def open_run(path: Path) -> FinishedRun:
    """Read a finished run.

    Raises:
        PnagError: if it is not one.
    """
    files = finished_run(path)
    recipe = make_recipe(load_recipe(files.recipe))
    refuse_choices(recipe, path)
    return FinishedRun(files, recipe, read_json(files.answers))


def within(run: FinishedRun, asked: Budget) -> dict[str, Any]:
    """A run's answer to a budget, or the best of its answers that cost no more.

    Of a run on images the best is the one for the greatest budget: accuracies are from before
    tuning, and do not decide alone what the run answers.

    Raises:
        PnagError: if there is none, naming the cheapest, or the budget has another unit.
    """
    column = run.recipe.table.cost if run.recipe.table else None
    check_units({column or "latency": asked}, column)
    budget = asked.amount
    for answer in run.answers:
        if answer["budget"] == budget and answer["cost"] <= budget:
            return answer
    affordable = [answer for answer in run.answers if answer["cost"] <= budget]
    if not affordable:
        cheapest = min(answer["cost"] for answer in run.answers)
        raise PnagError(
            f"no answer of {run.files.path} has a cost within {budget:g}: the cheapest costs "
            f"{cheapest:.4g}; raise --budget, or answer it with `pnag run --budgets {budget:g}`"
        )
    return max(affordable, key=lambda answer: answer["budget" if run.of_images else "accuracy"])


def name_of(run: FinishedRun, answer: dict[str, Any]) -> str:
    """The name of an answer's files, in the run too."""
    return answer_name(answer["budget"], "" if run.recipe.table else "ms")


def finetuned(run: FinishedRun, answer: dict[str, Any]) -> Exportable:
    """An answer of a run on images, with the weights it was fine-tuned to.

    Raises:
        PnagError: if its files are missing, damaged or of another width.
    """
    images = run.recipe.images
    assert images is not None
    name = name_of(run, answer)
    path = run.files.models / f"{name}.safetensors"
    own = path.with_suffix(".preprocessing.json")
    usual = run.files.models / "preprocessing.json"
    preprocessing = read_json(own if own.exists() else usual)
    classes = len(preprocessing["classes"])
    size = Size(preprocessing["resolution"], family_of_recipe(run.recipe).name, classes)
    network = size.build(answer["arch"])
    try:
        network.load_state_dict(load(path.read_bytes()))
    except OSError as error:
        raise PnagError(f"cannot read {path}: {error.strerror}; run `pnag run` again") from error
    except (SafetensorError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise PnagError(
            f"{path} does not hold the weights of {answer['arch']} of {size.of.label} "
            f"with {classes} classes ({reason}); run `pnag run` again"
        ) from error
    said = f"fine-tuned on {images.source}"
    return Exportable(name, network.eval(), size.resolution, preprocessing, said, trained=True)
