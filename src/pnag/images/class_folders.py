"""Folders of class folders: which class each image is of, and what is no class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pnag.errors import PnagError
from pnag.images.image_files import (
    ARCHIVES,
    by_suffix,
    files_below,
    files_of,
    has_images,
    subfolders,
)
from pnag.images.part_names import part_of

# Folders that hold a class's, a part's or a whole data set's images, and are no class.
CONTAINERS = frozenset([
    "images", "image", "imgs", "img", "jpegimages", "jpegs", "jpg", "png", "pictures", "pics",
    "photos",
])  # fmt: skip
_BESIDE = frozenset([
    "annotations", "annotation", "labels", "label", "masks", "mask", "bboxes", "boxes", "xml",
    "xmls", "json", "segmentation", "segmentations", "segmentationclass", "segmentationobject",
    "groundtruth", "ground_truth", "gt",
])  # fmt: skip
_SHOWN = 4


@dataclass
class Labelled:
    """Images with the names of their classes.

    Attributes:
        classes: all of them, also those without an image here.
        unused: files that are no image of a class.
    """

    samples: list[tuple[Path, str]] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unused: list[Path] = field(default_factory=list)


def some(names: Sequence[object]) -> str:
    """The first few names, and how many there are."""
    shown = ", ".join(map(str, names[:_SHOWN]))
    return f"{shown}, ... ({len(names)})" if len(names) > _SHOWN else shown


def read_class_folders(folder: Path, part: str) -> Labelled:
    """The images of a folder's class folders, and of the folders in these.

    Args:
        part: of a part to train on every class needs images.

    Raises:
        PnagError: if the folders are not those of classes, or without images.
    """
    folders = subfolders(folder)
    refuse_images_beside(folder, folders)
    _refuse_nested(folder, folders)
    found = Labelled(classes=[f.name for f in folders], unused=_stray(folder))
    for class_folder in folders:
        files = files_below(class_folder)
        found.samples += [(path, class_folder.name) for path in files.images]
        found.unused += files.others
    counts = Counter(name for _, name in found.samples)
    if not counts:
        raise PnagError(
            f"there are no images in {folder}; it needs a folder of images for each class, for "
            f"example {folder}/cat/1.jpg{_seen(found.unused)}"
        )
    for name in found.classes:
        if not counts[name] and part == "train":
            empty = [path for path in found.unused if (folder / name) in path.parents]
            raise PnagError(
                f"the class folder {folder / name} has no images; move it "
                f"elsewhere or add images{_seen(empty)}"
            )
    return found


def _stray(folder: Path) -> list[Path]:
    files = files_of(folder)
    return [*files.images, *files.others]


def _seen(files: list[Path]) -> str:
    archives = any(path.suffix.lower() in ARCHIVES for path in files)
    return f" (its files: {by_suffix(files)}{'; unpack them' if archives else ''})" if files else ""


def refuse_images_beside(folder: Path, folders: list[Path]) -> None:
    """Refuse a folder that has images in one folder and, in others, what is known about them.

    Raises:
        PnagError: if it is one.
    """
    holding = [f for f in folders if f.name.lower() in CONTAINERS]
    others = [f for f in folders if f not in holding]
    if not holding or not others:
        return
    if any(f.name.lower() not in _BESIDE for f in others) and any(map(has_images, others)):
        return  # a class may be called photos
    names = some([f.name for f in folders])
    inner = subfolders(holding[0])
    if inner and not has_images(holding[0]):
        raise PnagError(
            f"{folder} has the folders {names}, which are not classes: the images are in "
            f"{holding[0]}, in folders ({some([f.name for f in inner])}); if these are the "
            f"classes or the parts, name {holding[0]}"
        )
    raise PnagError(
        f"{folder} has the folders {names}: images in one and, in others, what is known about "
        "them, as for detection or segmentation; these are not classes; put the images of each "
        f"class into a folder, for example {folder}/cat/1.jpg, or write {folder}/labels.csv with "
        "the columns file_name,label"
    )


def _refuse_nested(folder: Path, folders: list[Path]) -> None:
    """Folders that hold only folders are not classes, unless each holds one for its images."""
    nested = {}
    for f in folders:
        inner = [] if has_images(f) else [g for g in subfolders(f) if files_below(g).images]
        if inner and not _is_container(f, inner):
            nested[f] = inner
    names = {tuple(g.name for g in inner) for inner in nested.values()}
    if not nested or (len(nested) == len(folders) > 1 and len(names) == 1 == len(min(names))):
        return
    first, inner = next(iter(nested.items()))
    seen = f"{first} holds no images but folders ({some([g.name for g in inner])})"
    if all(part_of(g.name) for g in inner):
        raise PnagError(
            f"{seen}, which are parts; put the parts first and the classes into them, for example "
            f"{folder}/{inner[0].name}/{first.name}/1.jpg"
        )
    raise PnagError(
        f"{seen}, and a class folder holds its images: if {inner[0].name} is a class, name "
        f"{first} or put all classes' folders into one folder; if {first.name} is, move the images "
        "out of the folders in it"
    )


def _is_container(folder: Path, inner: list[Path]) -> bool:
    return len(inner) == 1 and inner[0].name.lower() in {*CONTAINERS, folder.name.lower()}
