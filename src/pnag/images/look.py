"""What is known about a source's images before they are decoded."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pnag.errors import PnagError
from pnag.files import expand_home, fingerprint, one_at_a_time, writing
from pnag.images.contents import contents
from pnag.images.decoding import OTHER_FOLDER, Choices, own_resolution
from pnag.images.folders import FOLDERS
from pnag.images.part_names import part_of
from pnag.images.rows import Source
from pnag.images.sources import find_source

# The layout of the cache; raise it when the same source and settings give other pixels, or what
# identifies sources changes.
_LAYOUT = 3


def looked_at(
    source: str, cache: Path, reading: Callable[[int, int], None]
) -> tuple[Source, list[Any]]:
    """A source, and what identifies its images; arguments as of `load_images`."""
    found = find_source(source)
    _refuse_inside(found, source, cache)
    with writing(cache, OTHER_FOLDER):
        cache.mkdir(parents=True, exist_ok=True)
        return found, [_LAYOUT, found.kind, contents(found.files, cache, reading)]


def _refuse_inside(found: Source, source: str, cache: Path) -> None:
    """Decoded images among the images themselves would be taken for images of a class."""
    folder, place = expand_home(source).resolve(), cache.resolve()
    if found.kind not in FOLDERS or not place.is_relative_to(folder):
        return
    paths = (path.absolute() for files in found.files.values() for _, path in files)
    root = expand_home(source).absolute()
    tops = {path.relative_to(root).parts[0] for path in paths if path.is_relative_to(root)}
    top = place.relative_to(folder).parts[:1]
    if all(map(part_of, tops)) and top and top[0] not in tops:
        return  # beside train and test, other folders are not read
    raise PnagError(
        f"the decoded images would lie in {cache}, within the images {source} themselves; "
        f"{OTHER_FOLDER}"
    )


def split_hash(holds: list[Any], classes: int | None, seed: int) -> str:
    """`ImageData.split`.

    Args:
        holds: from `looked_at`.
    """
    return fingerprint([*holds, classes, seed])


def split_of(
    source: str,
    *,
    cache: Path,
    classes: int | None,
    seed: int,
    reading: Callable[[int, int], None],
) -> str:
    """`ImageData.split` of images that need not be decoded; arguments as of `load_images`.

    Raises:
        PnagError: names what is wrong with the source or the cache.
    """
    return split_hash(looked_at(source, cache, reading)[1], classes, seed)


def own_size(
    source: str,
    *,
    cache: Path,
    classes: int | None,
    seed: int,
    max_megapixels: float,
) -> tuple[int, int]:
    """The resolution that `load_images` takes if it is given none, and the number of classes.

    Some images' sizes are looked at; nothing is decoded.

    Raises:
        PnagError: names what is wrong with the source, a setting or the cache.
    """
    found = find_source(source)
    _refuse_inside(found, source, cache)
    scratch = cache / ".own-size"
    with one_at_a_time(cache / ".own-size.lock", OTHER_FOLDER):
        shutil.rmtree(scratch, ignore_errors=True)  # of a call that was stopped
        try:
            with writing(scratch, OTHER_FOLDER):
                scratch.mkdir()
            choices = Choices(classes, seed, megapixels=max_megapixels)
            return own_resolution(found, source, choices, scratch)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
