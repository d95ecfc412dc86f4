"""Which column of a list holds the classes of images, and what its cells say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pnag.errors import PnagError
from pnag.images.class_folders import some
from pnag.images.list_files import Table

# Columns that hold the class, the likelier ones first.
LABELS = [
    "label", "labels", "class", "class_name", "classname", "label_name", "category",
    "category_name", "target", "species", "breed", "diagnosis", "wnid", "synset", "class_id",
    "classid", "label_id", "category_id", "y",
]  # fmt: skip
# Columns that say which part an image belongs to.
SPLITS = ("split", "set", "subset", "part", "partition", "data set", "dataset", "data_set")


class UnclearError(PnagError):
    """A list names the images, but it is not clear which classes they have."""


def labels_of(
    path: Path, table: Table, file_column: int, classes: Sequence[str] | None, *, sure: bool
) -> tuple[list[str], list[str]]:
    """The class of each row, and what was assumed to know it.

    Args:
        path: the list's, for messages.
        file_column: the number of the one that names the images.
        classes: those of the training images, if they are known.
        sure: whether only a column counts that is called like one of classes.

    Raises:
        UnclearError: if it is not clear which column holds them.
        PnagError: if they are not among `classes`.
    """
    split = [n for n, title in enumerate(table.columns) if title.lower() in SPLITS]
    others = [n for n in range(len(table.columns)) if n not in (file_column, *split)]
    titles = [title.lower() for title in table.columns]
    named = [titles.index(title) for title in LABELS if title in titles]
    named = [number for number in named if number in others]
    one_hot = _one_hot(table, others)
    if classes is not None and not (one_hot and set(classes).issuperset(one_hot)):
        by_name = _by_name(path, table, named, others, set(classes))
        if by_name is not None:
            return by_name
    if one_hot is not None:
        return one_hot, []
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
            f"{path}: the column {table.columns[named[0]]!r} must hold names or whole "
            f"numbers of classes, one for each image, not {fraction}"
        )
    return _numbered(path, cells, classes) if classes is not None else (cells, [])


def _by_name(
    path: Path, table: Table, named: list[int], others: list[int], known: set[str]
) -> tuple[list[str], list[str]] | None:
    """The class of each row by a column of nothing but names of classes, and what was assumed.

    Args:
        named: columns that are called like one of classes. others: all that may be one.
    """
    for number in named:
        if (names := _all_known(table.column(number), known)) is not None:
            return names, []
    if any(not known.isdisjoint(map(_whole, table.column(number))) for number in named):
        return None  # it is the one, with classes that train does not have: no other stands in
    found = {n: names for n in others if (names := _all_known(table.column(n), known)) is not None}
    if not found:
        return None
    first, names = next(iter(found.items()))
    passed = [*named, *(number for number in found if found[number] != names)]
    notes = [
        f"the column {table.columns[first]!r} of {path} is taken for that of the classes, since "
        f"it holds names of classes only, not {some([table.columns[n] for n in passed])}; remove "
        "it if that is wrong"
    ]
    return names, notes if passed else []


def _all_known(cells: list[str], known: set[str]) -> list[str] | None:
    """The names that a column's cells are, if they all are of `known`."""
    # Of "n03995372 85 1 499 272", ImageNet's, the first word.
    words = [(cell.split() or [""])[0] for cell in cells]
    ways = (cells, [_whole(cell) for cell in cells], words)
    return next((names for names in ways if known.issuperset(names)), None)


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
            f"{path} has the class {max(numbers)}, but there are {len(classes)} classes; give "
            "the classes by their names"
        )
    note = (
        f"the classes in {path} are numbers: {first} is taken for {classes[0]!r}, the first by "
        f"name, {first + len(classes) - 1} for {classes[-1]!r}"
    )
    return [classes[number - first] for number in numbers], [note]
