"""Layouts whose classes are in a list, in tar or in Parquet files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_images import class_folders, encoded, picture, write, write_tar

from pnag.images.decode import centre_pixels

Call = Callable[..., Any]
LABELS = ["cat", "dog"] * 6  # of 0.png to 11.png


def ok(answer: tuple[Any, str]) -> str:
    result, text = answer
    assert result.exit_code == 0, text
    return text


def right_labels(data: Any, names: list[str], first: int = 0) -> None:
    """Each picture of `write` has the class that it was given; all of them are there."""
    labels = {}
    for part in (data.train, data.validation, data.test):
        for image, label in zip(part.images, part.labels, strict=True):
            labels[image.tobytes()] = data.classes[label]
    for number, name in enumerate(names):
        assert labels[centre_pixels(picture(first + number), 32, 32).tobytes()] == name
    assert len(labels) == len(names)


LISTS = {
    "labels.csv": "id,breed\n" + "".join(f"{n},{c}\n" for n, c in enumerate(LABELS)),
    "metadata.csv": "file_name,label\n" + "".join(f"{n}.png,{c}\n" for n, c in enumerate(LABELS)),
    "metadata.jsonl": "".join(
        json.dumps({"file_name": f"{n}.png", "label": c}) + "\n" for n, c in enumerate(LABELS)
    ),
    "list.txt": "".join(f"{n}.png {c}\n" for n, c in enumerate(LABELS)),
    "semicolons.csv": "\ufefffile;x;class\n" + "".join(
        f"images/{n}.png;1;{c}\n" for n, c in enumerate(LABELS)
    ),
    "answers.json": json.dumps({f"{n}.png": c for n, c in enumerate(LABELS)}),
    "one_hot.csv": "image_id,cat,dog\n" + "".join(
        f"{n},{int(c == 'cat')},{int(c == 'dog')}\n" for n, c in enumerate(LABELS)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(LISTS))
@pytest.mark.parametrize("inner", ["", "images"])
def test_a_list_beside_images(
    name: str, inner: str, tmp_path: Path, look: Call, decoded: Call
) -> None:
    root = tmp_path / "set"
    write(root / inner, 12)
    (root / name).write_text(LISTS[name], encoding="utf-8")
    text = ok(look(root))
    assert f"the classes of {root} are those in {root / name}" in text
    assert "2 classes (cat, dog)" in text
    right_labels(decoded(root), LABELS)


def test_a_list_of_utf16_with_parts(tmp_path: Path, look: Call, decoded: Call) -> None:
    root = write(tmp_path / "set", 12)
    rows = [f"{n}.png\t{c}\t{'test' if n > 9 else 'Train'}" for n, c in enumerate(LABELS)]
    (root / "all.tsv").write_text("\n".join(["name\tlabel\tsplit", *rows]), encoding="utf-16")
    assert "8 images to train on, 2 to choose by, 2 to judge by" in ok(look(root))
    right_labels(decoded(root), LABELS)


def test_a_competition(tmp_path: Path, look: Call, decoded: Call) -> None:
    root = tmp_path / "set"
    write(root / "train", 12)
    write(root / "test", 4, first=50)
    (root / "labels.csv").write_text(LISTS["labels.csv"])
    (root / "sample_submission.csv").write_text(
        "id,breed\n" + "".join(f"{n},cat\n" for n in "0123")
    )
    text = ok(look(root))
    assert f"not used: the 4 image(s) in {root / 'test'}: they are in no class folders" in text
    right_labels(decoded(root), LABELS)


def test_one_list_of_all_parts(tmp_path: Path, look: Call, decoded: Call) -> None:
    root = tmp_path / "set"
    write(root / "train", 10)
    write(root / "test", 4, first=50)
    rows = [f"test/{n}.png,{'ba'[n % 2]}" for n in range(4)]
    rows += [f"train/{n}.png,{'ab'[n % 2]}" for n in range(10)]
    (root / "all.csv").write_text("\n".join(["path,label", *rows]))
    assert "8 images to train on, 2 to choose by, 4 to judge by" in ok(look(root))
    assert decoded(root).test.labels.tolist() == [1, 0, 1, 0]


def tiny_imagenet(root: Path, count: int = 5) -> Path:
    for number, name in enumerate(("n01443537", "n01629819")):
        write(root / "train" / name / "images", count, 100 * number)
        (root / "train" / name / f"{name}_boxes.txt").write_text("0.png 0 0 9 9\n")
    write(root / "val" / "images", 4, first=50)
    lines = [f"{n}.png\t{'n01629819' if n % 2 else 'n01443537'}\t0\t1\t2\t3" for n in range(4)]
    (root / "val" / "val_annotations.txt").write_text("\n".join(lines))
    write(root / "test" / "images", 3, first=70)
    (root / "wnids.txt").write_text("n01443537\nn01629819\n")
    (root / "words.txt").write_text("n01443537\tgoldfish\nn01629819\tEuropean fire salamander\n")
    return root


def test_tiny_imagenet(tmp_path: Path, look: Call, decoded: Call) -> None:
    root = tiny_imagenet(tmp_path / "tiny-imagenet-200")
    text = ok(look(root))
    assert "2 classes (n01443537, n01629819)" in text
    assert "8 images to train on, 2 to choose by, 4 to judge by" in text
    assert f"not used: the 3 image(s) in {root / 'test'}: they are in no class folders" in text
    data = decoded(root)
    assert data.test.labels.tolist() == [0, 1, 0, 1]
    assert np.array_equal(data.test.images[1], centre_pixels(picture(51), 32, 32))


@pytest.mark.parametrize(
    ("where", "line", "says"),
    [
        ("val.txt", "{n}.png {number}", "0 is taken for 'n01443537', the first by name"),
        ("val/list.csv", "val/{n}.png,{name}", ""),
        ("LOC_val_solution.csv", "{n},{name} 85 1 499 272", ""),
    ],
)
def test_the_flat_validation_images_of_imagenet(
    where: str, line: str, says: str, tmp_path: Path, look: Call, decoded: Call
) -> None:
    root = tmp_path / "imagenet"
    names = ("n01443537", "n01629819")
    class_folders(root / "train", *names, count=5)
    write(root / "val", 4, first=50)
    lines = [line.format(n=n, number=n % 2, name=names[n % 2]) for n in range(4)]
    header = ["ImageId,PredictionString"] if where.startswith("LOC") else []
    (root / where).write_text("\n".join([*header, *lines]))
    text = ok(look(root))
    assert f"the classes of {root / 'val'} are those in {root / where}" in text and says in text
    assert decoded(root).test.labels.tolist() == [0, 1, 0, 1]


def truth_without_names(root: Path) -> None:
    class_folders(root / "train", "x", "y")
    write(root / "val", 4, first=50)
    (root / "ILSVRC2012_validation_ground_truth.txt").write_text("490\n361\n171\n822\n")


def a_flat_part(root: Path) -> None:
    class_folders(root / "train", "x", "y")
    write(root / "val", 4, first=50)


def classes_in_names(root: Path) -> None:
    root.mkdir()
    for number in range(6):
        for name in ("cat", "dog"):
            picture(number).save(root / f"{name}.{number}.jpg")


def yolo(root: Path) -> None:
    write(root / "train")
    for number in range(6):
        (root / "train" / f"{number}.txt").write_text("0 0.5 0.5 1 1\n")
    class_folders(root / "test", "x", "y")


def unclear_columns(root: Path) -> None:
    write(root, 4)
    lines = [f"{n}.png,{n % 2},{n % 3}" for n in range(4)]
    (root / "a.csv").write_text("\n".join(["file,colour,shape", *lines]))


def measurements(root: Path) -> None:
    write(root, 6)
    (root / "a.csv").write_text("file,age\n" + "".join(f"{n}.png,{n}\n" for n in range(6)))


def fractions(root: Path) -> None:
    write(root, 6)
    (root / "a.csv").write_text("file,label\n" + "".join(f"{n}.png,{n % 2}.5\n" for n in range(6)))


def two_classes_of_an_image(root: Path) -> None:
    write(root, 4)
    lines = ["0.png,x", "0.png,y", "1.png,x", "2.png,y", "3.png,y"]
    (root / "a.csv").write_text("\n".join(["file,label", *lines]))


def strange_numbers(root: Path) -> None:
    a_flat_part(root)
    (root / "val.txt").write_text("\n".join(f"{n}.png {n * 7}" for n in range(4)))


def handwritten_digits(root: Path) -> None:
    root.mkdir()
    for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"):
        (root / name).write_bytes(b"\0\0\x08\x03" + bytes(range(200)))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (truth_without_names, ["numbers of ImageNet's development kit", "write a list val.txt"]),
        (a_flat_part, ["{root}/val has no folders in it", "write {root}/val/labels.csv"]),
        (classes_in_names, ["called by their class, it seems (cat, dog)", "labels.csv"]),
        (yolo, ["have a .txt file each, as for detection", "{root}/train/cat/1.jpg"]),
        (unclear_columns, ["a.csv names the images and has the columns file, colour, shape",
                           "call it label"]),
        (measurements, ["a.csv names the images and has the columns file, age"]),
        (fractions, ["a.csv: the column 'label' must hold names or whole numbers of", "not 0.5"]),
        (two_classes_of_an_image, ["says that 0.png is 'x' and 'y'"]),
        (strange_numbers, ["val.txt has the class 21, but there are 2 classes"]),
        (handwritten_digits, ["there are no images in {root}", "without a suffix 2", "MNIST"]),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_named(
    make: Callable[[Path], None], says: list[str], tmp_path: Path, look: Call
) -> None:
    root = tmp_path / "set"
    make(root)
    result, text = look(root)
    assert result.exit_code == 2, text
    for part in says:
        assert part.format(root=root) in text


def test_captions_are_no_classes(tmp_path: Path, look: Call) -> None:
    root = class_folders(tmp_path / "set", "x", "y")
    lines = [f"{name}/{n}.png,the {n}th {name}" for name in "xy" for n in range(6)]
    (root / "metadata.csv").write_text("\n".join(["file_name,caption", *lines]))
    text = ok(look(root))
    assert "2 classes (x, y)" in text and "1 file(s) in" in text


@pytest.mark.parametrize("kind", ["number.cls", "name.cls", "json"])
def test_webdataset(kind: str, tmp_path: Path, look: Call, decoded: Call) -> None:
    members: dict[str, bytes] = {}
    for number, name in enumerate(LABELS):
        text = {"number.cls": str(int(name == "dog")), "name.cls": name}.get(
            kind, json.dumps({"label": name, "width": 24})
        )
        members[f"a/{number:03}.png"] = encoded(number)
        members[f"a/{number:03}.{kind.split('.')[-1]}"] = text.encode()
    path = write_tar(tmp_path / "set" / "train-000000.tar", members)
    names = ["0", "1"] if kind == "number.cls" else ["cat", "dog"]
    for source in (path, path.parent):
        assert f"2 classes ({', '.join(names)})" in ok(look(source))
        right_labels(decoded(source), [names[int(name == "dog")] for name in LABELS])


def test_samples_of_tar_files_without_a_class_are_told(tmp_path: Path, look: Call) -> None:
    members: dict[str, bytes] = {}
    for number, name in enumerate(LABELS):
        about = {"label": None, "class": name} if number else {"label": None}
        members[f"{number:03}.png"] = encoded(number)
        members[f"{number:03}.json"] = json.dumps(about).encode()
    path = write_tar(tmp_path / "train.tar", members)
    result, text = look(path)
    assert result.exit_code == 2 and "says no class of 000" in text


def test_a_list_may_be_called_in_capitals(tmp_path: Path, look: Call) -> None:
    root = write(tmp_path / "set", 12)
    rows = [f"{n}.png,{c}" for n, c in enumerate(LABELS)]
    (root / "Labels.CSV").write_text("\n".join(["file,class", *rows]))
    assert "2 classes (cat, dog)" in ok(look(root))


def test_tar_files_by_part(tmp_path: Path, look: Call, decoded: Call) -> None:
    for part, first, count in (("train", 0, 10), ("val", 50, 4)):
        members = {}
        for number in range(count):
            members |= {f"{number}.jpg": encoded(first + number, "jpeg"), f"{number}.cls": b"ab"[
                number % 2 : number % 2 + 1]}  # fmt: skip
        write_tar(tmp_path / "set" / part / "0.tar", members)
    assert "8 images to train on, 2 to choose by, 4 to judge by" in ok(look(tmp_path / "set"))
    assert decoded(tmp_path / "set").test.labels.tolist() == [0, 1, 0, 1]


def test_other_archives(tmp_path: Path, look: Call) -> None:
    tar = write_tar(tmp_path / "a.tar", {"cat/0.png": encoded(0), "dog/0.png": encoded(1)})
    (tmp_path / "a.zip").write_bytes(b"PK")
    (tmp_path / "list.csv").write_text("a,b\n")
    for path, says in (
        (tar, "says no class of cat/0.png, dog/0.png"),
        (tmp_path / "a.zip", "a.zip is a file, but not a .parquet or .tar; unpack it"),
        (tmp_path / "list.csv", f"if it lists images, name the folder that holds it: {tmp_path}"),
    ):
        result, text = look(path)
        assert result.exit_code == 2 and says in text


def test_an_archive_that_is_unpacked_already(tmp_path: Path, look: Call, decoded: Call) -> None:
    root = tmp_path / "set"
    write(root / "images", 12)
    write_tar(root / "images.tar", {f"images/{n}.png": encoded(n) for n in range(12)})
    result, text = look(root)
    assert result.exit_code == 2
    assert "images.tar says no class of" in text and "move it out of the folder" in text
    (root / "labels.csv").write_text(LISTS["labels.csv"])
    text = ok(look(root))
    assert f"not read: {root / 'images.tar'}; the images are those that {root / 'labels.csv'}" in (
        text
    )
    right_labels(decoded(root), LABELS)


def test_tar_files_are_read_beside_a_list_of_something_else(tmp_path: Path, look: Call) -> None:
    root = tmp_path / "set"
    write(root / "images", 4)
    (root / "sizes.csv").write_text("file,width\n" + "".join(f"{n}.png,{n}\n" for n in range(4)))
    members: dict[str, bytes] = {f"{n}.png": encoded(n) for n in range(12)}
    members |= {f"{n}.cls": c.encode() for n, c in enumerate(LABELS)}
    write_tar(root / "train.tar", members)
    text = ok(look(root))
    assert "2 classes (cat, dog)" in text and "not read" not in text


@pytest.mark.parametrize("column", ["path", "struct"])
def test_parquet_with_relative_paths(
    column: str, tmp_path: Path, look: Call, decoded: Call
) -> None:
    root = tmp_path / "set"
    write(root / "images", 12)
    paths = [f"images/{number}.png" for number in range(12)]
    cells: list[Any] = [{"bytes": None, "path": p} for p in paths] if column == "struct" else paths
    types = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    image = pa.array(cells, types if column == "struct" else pa.string())
    pq.write_table(pa.table({"image": image, "label": LABELS}), root / "train.parquet")
    assert "2 classes (cat, dog)" in ok(look(root / "train.parquet"))
    before = decoded(root / "train.parquet")
    right_labels(before, LABELS)
    picture(77).save(root / "images" / "3.png")  # which the cache must see
    assert decoded(root / "train.parquet").identity != before.identity
    (root / "images" / "3.png").unlink()
    result, text = look(root / "train.parquet")
    assert result.exit_code == 2 and f"{root}/images/3.png" in text


def test_parquet_by_folder(tmp_path: Path, look: Call, decoded: Call) -> None:
    for part, first, count in (("train", 0, 10), ("test", 50, 4)):
        folder = tmp_path / "set" / "default" / part
        folder.mkdir(parents=True)
        images = [{"bytes": encoded(first + n), "path": None} for n in range(count)]
        table = pa.table({"image": images, "label": ["a", "b"] * (count // 2)})
        pq.write_table(table, folder / "0000.parquet")
    assert "8 images to train on, 2 to choose by, 4" in ok(look(tmp_path / "set"))
    assert decoded(tmp_path / "set").test.labels.tolist() == [0, 1, 0, 1]


def test_what_datasets_has_saved(tmp_path: Path, look: Call, decoded: Call) -> None:
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])}
    )
    images = [{"bytes": encoded(n), "path": None} for n in range(12)]
    table = pa.table({"image": images, "label": [int(c == "dog") for c in LABELS]})
    pq.write_table(table, tmp_path / "a.parquet")
    saved = datasets.Dataset.from_parquet(str(tmp_path / "a.parquet"), features=features)
    root = tmp_path / "saved [1]"
    datasets.DatasetDict({"training": saved}).save_to_disk(str(root))
    assert "2 classes (cat, dog)" in ok(look(root))
    right_labels(decoded(root), LABELS)
    assert pd.notna(saved[0]["label"])
