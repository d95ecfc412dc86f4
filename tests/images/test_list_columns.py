"""Which columns of a list hold the classes and the parts, and what else stands in lists."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from made_images import class_folders, write

Call = Callable[..., Any]


def ok(answer: tuple[Any, str]) -> str:
    result, text = answer
    assert result.exit_code == 0, text
    return text


def write_list(path: Path, header: str, rows: Iterable[str]) -> None:
    path.write_text("\n".join([header, *rows]))


# Classes


def competition(root: Path, label: str, of_tests: list[int]) -> Path:
    """Parts without class folders, and in one list of both a column with the classes' names, too.

    Args:
        label: how the column of the classes is called, the last one.
    """
    write(root / "train", 8)
    write(root / "test", 4, first=50)
    rows = [f"train/{n}.png,{n // 4},{n % 2}" for n in range(8)]
    rows += [f"test/{n}.png,{n // 2},{label}" for n, label in enumerate(of_tests)]
    write_list(root / "labels.csv", f"file_name,sex,{label}", rows)
    return root


@pytest.mark.parametrize("label", ["label", "Species"])
def test_a_column_called_label_is_taken_before_others(
    label: str, tmp_path: Path, look: Call, decoded: Call
) -> None:
    root = competition(tmp_path / "set", label, [0, 1, 0, 1])
    assert "sex" not in ok(look(root))
    assert decoded(root).test.labels.tolist() == [0, 1, 0, 1]


def test_no_other_column_stands_in_for_it(tmp_path: Path, look: Call) -> None:
    result, text = look(competition(tmp_path / "set", "label", [0, 1, 2, 1]))
    assert result.exit_code == 2
    assert "labels.csv has the class 2, but there are 2 classes" in text


@pytest.mark.parametrize(
    ("header", "row", "says"),
    [
        ("file,label,kind", "{n}.png,it is {n},{name}", "the column 'kind' of {list} is taken for"),
        ("file,kind,other", "{n}.png,{name},x", "since it holds names of classes only, not other;"),
        ("file,kind,size", "{n}.png,{name},{n}", ""),
    ],
)
def test_a_column_of_names_that_is_guessed_is_said(
    header: str, row: str, says: str, tmp_path: Path, look: Call, decoded: Call
) -> None:
    root = class_folders(tmp_path / "set" / "train", "x", "y").parent
    write(root / "val", 4, first=50)
    rows = [row.format(n=n, name="xy"[n % 2]) for n in range(4)]
    write_list(root / "val.csv", header, rows)
    text = ok(look(root))
    assert says.format(list=root / "val.csv") in text
    assert ("is taken for that of the classes" in text) == bool(says)
    assert decoded(root).test.labels.tolist() == [0, 1, 0, 1]


def test_a_column_for_each_class_is_no_column_of_names(
    tmp_path: Path, look: Call, decoded: Call
) -> None:
    root = class_folders(tmp_path / "set" / "train", "0", "1").parent
    for path in write(root / "val", 4, first=50).iterdir():
        path.rename(path.with_name(f"img{path.name}"))  # a header with names of files is a row
    rows = [f"img{n}.png,{1 - n % 2},{n % 2}" for n in range(4)]
    write_list(root / "val.csv", "file,0,1", rows)
    ok(look(root))
    assert decoded(root).test.labels.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("classes", ["12345", ["1.0", "2.0", "3.0", "4.0", "5.0"]])
def test_names_of_classes_that_are_numbers(
    classes: Iterable[str], tmp_path: Path, look: Call, decoded: Call
) -> None:
    root = class_folders(tmp_path / "set" / "train", *classes).parent
    write(root / "val", 4, first=50)
    write_list(root / "val.csv", "file,label", [f"{n}.png,{n + 1}.0" for n in range(4)])
    assert "are numbers" not in ok(look(root))
    assert decoded(root).test.labels.tolist() == [0, 1, 2, 3]


# Parts


def parted(root: Path, parts: list[str], title: str = "split") -> Path:
    write(root, len(parts))
    rows = [f"{n}.png,{'xy'[n % 2]},{part}" for n, part in enumerate(parts)]
    write_list(root / "metadata.csv", f"file_name,label,{title}", rows)
    return root


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        (["train"] * 8 + ["test"] * 3 + ["extra"],
         "the column 'split' of {list} holds parts and, in other rows, 'extra'; write one of"),
        (["train"] * 8 + ["test"] * 2 + ["", "?"], "in other rows, '', '?'; write one of"),
        (["test"] * 6 + ["val"] * 6, "the column 'split' of {list} has no row for train that names "
         "an image, only for test, validation; write train there"),
    ],
)  # fmt: skip
def test_parts_that_are_not_clear(parts: list[str], says: str, tmp_path: Path, look: Call) -> None:
    root = parted(tmp_path / "set", parts)
    result, text = look(root)
    assert result.exit_code == 2, text
    assert says.format(list=root / "metadata.csv") in text


def test_parts_of_images_that_are_not_there(tmp_path: Path, look: Call) -> None:
    root = parted(tmp_path / "set", ["train"] * 8 + ["test"] * 4)
    with (root / "metadata.csv").open("a") as file:
        file.write("\n99.png,x,extra")
    text = ok(look(root))
    assert "6 images to train on, 2 to choose by, 4 to judge by" in text
    assert "1 row(s) of" in text


def test_a_column_that_says_no_parts_is_not_used(tmp_path: Path, look: Call) -> None:
    text = ok(look(parted(tmp_path / "set", ["red", "green"] * 6, "set")))
    assert "not used: the column 'set' of" in text and "no parts: green, red" in text


# Long cells


@pytest.mark.parametrize("name", ["masks.csv", "labels.csv"])
def test_cells_of_any_length(name: str, tmp_path: Path, look: Call) -> None:
    limit = csv.field_size_limit()
    root = write(tmp_path / "set", 12)
    write_list(root / "labels.csv", "file,label", [f"{n}.png,{'xy'[n % 2]}" for n in range(12)])
    write_list(root / name, "file,label,mask", [
        f"{n}.png,{'xy'[n % 2]},{'1 2 ' * 40_000}" for n in range(12)
    ])  # fmt: skip
    text = ok(look(root))
    assert "2 classes (x, y)" in text and "those in" in text
    assert csv.field_size_limit() == limit
