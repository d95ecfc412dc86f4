"""What a supernet starts from: published weights, timm's, another supernet's, or fresh ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from pnag.downloads import PublishedFile, fetch
from pnag.errors import PnagError
from pnag.families import load_checkpoint
from pnag.families.checkpoints import PUBLISHED, described
from pnag.families.registry import DEFAULT, family, is_of, of_width, width_of
from pnag.families.timm_networks import PREFIX, TimmFamily
from pnag.files import file_fingerprint
from pnag.run.named_family import families_asked
from pnag.run.preprocessing import normalised_by
from pnag.run.recipe import ImagesRecipe
from pnag.run.run_directory import RunDirectory

if TYPE_CHECKING:
    from pnag.images.images import ImageData

SCRATCH, OF_OFA = "scratch", "published"
Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Start:
    """Weights that a supernet begins with, and what they imply.

    Attributes:
        name: as messages show it. families: names of those to choose among, widest first.
        weights: their file; None for fresh ones. identity: of the file's content.
        mean, std: that the weights expect images to be normalised by; None: the images' own.
        resolution: of the images that the weights were trained on.
    """

    name: str
    families: tuple[str, ...]
    weights: Path | None = None
    identity: str = ""
    mean: Colour | None = None
    std: Colour | None = None
    resolution: int = 224

    def normalise(self, data: ImageData) -> ImageData:
        """Images as the weights expect them."""
        if self.mean is None or self.std is None:
            return data
        return normalised_by(data, {"mean": self.mean, "std": self.std})


def find_start(images: ImagesRecipe, notice: Callable[[str], None]) -> Start:
    """The start that a recipe asks for; fetches its weights if they are not here.

    Where nothing is asked for: what Once-for-All published, or fresh weights where that cannot be
    had, which `notice` is called with.

    Raises:
        PnagError: for a start that cannot be had, is damaged, or does not go with the family, the
            width or the weights that were given.
    """
    asked = images.start
    if asked is None and (images.family or "").startswith(PREFIX):
        asked = images.family
    if images.weights is not None and not (asked or "").startswith(PREFIX):
        raise PnagError(
            f"--weights {images.weights} are those of a network of timm: name it with --start "
            f"{PREFIX}NAME; a supernet's own file is a start itself: --start {images.weights}"
        )
    if asked == SCRATCH:
        return Start(SCRATCH, tuple(each.name for each in families_asked(images)))
    if asked is None:
        return _default(images, notice)
    if asked == OF_OFA:
        _check_family(Start(OF_OFA, (of_width(_width(images) or 1.0),)), images)
        return _published(images)
    found = _of_timm(asked, images) if asked.startswith(PREFIX) else _own(asked)
    _check_family(found, images)
    return found


def _default(images: ImagesRecipe, notice: Callable[[str], None]) -> Start:
    scratch = Start(SCRATCH, tuple(each.name for each in families_asked(images)))
    width = _width(images)
    if images.family is not None and width is None:
        notice(f"the supernet starts from fresh weights: none are published for {images.family}")
        return scratch
    if width is not None and width not in PUBLISHED:
        notice(
            f"the supernet starts from fresh weights: none are published for width {width:g}, only "
            f"for {_published_widths()}"
        )
        return scratch
    try:
        return _published(images)
    except PnagError as error:
        notice(
            f"the supernet starts from fresh weights, which needs many more images and hours: "
            f"{error}; or start from a network of timm: --start {PREFIX}efficientnet_lite0"
        )
    return scratch


def _published(images: ImagesRecipe) -> Start:
    width = _width(images) or 1.0
    if width not in PUBLISHED:
        raise PnagError(
            f"--width-mult is {width:g}, but weights are published only for "
            f"{_published_widths()}; take "
            f"one of these, or --start {SCRATCH}"
        )
    path = fetch(PUBLISHED[width])
    load_checkpoint(path)  # what is damaged is reported now
    return Start(
        OF_OFA,
        (of_width(width),),
        path,
        file_fingerprint(path),
        IMAGENET_DEFAULT_MEAN,
        IMAGENET_DEFAULT_STD,
    )


def _width(images: ImagesRecipe) -> float | None:
    """Of Once-for-All's family, as asked for; None if it is open, or the family has no width."""
    if images.family in (None, DEFAULT):
        return images.width_mult
    return width_of(images.family)


def _published_widths() -> str:
    return " and ".join(f"{each:g}" for each in PUBLISHED)


def _of_timm(name: str, images: ImagesRecipe) -> Start:
    of = family(name)
    assert isinstance(of, TimmFamily)
    path = images.weights or fetch(timm_file(of))
    of.supernet(1000, path)
    how = of.pretrained_input
    return Start(name, (of.name,), path, file_fingerprint(path), how.mean, how.std, how.resolution)


def timm_file(of: TimmFamily) -> PublishedFile:
    """Where timm's weights of a network are published.

    Raises:
        PnagError: if there are none.
    """
    if of.repository is None:
        raise PnagError(
            f"timm publishes no weights for {of.model}; give others with --weights, or --start "
            f"{SCRATCH} --family {of.name}"
        )
    return PublishedFile(
        f"{of.repository.replace('/', '--')}.safetensors",
        f"https://huggingface.co/{of.repository}/resolve/main/model.safetensors",
        None,
    )


def _own(name: str) -> Start:
    path = Path(name)
    path = RunDirectory(path, reading=True).last_supernet if path.is_dir() else path
    if not path.is_file():
        raise PnagError(
            f"there is no start {name!r}: give {OF_OFA}, {PREFIX}NAME, {SCRATCH}, the directory of "
            "a run on images, or the file of a supernet"
        )
    of = load_checkpoint(path).family
    how = described(path).get("preprocessing")
    mean, std = (tuple(how[key]) for key in ("mean", "std")) if how else (None, None)
    return Start(
        name,
        (of.name.partition("@")[0],),
        path,
        file_fingerprint(path),
        mean or IMAGENET_DEFAULT_MEAN,
        std or IMAGENET_DEFAULT_STD,
        how["resolution"] if how else 224,
    )


def _check_family(start: Start, images: ImagesRecipe) -> None:
    (own,) = start.families
    if images.family is not None and not is_of(own, images.family.partition("@")[0]):
        raise PnagError(
            f"--start {start.name} is of the family {own}, but --family is {images.family}; leave "
            "one of them out"
        )
    width = width_of(own)
    if images.width_mult is not None and images.width_mult != width:
        has = f"has width {width:g}" if width else "has one width"
        raise PnagError(
            f"--width-mult is {images.width_mult:g}, but --start {start.name} {has}; leave it out"
        )
