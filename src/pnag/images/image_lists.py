"""Images whose classes are in a list: labels.csv, metadata.csv, val_annotations.txt and others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from pnag.errors import PnagError
from pnag.images.class_folders import Labelled, some
from pnag.images.image_files import SUFFIXES as IMAGES
from pnag.images.image_files import files_below, subfolders
from pnag.images.list_files import SUFFIXES, Table, read_table
from pnag.images.part_names import part_of

# Columns that hold the class, the likelier ones first.
LABELS = [
    "label", "labels", "class", "class_name", "classname", "label_name", "category",
    "category_name", "target", "species", "breed", "diagnosis", "wnid", "synset", "class_id",
    "classid", "label_id", "category_id", "y",
]  # fmt: skip
_FILES = [
    "file_name", "filename", "file", "filepath", "file_path", "path", "image", "image_name",
    "image_path", "image_id", "img", "id", "name",
]  # fmt: skip
_SPLITS = ("split", "set", "subset", "part", "partition", "data set", "dataset", "data_set")
_ENOUGH = 0.5  # of the images or of the rows
_NEARLY_ALL = 0.9


class UnclearError(PnagError):
    """A list names the images, and not in a way that we know their classes."""


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
    """What a list says of a folder's images.

    Attributes:
        rows: of the list, those that name an image.
        parts: of the samples, where the list says it.
    """

    path: Path
    labelled: Labelled
    rows: Set[tuple[str, ...]]
    parts: list[str] | None = None

    def by_part(self) -> dict[str, Labelled]:
        """One part to train on, or those that the list has."""
        if self.parts is None:
            return {"train": self.labelled}
        found: dict[str, Labelled] = {}
        for sample, part in zip(self.labelled.samples, self.parts, strict=True):
            found.setdefault(part, Labelled()).samples.append(sample)
        for labelled in found.values():
            labelled.classes = by_number_or_name({name for _, name in labelled.samples})
        if "train" in found:
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
        root: of the whole data set; lists are sought there, in the folder, and between.
        classes: those of the training images, if they are known.
        taken: rows of lists that are of the images of another part, which may have the same names.
        sure: whether only a column counts that is called like one of classes.

    Raises:
        UnclearError: if such a list does not say of which class the images are.
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
    labels, notes = _labels(path, table, column, classes, sure=sure)
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
                path.suffix in SUFFIXES
                and not name.startswith(".")
                and path.stem not in stems  # 1.txt of 1.jpg says something else
                # to be filled in by who takes part in a competition: its classes mean nothing
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
                # Two of a name are none.
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
    split = _split_column(table) if flat.named == root else None
    samples: dict[Path, str] = {}
    parts: dict[Path, str] = {}
    gone: list[str] = []
    rows = set()
    for row, (cells, label) in enumerate(zip(table.rows, labels, strict=True)):
        image = names.find(cells[file_column])
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
                f"{path} says of {image.name} that it is {samples[image]!r} and {label!r}; an "
                "image needs one class: remove one of the rows"
            )
        if split is not None:
            parts[image] = split[row]
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
        [parts[image] for image, _ in ordered] if parts else None,
    )


def by_number_or_name(names: Iterable[str]) -> list[str]:
    """Names of classes in order: numbers by value, then names."""
    return sorted(names, key=_order)


def _order(name: str) -> tuple[int, int, str]:
    return (0, int(name), name) if name.isdecimal() and name.isascii() else (1, 0, name)


def _split_column(table: Table) -> list[str] | None:
    for number, title in enumerate(table.columns):
        parts = [part_of(cell) for cell in table.column(number)]
        if title.lower() in _SPLITS and all(parts):
            return [part for part in parts if part]
    return None


def _labels(
    path: Path, table: Table, file_column: int, classes: Sequence[str] | None, *, sure: bool
) -> tuple[list[str], list[str]]:
    """The class of each row, and what was assumed to know it.

    Raises:
        UnclearError: if it is not clear which column holds them.
        PnagError: if they are not among `classes`.
    """
    split = [n for n, title in enumerate(table.columns) if title.lower() in _SPLITS]
    others = [n for n in range(len(table.columns)) if n not in (file_column, *split)]
    if classes is not None:
        known = set(classes)
        for number in others:  # of "n03995372 85 1 499 272", ImageNet's, the first word
            words = [(cell.split() or [""])[0] for cell in table.column(number)]
            cells = table.column(number)
            for found in (cells, words):
                if known.issuperset(found):
                    return found, []
    one_hot = _one_hot(table, others)
    if one_hot is not None:
        return one_hot, []
    titles = [title.lower() for title in table.columns]
    named = [titles.index(title) for title in LABELS if title in titles]
    named = [number for number in named if number in others]
    if not named and not sure and len(others) == 1:
        named = others if classes is not None or _few(table.column(others[0])) else []
    if not named:
        raise UnclearError(
            f"{path} names the images and has the columns {some(table.columns)}; which of them "
            "holds the classes is not clear: call it label"
        )
    cells = [_whole(cell) for cell in table.column(named[0])]
    if fraction := next((cell for cell in cells if _is_fraction(cell)), None):
        raise UnclearError(
            f"{path}: the column {table.columns[named[0]]!r} holds {fraction}, needs names or "
            "whole numbers of classes, one for each image"
        )
    return _numbered(path, cells, classes) if classes is not None else (cells, [])


def _few(cells: list[str]) -> bool:
    """Whether a column of any name may be one of classes, not of captions or measurements."""
    return len(set(cells)) <= len(cells) / 2


def _whole(cell: str) -> str:
    """1 of 1.0, as numbers are written where some are missing."""
    return cell.removesuffix(".0") if cell.removesuffix(".0").isdecimal() else cell


def _is_fraction(cell: str) -> bool:
    whole, point, rest = cell.partition(".")
    return bool(point) and whole.removeprefix("-").isdecimal() and rest.isdecimal()


def _one_hot(table: Table, others: list[int]) -> list[str] | None:
    """Classes of rows with a 1 in the column of theirs and 0 in the others'."""
    if len(others) < 2:
        return None
    cells = [[row[number] for number in others] for row in table.rows]
    ones, zeros = ("1", "1.0"), ("0", "0.0")
    if not all(cell in ones or cell in zeros for row in cells for cell in row):
        return None
    if any(sum(cell in ones for cell in row) != 1 for row in cells):
        return None
    places = [next(n for n, cell in enumerate(row) if cell in ones) for row in cells]
    return [table.columns[others[place]] for place in places]


def _numbered(path: Path, cells: list[str], classes: Sequence[str]) -> tuple[list[str], list[str]]:
    """Names of classes by numbers, which count the training images' classes by name."""
    counts = Counter(cells)
    strange = [cell for cell in counts if not (cell.isascii() and cell.isdecimal())]
    if strange:
        raise PnagError(
            f"{path} has the class {strange[0]!r} that the training images do not have "
            f"({len(strange)} such class(es)); correct it, or add images of it to train"
        )
    numbers = [int(cell) for cell in cells]
    first = 1 if min(numbers) >= 1 and max(numbers) == len(classes) else 0
    if max(numbers) - first >= len(classes):
        raise PnagError(
            f"{path} has the class {max(numbers)}, and there are {len(classes)} classes; give "
            "the classes by their names"
        )
    note = (
        f"the classes in {path} are numbers: {first} is taken for {classes[0]!r}, the first by "
        f"name, {first + len(classes) - 1} for {classes[-1]!r}"
    )
    return [classes[number - first] for number in numbers], [note]
