"""Images whose classes are in a list: labels.csv, metadata.csv, val_annotations.txt and others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pnag.errors import PnagError
from pnag.images.class_folders import Labelled, some
from pnag.images.image_files import SUFFIXES as IMAGES
from pnag.images.image_files import files_below, subfolders
from pnag.images.list_classes import SPLITS, labels_of
from pnag.images.list_files import SUFFIXES, Table, read_table
from pnag.images.part_names import PARTS_LIKE, part_of

# Columns that name the files.
_FILES = [
    "file_name", "filename", "file", "filepath", "file_path", "path", "image", "image_name",
    "image_path", "image_id", "img", "id", "name",
]  # fmt: skip
_ENOUGH = 0.5  # of the images or of the rows
_NEARLY_ALL = 0.9


@dataclass(frozen=True)
class Flat:
    """Images that are in no class folders.

    Attributes:
        named: the folder as it is called. folder: where the images are, itself or in it.
    """

    part: str
    named: Path
    folder: Path
    files: tuple[Path, ...]

    @classmethod
    def of(cls, part: str, named: Path, folder: Path) -> Flat:
        """All images below `folder`."""
        return cls(part, named, folder, tuple(files_below(folder).images))


@dataclass(frozen=True)
class FromList:
    """What a list says about a folder's images.

    Attributes:
        rows: of the list, those that name an image.
        parts: of the samples, where the list says it.
        split: the column that says it.
    """

    path: Path
    labelled: Labelled
    rows: Set[tuple[str, ...]]
    parts: list[str] | None = None
    split: str = ""

    def by_part(self) -> dict[str, Labelled]:
        """One part to train on, or those that the list has.

        Raises:
            PnagError: if none of these is to train on.
        """
        if self.parts is None:
            return {"train": self.labelled}
        found: dict[str, Labelled] = {}
        for sample, part in zip(self.labelled.samples, self.parts, strict=True):
            found.setdefault(part, Labelled()).samples.append(sample)
        for labelled in found.values():
            labelled.classes = by_number_or_name({name for _, name in labelled.samples})
        if "train" not in found:
            raise PnagError(
                f"the column {self.split!r} of {self.path} has no row for train that names an "
                f"image, only for {some(sorted(found))}; write train there for the images to train "
                "on, or remove the column"
            )
        found["train"].unused = self.labelled.unused
        return found


def read_list(
    root: Path,
    flat: Flat,
    classes: Sequence[str] | None,
    taken: Mapping[Path, Set[tuple[str, ...]]] | None = None,
    *,
    sure: bool = False,
) -> FromList | None:
    """What the list says that names most of a folder's images; None if there is none.

    Args:
        root: of the whole data set; lists are looked for there, in the folder, and between.
        classes: those of the training images, if they are known.
        taken: rows of lists that are of the images of another part, which may have the same names.
        sure: whether only a column counts that is called like one of classes.

    Raises:
        UnclearError: if such a list does not say which class the images belong to.
        PnagError: if it says it in two ways, or of classes that there are not.
    """
    names = _Names(root, flat)
    best: tuple[int, Path, Table, int] | None = None
    for path in _candidates(root, flat):
        table = read_table(path, names.stems)
        if table is None:
            continue
        if taken and path in taken:
            table = Table(table.columns, [r for r in table.rows if tuple(r) not in taken[path]])
        if not table.rows:
            continue
        hits, column = _file_column(table, names)
        if _convincing(table, column, hits, len(flat.files)) and (best is None or hits > best[0]):
            best = hits, path, table, column
    if best is None:
        return None
    _, path, table, column = best
    labels, notes = labels_of(path, table, column, classes, sure=sure)
    return _labelled(root, path, table, column, names, flat, labels, notes)


def _candidates(root: Path, flat: Flat) -> Iterator[Path]:
    folders = [flat.folder, flat.named, flat.named.parent, root]
    stems = {path.stem for path in flat.files}
    for folder in dict.fromkeys(folders):
        if not folder.is_relative_to(root):
            continue
        for path in sorted(folder.iterdir()):
            name = path.name.lower()
            if (
                path.suffix.lower() in SUFFIXES
                and not name.startswith(".")
                and path.stem not in stems  # 1.txt of 1.jpg says something else
                # for participants of a competition to fill in: its classes mean nothing
                and not any(word in name for word in ("submission", "sample"))
                and path.is_file()
            ):
                yield path


class _Names:
    """A folder's images, by whatever a list calls them."""

    def __init__(self, root: Path, flat: Flat) -> None:
        others = {folder.name for folder in subfolders(root)}
        self._others = others - set(flat.folder.relative_to(root).parts)
        self.paths: dict[str, Path | None] = {}
        for path in flat.files:
            inner = path.relative_to(flat.folder)
            for name in {inner.as_posix(), inner.with_suffix("").as_posix(), path.name, path.stem}:
                # A name that two files share names neither.
                self.paths[name] = path if self.paths.get(name, path) == path else None
        self.stems = [path.stem for path in flat.files]

    def find(self, cell: str) -> Path | None:
        """The image of a row; the list may be relative to a folder further up."""
        name = cell.replace("\\", "/").removeprefix("./")
        while name not in self.paths:
            folder, slash, name = name.partition("/")
            if not slash or folder in self._others:
                return None
        return self.paths[name]


def _file_column(table: Table, names: _Names) -> tuple[int, int]:
    """How many images the column names that names most, and which one it is."""
    found = []
    for number, title in enumerate(table.columns):
        hits = len({path for cell in table.column(number) if (path := names.find(cell))})
        found.append((hits, title.lower() in _FILES, -number))
    hits, _, number = max(found)
    return hits, -number


def _convincing(table: Table, column: int, hits: int, files: int) -> bool:
    """Whether a column names a folder's images, and not anything that is called alike.

    Numbers may be names of files, and are many other things.
    """
    cells = table.column(column)
    suffixed = sum(Path(cell).suffix.lower() in IMAGES for cell in cells) > len(cells) / 2
    if suffixed:
        return hits > 0 and hits >= _ENOUGH * min(files, len(cells))
    named = table.columns[column].lower() in _FILES
    if named:
        return hits >= _ENOUGH * files > 0
    return hits >= _NEARLY_ALL * max(files, len(cells)) > 0


def _labelled(
    root: Path,
    path: Path,
    table: Table,
    file_column: int,
    names: _Names,
    flat: Flat,
    labels: list[str],
    notes: list[str],
) -> FromList:
    images = [names.find(cell) for cell in table.column(file_column)]
    split = _split_column(path, table, images, notes) if flat.named == root else None
    samples: dict[Path, str] = {}
    parts: dict[Path, str] = {}
    gone: list[str] = []
    rows = set()
    for row, (cells, label, image) in enumerate(zip(table.rows, labels, images, strict=True)):
        if image is None:
            gone.append(cells[file_column])
            continue
        rows.add(tuple(cells))
        if not label:
            raise PnagError(
                f"{path} gives no class for {cells[file_column]}; add it or remove the row"
            )
        if samples.setdefault(image, label) != label:
            raise PnagError(
                f"{path} says that {image.name} is {samples[image]!r} and {label!r}; an "
                "image needs one class: remove one of the rows"
            )
        if split is not None:
            parts[image] = split.parts[row]
    if gone:
        notes.append(f"{len(gone)} row(s) of {path} name no image in {flat.folder}: {some(gone)}")
    unused = [image for image in flat.files if image not in samples]
    ordered = [(image, samples[image]) for image in flat.files if image in samples]
    found = by_number_or_name({name for _, name in ordered})
    notes.insert(0, f"the classes of {flat.named} are those in {path}")
    return FromList(
        path,
        Labelled(ordered, found, notes, unused),
        rows,
        [parts[image] for image, _ in ordered] if split is not None else None,
        split.title if split is not None else "",
    )


def by_number_or_name(names: Iterable[str]) -> list[str]:
    """Names of classes in order: numbers by value, then names."""
    return sorted(names, key=_order)


def _order(name: str) -> tuple[int, int, str]:
    return (0, int(name), name) if name.isdecimal() and name.isascii() else (1, 0, name)


class _Split(NamedTuple):
    """A column that says which part each row's image belongs to; "" may mark rows without one."""

    title: str
    parts: list[str]


def _split_column(
    path: Path, table: Table, images: Sequence[Path | None], notes: list[str]
) -> _Split | None:
    """The column of the parts, if there is one.

    Args:
        images: of the rows; cells about others do not matter.
        notes: gets what is not used.

    Raises:
        PnagError: if it names parts in some rows and something else in others.
    """
    mixed = []
    for number, title in enumerate(table.columns):
        if title.lower() not in SPLITS:
            continue
        cells = [cell for cell, image in zip(table.column(number), images, strict=True) if image]
        odd = sorted({cell for cell in cells if part_of(cell) is None})
        if not odd:
            return _Split(title, [part_of(cell) or "" for cell in table.column(number)])
        if all(part_of(cell) is None for cell in cells):
            notes.append(
                f"not used: the column {title!r} of {path}, whose cells are no parts: {some(odd)}"
            )
        else:
            mixed.append((title, odd))
    if mixed:
        title, odd = mixed[0]
        raise PnagError(
            f"the column {title!r} of {path} holds parts and, in other rows, "
            f"{some([repr(cell) for cell in odd])}; write one of {PARTS_LIKE} there, remove these "
            "rows, or call the column otherwise if it does not say the parts"
        )
    return None
