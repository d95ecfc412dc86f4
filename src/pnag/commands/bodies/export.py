"""`pnag export`: find the networks, check and write them."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.markup import escape

from pnag.commands.bodies.class_names import in_order_of
from pnag.commands.bodies.exportable import (
    PUBLISHED,
    Exportable,
    FinishedRun,
    finetuned,
    fresh,
    load_supernet,
    name_of,
    open_run,
    subnet,
    within,
)
from pnag.commands.bodies.given_architecture import given_architecture, unlike
from pnag.deploy.export import export_checked, export_int8, write_example, write_preprocessing
from pnag.deploy.formats import ANY_BATCH, Images, find_format
from pnag.errors import PnagError
from pnag.families import Family, family
from pnag.families.checkpoints import described
from pnag.families.registry import DEFAULT, is_of, width_of
from pnag.files import exists, expand_home
from pnag.images.decode import MEGAPIXELS
from pnag.images.images import ImageData, load_images
from pnag.images.parts import PartName
from pnag.judging.recalibrate import recalibrate
from pnag.run.budgets import Budget
from pnag.run.named_family import named_family
from pnag.run.own_files import refuse_own_files
from pnag.run.preprocessing import imagenet_classes, normalised_by, preprocessing_of
from pnag.run.size import Size

CALIBRATION_IMAGES = 300  # as many as NNCF takes by default
COMPARED_IMAGES = 1000
BATCH = 32
NOTE = "[yellow]note:[/yellow] "  # what a message begins with that should not be missed


@dataclass(frozen=True)
class Asked:
    """The options of `pnag export`; None is what was not given.

    Attributes:
        family_of: the run that the family is of; the user gives it if None.
    """

    to: str
    out: Path | None = None
    budget: Budget | None = None
    weights: str | None = None
    images: str | None = None
    classes: int | None = None
    int8: bool = False
    family: str | None = None
    width_mult: float | None = None
    resolution: int | None = None
    num_classes: int | None = None
    seed: int = 0
    max_megapixels: float | None = None
    batch: int = 1  # or ANY_BATCH
    family_of: Path | None = None

    @property
    def of(self) -> Family:
        """The family, as it is given or as the file of weights says.

        Raises:
            PnagError: if there is no such family, or the weights are of another.
        """
        # Of a file from elsewhere they are Once-for-All's, of a width that is not known yet.
        named = described(Path(self.weights)).get("family", DEFAULT) if self.weights else None
        given = self.family or DEFAULT
        if named is None or (named.startswith(DEFAULT) and given.startswith(DEFAULT)):
            return named_family(self.family, self.width_mult)
        self.refuse_other_family(named)
        return family(named)

    def refuse_other_family(self, found: str) -> None:
        """Whether weights are of the family that is asked for, at whatever resolutions.

        Raises:
            PnagError: if they are not.
        """
        if self.family is None or is_of(found, self.family.partition("@")[0]):
            return
        said, fix = f"--family is {self.family}", "leave --family out, or "
        if self.family_of is not None:
            said, fix = f"{self.family_of} is of the family {self.family}", ""
        raise PnagError(
            f"{said}, but the weights of {self.weights} are for {found}; {fix}give --weights that "
            "fit"
        )

    @property
    def size(self) -> Size:
        """Of networks whose size nothing else gives."""
        return Size(self.resolution or 224, self.of.name, self.num_classes or 1000)


def export_all(
    what: str, asked: Asked, written: Callable[[Path], None] = lambda file: None
) -> Iterator[str]:
    """Export an architecture or a run's answers; yields messages for the user, as it happens.

    Args:
        written: called with each network's file.

    Raises:
        PnagError: for anything that the user can fix.
    """
    path, suffix = Path(what), find_format(asked.to).suffix
    if exists(path) and path.is_dir():
        run = open_run(path)
        networks = list(_of_run(run, asked))
    elif given := given_architecture(what, asked.of):
        if asked.budget is not None:
            raise PnagError("--budget chooses among the answers of a run, but this is one network")
        run, networks = None, [_maker(asked)(str(given[0]), "pnag")]
        for note in unlike(given[1], _size_of(networks[0])):
            yield NOTE + escape(note)
    else:
        raise PnagError(
            f"{what} is neither an architecture (d:k:e, its JSON, or a file with one) nor the "
            "directory of a run"
        )
    keep = [expand_home(text) for text in (what, asked.weights, asked.images) if text]
    folder = (asked.out or path / "exports") if run else (asked.out or Path()).parent
    if not run and asked.out and asked.out.suffix != suffix:
        raise PnagError(f"--out is {asked.out}; a file of {asked.to} ends in {suffix}")
    names = [f"{one.name}{'-int8' if asked.int8 else ''}{suffix}" for one in networks]
    targets = [asked.out if asked.out and not run else folder / name for name in names]
    refuse_own_files(*targets)
    with ExitStack() as stack:
        data, notes = _images(run, asked, networks[0], stack)
        for note in notes:
            yield NOTE + escape(note)
        if data is not None and networks[0].guessed:  # the images know better
            how = preprocessing_of(data)
            networks = [replace(one, preprocessing=how, guessed=False) for one in networks]
        elif data is not None:
            data = normalised_by(data, networks[0].preprocessing)
        for one, target in zip(networks, targets, strict=True):
            if data is not None and one.resolution != data.preprocessing.resolution:
                data, _ = _images(run, asked, one, stack)  # an answer has its own resolution
                assert data is not None
                data = normalised_by(data, one.preprocessing)
            if asked.weights and data is not None:
                recalibrate(one.network, data, seed=asked.seed)
                said = f"weights of the supernet {asked.weights}, batch norms measured on images"
                one = replace(one, weights=said)
            yield _weights_line(one)
            yield _write(one, target, data, asked, keep)
            beside = write_preprocessing(target, _description(one, asked))
            written(target)
    example = write_example(asked.to, target.parent)
    command = shlex.join(["python", str(example), str(target), str(beside), "IMAGE"])
    yield f"[dim]load it: {escape(command)}[/dim]"


def _write(
    one: Exportable, target: Path, data: ImageData | None, asked: Asked, keep: Collection[Path]
) -> str:
    """Write a network; says how well it was done.

    Args:
        data: images to calibrate 8 bits on, and to compare them on.
        keep: what it is made of, which is not to be replaced.
    """
    if asked.int8:
        assert data is not None
        return _write_int8(one, target, data, asked, keep)
    difference = export_checked(one.network, target, one.resolution, asked.to, asked.batch, keep)
    return f"{escape(str(target))}: equals torch to {difference:.0e} of the largest output"


def _size_of(one: Exportable) -> Size:
    config: dict[str, Any] = one.network.pnag_config  # type: ignore[assignment]  # of `build`
    return Size(one.resolution, config["family"], config["num_classes"])


def _maker(asked: Asked, run: Path | None = None) -> Callable[[str, str], Exportable]:
    """What makes a network of an architecture and a name.

    Args:
        run: the run that gives the size in `asked`; the user does if None.
    """
    if asked.weights is None:
        if asked.images is not None and not asked.int8:
            raise PnagError("--images measures batch norms of --weights, which is not given")
        return lambda arch, name: fresh(arch, asked.size, asked.seed, name)
    of = asked.of  # before the weights are loaded: they may be of another
    width_mult = asked.width_mult
    if asked.weights == PUBLISHED:
        width_mult = width_of(of.name.partition("@")[0])
    supernet = load_supernet(
        asked.weights,
        width_mult=width_mult,
        num_classes=asked.num_classes,
        resolution=asked.resolution,
        run=run,
    )
    asked.refuse_other_family(supernet.supernet.family.name)
    return lambda arch, name: subnet(arch, supernet, asked.resolution, name)


def _of_run(run: FinishedRun, asked: Asked) -> Iterator[Exportable]:
    answers = run.answers if asked.budget is None else [within(run, asked.budget)]
    given: dict[str, object] = {
        "--width-mult": asked.width_mult,
        "--resolution": asked.resolution,
        "--num-classes": asked.num_classes,
    }
    if run.recipe.table is not None:
        given = {}  # a user's table has no sizes
    else:
        given["--family"] = asked.family
    if run.of_images:
        given |= {
            "--weights": asked.weights,
            "--images": asked.images,
            "--classes": asked.classes,
            "--max-megapixels": asked.max_megapixels,
        }
    for option, value in given.items():
        if value is not None:
            raise PnagError(f"{option} is {value}, but {run.files.path} has its own; leave it out")
    if run.of_images:
        yield from (finetuned(run, answer) for answer in answers)
        return
    whose = None
    of = run.recipe.table.family if run.recipe.table is not None else None
    if asked.family is None:
        asked = replace(asked, family=of or DEFAULT, family_of=run.files.path)
    if run.recipe.source == "imagenet":
        own, whose = Size().identity(), run.files.path
        if run.recipe.resolutions != (own["resolution"],):
            own["resolution"] = None  # each answer says its own
        asked = replace(asked, **own)
    make = _maker(asked, whose)
    yield from (make(answer["arch"], name_of(run, answer)) for answer in answers)


def _images(
    run: FinishedRun | None, asked: Asked, one: Exportable, stack: ExitStack
) -> tuple[ImageData | None, list[str]]:
    """The images that batch norms or 8 bits need, None if neither does; what to know about them."""
    images = run.recipe.images if run else None
    if asked.int8 and images is not None and run is not None:
        data = load_images(
            images.source,
            resolution=one.resolution,
            cache=images.cache or run.files.path / "images",
            classes=images.classes,
            seed=run.recipe.seed,
            on_corrupt=images.on_corrupt,
            max_megapixels=images.max_megapixels,
        )
        return data, []  # the run has said so
    if asked.images is None:
        for option, value in (
            ("--classes", asked.classes),
            ("--max-megapixels", asked.max_megapixels),
        ):
            if value is not None:
                raise PnagError(f"{option} goes with --images, which is not given")
        if asked.int8:
            raise PnagError(
                "--int8 needs real images to find the ranges of activations; name them with "
                "--images SOURCE"
            )
        return None, []
    cache = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pnag-images-")))
    data = load_images(
        asked.images,
        resolution=one.resolution,
        cache=cache,
        classes=asked.classes,
        seed=asked.seed,
        on_corrupt="skip",  # a few hundred others give the same statistics
        max_megapixels=asked.max_megapixels or MEGAPIXELS,
        levels=one.preprocessing.get("levels"),
    )
    classes = one.preprocessing["classes"]
    if len(data.classes) != len(classes):
        raise PnagError(
            f"{asked.images} has {len(data.classes)} classes, but the network has {len(classes)}; "
            "name the images that it was trained on"
        )
    nameless = one.guessed or classes == imagenet_classes()  # which are spelled in many ways
    data, note = in_order_of(data, None if nameless else classes, "the network")
    return data, [*data.notes, *filter(None, [note])]


def _description(one: Exportable, asked: Asked) -> dict[str, Any]:
    """What goes into a network's file and comes out; its batch only if that is not one image."""
    how = one.preprocessing | {"layout": find_format(asked.to).layout}
    if asked.batch != 1:
        how["batch"] = "any" if asked.batch == ANY_BATCH else asked.batch
    return how


def _weights_line(one: Exportable) -> str:
    line = f"{one.name}: {one.weights}" + (f"; {one.note}" if one.note else "")
    sure = one.trained and not one.guessed and not one.note
    return escape(line) if sure else NOTE + escape(line)


def _write_int8(
    one: Exportable, target: Path, data: ImageData, asked: Asked, keep: Collection[Path]
) -> str:
    calibration = np.concatenate(list(_some(data, "train", CALIBRATION_IMAGES, asked.seed)))
    compared = _some(data, "test", COMPARED_IMAGES, asked.seed)
    agreement = export_int8(
        one.network, target, one.resolution, calibration, compared, asked.batch, keep
    )
    return (
        f"{escape(str(target))}: 8 bits, ranges of {len(calibration)} train images; same top-1 "
        f"class as the float network on {agreement:.1%} of "
        f"{min(COMPARED_IMAGES, len(data.test)):,} test images"
    )


def _some(data: ImageData, part: PartName, count: int, seed: int) -> Iterator[Images]:
    """Preprocessed images of a part, (B, 3, R, R) at a time: 1000 at once are 10 GB of maps."""
    from pnag.images.batches import eval_batches

    for images, _ in eval_batches(data, part, BATCH, limit=count, seed=seed):
        yield np.ascontiguousarray(images.numpy())
