"""Images whose classes nothing gives: what they look like, and what to do."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from pnag.errors import PnagError
from pnag.images.class_folders import some
from pnag.images.image_files import SUFFIXES, by_suffix, files_of

_WORDS = re.compile(r"[^\W\d_]+")
_FEW = 20  # classes in names
_NUMBERS = "ground_truth"


def refuse_unlabelled(folder: Path, images: Sequence[Path]) -> NoReturn:
    """Refuse a folder of images without class folders and without a list; say what it looks like.

    Raises:
        PnagError: always.
    """
    if not any(path.suffix.lower() in SUFFIXES for path in images):
        raise PnagError(
            f"there are no images in {folder}, and it has no folders in it; its files: "
            f"{by_suffix([*images, *files_of(folder).others])}; give images as files that Pillow "
            "reads, in a folder for each class, or as Parquet files; data sets such as MNIST are "
            "on the Hugging Face hub, too"
        )
    remedy = (
        f"give each class a folder of its images, for example {folder}/cat/1.jpg, or write "
        f"{folder}/labels.csv with the columns file_name,label"
    )
    seen = f"{folder} has no folders in it"
    stems = {path.stem for path in images}
    beside = Counter(p.suffix.lower() for p in _others(folder, images) if p.stem in stems)
    if beside:
        kind = beside.most_common(1)[0][0]
        seen = (
            f"the images in {folder} have a {kind} file each, as for detection or segmentation "
            f"(YOLO, Pascal VOC); these do not say which one class an image is of"
        )
    elif numbers := [p for p in _near(folder) if _NUMBERS in p.name.lower()]:
        seen = (
            f"{numbers[0]} has the numbers of ImageNet's development kit, without file names and "
            "in an order of their own"
        )
        remedy = (
            "sort the images into class folders by the kit's synsets, or write a list val.txt of "
            f"lines `FILE CLASS` into {folder}"
        )
    elif words := _words(images):
        seen += f"; its images are called by their class, it seems ({some(words)})"
    raise PnagError(f"{seen}; {remedy}")


def _others(folder: Path, images: Sequence[Path]) -> list[Path]:
    return [p for place in {folder, *(p.parent for p in images)} for p in files_of(place).others]


def _near(folder: Path) -> list[Path]:
    return [*files_of(folder).others, *files_of(folder.parent).others]


def _words(images: Sequence[Path]) -> list[str]:
    """Words that begin the names of images, if there are few, and many images of each."""
    firsts = [_WORDS.match(path.name) for path in images]
    words = Counter(match[0] for match in firsts if match)
    if all(firsts) and 2 <= len(words) <= _FEW and min(words.values()) > 1:
        return sorted(words)
    return []
