"""A folder of images: its parts, and in each the classes, by class folders or by a list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pnag.errors import PnagError
from pnag.images.class_folders import (
    CONTAINERS,
    Labelled,
    read_class_folders,
    refuse_images_beside,
    some,
)
from pnag.images.image_files import by_suffix, files_of, has_images, subfolders
from pnag.images.image_lists import Flat, FromList, read_list
from pnag.images.list_classes import UnclearError
from pnag.images.part_names import PARTS_LIKE, like_a_part, only_a_part, part_of
from pnag.images.rows import Listed, Opened, Rows, Source, all_rows
from pnag.images.unlabelled import refuse_unlabelled

EXPECTED = "a folder train of class folders, and if you like test and val alike"
# By which a cache knows parts with a list; another when the same list gives other classes.
_ONE, _PARTS_LISTED = "folder", "parts and lists, by columns called label first"
FOLDERS = (_ONE, _PARTS_LISTED)  # the kinds of source that this module finds


@dataclass
class Layout:
    """What a folder of images consists of.

    Attributes:
        root: where the parts are, or the class folders.
        classed: folders of class folders, by part.
        flat: images of a part without class folders.
        other: folders that are neither.
    """

    root: Path
    classed: dict[str, Path] = field(default_factory=dict)
    flat: list[Flat] = field(default_factory=list)
    other: list[Path] = field(default_factory=list)

    @property
    def has_train(self) -> bool:
        """Whether it is clear that the images to train on are files of this folder."""
        of_parts = "train" in self.classed or any(flat.part == "train" for flat in self.flat)
        classes = [f for f in self.other if f.name.lower() not in CONTAINERS]
        return of_parts or (len(classes) > 1 and any(map(has_images, classes)))


def look_at(root: Path) -> Layout:
    """Find out what a folder's folders are.

    Raises:
        PnagError: if two of them are for one part, or one cannot be read.
    """
    root = _inner(root, None)
    layout = Layout(root)
    folders = subfolders(root)
    named: dict[str, list[Path]] = {}
    for folder in folders:
        part, inner = part_of(folder.name), _inner(folder, part_of(folder.name))
        if part is None or not _holds(inner):
            layout.other.append(folder)
            continue
        named.setdefault(part, []).append(folder)
        flat = _flat_folder(inner)
        if flat is None:
            layout.classed[part] = inner
        else:
            layout.flat.append(Flat.of(part, folder, flat))
    if _are_classes(layout) and not _lists_in(root, layout):
        return Layout(root, other=folders)
    for part, several in named.items():
        if len(several) > 1:
            raise PnagError(
                f"{root} has {len(several)} folders for the part {part}: "
                f"{some([f.name for f in several])}; leave one there, or put the images of both "
                "into one"
            )
    return layout


def _are_classes(layout: Layout) -> bool:
    """Whether folders are classes though one is called like a part: cars, planes, train."""
    sure = {flat.part for flat in layout.flat if only_a_part(flat.named.name)}
    others = any(map(has_images, layout.other)) or len(layout.flat) > len(sure)
    return bool(layout.flat) and not layout.classed and others and len(sure) < 2


def _lists_in(root: Path, layout: Layout) -> bool:
    try:
        return any(read_list(root, flat, None) for flat in layout.flat)
    except PnagError:
        return True  # reported when it is used


def has_list(layout: Layout) -> bool:
    """Whether a list says the classes of a folder's images, which are in no parts."""
    if layout.classed or layout.flat:
        return False
    try:
        return _list_of(layout.root, _flat_images(layout.root)) is not None
    except UnclearError:  # it says something else
        return False
    except PnagError:
        return True  # reported when it is used


def folder_source(layout: Layout, unread: Sequence[Path] = ()) -> Source:
    """The images of a folder.

    Args:
        unread: files of images that are not read, because a list says the classes of others.

    Raises:
        PnagError: if it is not clear which image is of which class, or classes differ by part.
    """
    root = layout.root
    if layout.classed or layout.flat:
        parts, lists, notes = _parts(layout)
    else:
        parts, lists, notes = _one_set(layout)
    if "train" not in parts:
        names = [path.name for path in layout.classed.values()]
        names += [flat.named.name for flat in layout.flat]
        raise PnagError(
            f"{root} has {some(sorted(names))} but no folder train; put the images to train on "
            "into a folder train of class folders"
        )
    classes = parts["train"].classes
    notes += _check_classes(root, parts)
    unused = [path for found in parts.values() for path in found.unused]
    kind = _ONE
    if layout.classed or layout.flat:
        beside = files_of(root)
        unused += [path for path in (*beside.images, *beside.others) if path not in lists]
        kind = _PARTS_LISTED if lists else kind
    if unused:
        notes.append(f"{len(unused)} file(s) in {root} are not used ({by_suffix(unused)})")
    if unread:
        notes.append(f"not read: {some(unread)}; the images are those that {some(lists)} names")
    return _source(kind, root, classes, parts, lists, notes)


def _source(
    kind: str,
    root: Path,
    classes: list[str],
    parts: dict[str, Labelled],
    lists: list[Path],
    notes: list[str],
) -> Source:
    index = {name: label for label, name in enumerate(classes)}

    def open_folder(_: Path) -> Opened:
        rows = {part: _rows(found, index) for part, found in parts.items()}
        return Opened(tuple(classes), rows, notes)

    files = {
        part: [(_within(path, root), path) for path, _ in found.samples]
        for part, found in parts.items()
    }
    if lists:
        files["lists"] = [(_within(path, root), path) for path in lists]
    return Source(kind, files, open_folder)


def _within(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name


def _rows(found: Labelled, index: dict[str, int]) -> Rows:
    labels = np.array([index[name] for _, name in found.samples], np.int64)
    return all_rows(Listed([str(path) for path, _ in found.samples]), labels)


def _parts(layout: Layout) -> tuple[dict[str, Labelled], list[Path], list[str]]:
    root = layout.root
    parts = {part: read_class_folders(folder, part) for part, folder in layout.classed.items()}
    lists: list[FromList] = []
    notes = []
    for flat in sorted(layout.flat, key=lambda flat: flat.part != "train"):
        train = parts.get("train")
        found, why = _of_list(root, flat, train.classes if train else None, lists)
        if found is not None:
            parts[flat.part] = found.labelled
            lists.append(found)
        elif flat.part == "test" and train:  # competitions publish it so
            notes.append(f"not used: the {len(flat.files)} image(s) in {flat.named}: {why}")
        elif not layout.classed:
            raise PnagError(
                f"{root} has the folders {some([f.named.name for f in layout.flat])}, which are "
                f"parts and hold images themselves: nothing says which classes these are of; "
                f"expected is {EXPECTED}, for example {flat.named}/cat/1.jpg, or a list such as "
                f"{root}/labels.csv with the columns file_name,label"
            )
        else:
            refuse_unlabelled(flat.named, flat.files)
    if layout.other:
        notes.append(
            f"not used: {some([f.name for f in layout.other])} in {root} (not called {PARTS_LIKE})"
        )
    return (
        parts,
        [one.path for one in lists],
        [*notes, *(note for found in parts.values() for note in found.notes)],
    )


def _of_list(
    root: Path, flat: Flat, classes: list[str] | None, before: list[FromList]
) -> tuple[FromList | None, str]:
    """What a list says; without one, or of a test part, perhaps nothing, and why."""
    try:
        found = read_list(root, flat, classes, {one.path: one.rows for one in before})
    except UnclearError as error:
        if flat.part == "test" and classes:
            return None, str(error)
        raise
    return found, "they are in no class folders and in no list"


def _one_set(layout: Layout) -> tuple[dict[str, Labelled], list[Path], list[str]]:
    """A folder without parts: one of class folders, or of images with a list."""
    root, folders = layout.root, layout.other
    flat = _flat_images(root)
    if flat is None and folders and all(like_a_part(f.name) and has_images(f) for f in folders):
        raise PnagError(
            f"{root} has only folders that are called like parts ({some([f.name for f in folders])}"
            f"), which hold images themselves and are no classes; expected is {EXPECTED}, for "
            f"example {folders[0]}/cat/1.jpg"
        )
    listed = _list_of(root, flat)
    if listed is not None:
        return listed.by_part(), [listed.path], listed.labelled.notes
    if flat is not None:
        refuse_images_beside(root, subfolders(root))
        refuse_unlabelled(root, flat.files)
    found = read_class_folders(root, "train")
    if parts := [f.name for f in folders if only_a_part(f.name)]:
        found.notes.append(
            f"{some(parts)} in {root} is taken for a class, as the other folders are; if it is a "
            f"part, move it elsewhere, or the other folders into a folder {root}/train"
        )
    return {"train": found}, [], found.notes


def _flat_images(root: Path) -> Flat | None:
    place = _flat_folder(root)
    return Flat.of("train", root, place) if place is not None else None


def _list_of(root: Path, flat: Flat | None) -> FromList | None:
    return read_list(root, flat, None) if flat else _of_metadata(root)


def _of_metadata(root: Path) -> FromList | None:
    """What metadata.csv says, a list that `datasets`, too, prefers to folders."""
    if not any((root / f"metadata.{kind}").is_file() for kind in ("csv", "jsonl", "parquet")):
        return None
    try:
        return read_list(root, Flat.of("train", root, root), None, sure=True)
    except UnclearError:  # it says something else
        return None


def _holds(folder: Path) -> bool:
    return has_images(folder) or bool(subfolders(folder))


def _flat_folder(folder: Path) -> Path | None:
    """Where a folder's images are if they are in no class folders: itself, or `images` in it."""
    folders = subfolders(folder)
    if not has_images(folder):
        inner = [f for f in folders if f.name.lower() in CONTAINERS and has_images(f)]
        others = [f for f in folders if f not in inner and _any_images(f)]
        return inner[0] if len(inner) == 1 and not others else None
    return None if any(map(_any_images, folders)) else folder


def _any_images(folder: Path) -> bool:
    return has_images(folder) or any(map(_any_images, subfolders(folder)))


def _inner(folder: Path, part: str | None) -> Path:
    """Skip folders that hold nothing but one folder of folders, as archives have them.

    Args:
        part: which such a folder may be called like.
    """
    while not has_images(folder):
        inner = subfolders(folder)
        if len(inner) != 1 or part_of(inner[0].name) not in (None, part):
            break
        if has_images(inner[0]) or not subfolders(inner[0]):
            break
        folder = inner[0]
    return folder


def _check_classes(root: Path, parts: dict[str, Labelled]) -> list[str]:
    classes, notes = parts["train"].classes, []
    for part, found in parts.items():
        if part == "train":
            continue
        unknown = sorted(set(found.classes) - set(classes))
        if unknown:
            raise PnagError(
                f"{root}: {part} has a class {unknown[0]!r} that the training images do not have "
                f"({len(unknown)} such class(es)); leave it out, or add images of it to train"
            )
        if missing := sorted(set(classes) - {name for _, name in found.samples}):
            notes.append(f"{len(missing)} class(es) have no images in {part}: {some(missing)}")
    return notes
