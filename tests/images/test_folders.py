"""Folders that are parts, classes, both or neither."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_images import class_folders, write

Call = Callable[..., Any]


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("seg_train", "seg_test"),
        ("Train", "VALIDATION"),
        ("training_set", "testing_set"),
        ("my-train", "my-dev"),
        ("train2017", "val2017"),
        ("TrainImages", "EvalImages"),
        ("seg_train/seg_train", "seg_test/seg_test"),
    ],
)
def test_the_usual_names_of_parts(
    train: str, test: str, tmp_path: Path, look: Call, decoded: Call
) -> None:
    root = tmp_path / "set"
    class_folders(root / train, "x", "y", count=5)
    class_folders(root / test, "x", "y", count=2, first=50)
    result, text = look(root)
    assert result.exit_code == 0, text
    assert "2 classes (x, y) at 32x32: 8 images to train on, 2 to choose by, 4 to judge by" in text
    data = decoded(root)
    assert data.classes == ("x", "y") and data.test.labels.tolist() == [0, 0, 1, 1]


def test_a_class_may_be_called_like_a_part(tmp_path: Path, look: Call) -> None:
    for number, names in enumerate((("car", "plane", "train"), ("test_tube", "beaker", "funnel"))):
        result, text = look(class_folders(tmp_path / f"set{number}", *names))
        assert result.exit_code == 0, text
        assert f"3 classes ({', '.join(sorted(names))})" in text
        assert ("train in" in text and "is taken for a class" in text) == ("train" in names)


def test_a_part_that_is_taken_for_a_class_is_said(tmp_path: Path, look: Call) -> None:
    root = class_folders(tmp_path / "set", "cat", "dog", "test")
    result, text = look(root)
    assert result.exit_code == 0, text
    assert f"test in {root} is taken for a class, as the other folders are; if it is a part" in text
    assert f"the other folders into a folder {root}/train" in text


@pytest.mark.parametrize("listed", [False, True])
def test_files_beside_parts_are_counted(listed: bool, tmp_path: Path, look: Call) -> None:
    root = tmp_path / "set"
    class_folders(root / "train", "x", "y", count=5)
    write(root, 3, first=300)
    (root / "readme.txt").write_text("what this is\n")
    if listed:  # which is used
        write(root / "val", 4, first=50)
        lines = [f"val/{n}.png,{'xy'[n % 2]}" for n in range(4)]
        (root / "val.csv").write_text("\n".join(["file,label", *lines]))
    else:
        class_folders(root / "val", "x", "y", count=2, first=50)
    result, text = look(root)
    assert result.exit_code == 0, text
    assert f"4 file(s) in {root} are not used (.png 3, .txt 1)" in text


def test_many_classes_are_shortened(tmp_path: Path, look: Call) -> None:
    names = [f"c{number:02}" for number in range(12)]
    result, text = look(class_folders(tmp_path / "set", *names, count=3))
    assert result.exit_code == 0, text
    assert "12 classes (c00, c01, c02, c03, c04, ... c11)" in text


def test_an_archive_s_own_folder(tmp_path: Path, look: Call) -> None:
    root = tmp_path / "archive"
    class_folders(root / "flowers" / "train", "x", "y")
    (root / "__MACOSX" / "flowers").mkdir(parents=True)
    result, text = look(root)
    assert result.exit_code == 0 and "2 classes (x, y)" in text


def test_each_class_may_keep_its_images_in_a_folder(tmp_path: Path, look: Call) -> None:
    root = tmp_path / "set"
    for number, name in enumerate("xy"):
        write(root / name / "images", 6, 100 * number)
        (root / name / f"{name}_boxes.txt").write_text("0.png 1 2 3 4\n")
    result, text = look(root)
    assert result.exit_code == 0 and "2 classes (x, y)" in text
    assert "2 file(s) in" in text and "are not used (.txt 2)" in text


def parts_with_images(root: Path) -> None:
    write(root / "train")
    write(root / "test", first=50)


def parts_without_a_separator(root: Path) -> None:
    write(root / "mytrain")
    write(root / "mytest", first=50)


def parts_and_more_with_images(root: Path) -> None:
    for number, name in enumerate(("train", "test", "more")):
        write(root / name, first=50 * number)


def detection(root: Path) -> None:
    write(root / "train2017")
    write(root / "val2017", first=50)
    (root / "annotations").mkdir()
    (root / "annotations" / "instances.json").write_text('{"images": []}')


def folders_of_folders(root: Path) -> None:
    class_folders(root / "animals", "cat", "dog")
    class_folders(root / "vehicles", "car", "bus")


def one_folder_of_folders(root: Path) -> None:
    class_folders(root, "cat")
    class_folders(root / "dogs", "poodle", "husky")


def classes_with_parts(root: Path) -> None:
    for name in ("cat", "dog"):
        class_folders(root / name, "train", "test")


def images_beside_annotations(root: Path) -> None:
    write(root / "images")
    (root / "annotations").mkdir()
    (root / "annotations" / "0.xml").write_text("<a/>")


def images_beside_masks(root: Path) -> None:
    write(root / "Images")
    write(root / "masks", first=50)


def classes_beside_annotations(root: Path) -> None:
    class_folders(root / "images", "cat", "dog")
    (root / "annotations").mkdir()


def two_parts_to_train_on(root: Path) -> None:
    class_folders(root / "train1", "cat", "dog")
    class_folders(root / "train2", "cat", "dog", first=50)


def no_part_to_train_on(root: Path) -> None:
    class_folders(root / "seg_test", "cat", "dog")


def nothing_at_all(root: Path) -> None:
    root.mkdir()


@pytest.mark.parametrize(
    ("make", "seen", "expected"),
    [
        (parts_with_images, "the folders test, train, which are parts and hold images",
         "train/cat/1.jpg, or a list such as"),
        (parts_without_a_separator, "only folders that are called like parts (mytest, mytrain)",
         "mytest/cat/1.jpg"),
        (parts_and_more_with_images, "the folders test, train, which are parts", "train/cat/1.jpg"),
        (detection, "the folders train2017, val2017, which are parts", "train2017/cat/1.jpg"),
        (folders_of_folders, "animals holds no images but folders (cat, dog)", "if cat is a class"),
        (one_folder_of_folders, "dogs holds no images but folders (husky, poodle)", "if husky is"),
        (classes_with_parts, "cat holds no images but folders (test, train), which are parts",
         "put the parts first"),
        (images_beside_annotations, "the folders annotations, images: images in one",
         "write {root}/labels.csv with the columns file_name,label"),
        (images_beside_masks, "the folders Images, masks: images in one", "{root}/cat/1.jpg"),
        (classes_beside_annotations, "the folders annotations, images, which are not classes",
         "name {root}/images"),
        (two_parts_to_train_on, "2 folders for the part train: train1, train2", "leave one there"),
        (no_part_to_train_on, "has seg_test but no folder train", "into a folder train"),
        (nothing_at_all, "there are no images in", "{root}/cat/1.jpg"),
    ],
)  # fmt: skip
def test_what_is_no_folder_of_classes(
    make: Callable[[Path], None], seen: str, expected: str, tmp_path: Path, look: Call
) -> None:
    root = tmp_path / "set"
    make(root)
    result, text = look(root)
    assert result.exit_code == 2, text
    assert seen in text and expected.format(root=root) in text
    assert not list((tmp_path / "cache").glob("*/images.json"))
