"""Own images, as users have them: every kind of source, every kind of file, every mistake."""

from __future__ import annotations

import errno
import io
import multiprocessing
import os
import resource
import shutil
import signal
import sys
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from filelock import FileLock
from PIL import Image

from pnag.errors import PnagError
from pnag.images import data_files
from pnag.images import decode_task as module
from pnag.images.decode import centre_pixels, open_image, to_rgb
from pnag.images.images import ImageData, load_images
from pnag.images.parts import PARTS
from pnag.images.splits import hold_out, subset

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
ClassFolders = Callable[..., Path]


def picture(seed: int, size: tuple[int, int] = (24, 24)) -> Image.Image:
    """A smooth picture of two colours, unlike any other seed's."""
    corners = np.random.default_rng(seed).integers(0, 256, (2, 2, 3), np.uint8)
    return Image.fromarray(corners).resize(size, Image.Resampling.BILINEAR)


@pytest.fixture
def class_folders(tmp_path: Path) -> ClassFolders:
    """Makes a folder of class folders; returns it."""

    def make(
        counts: dict[str, int], where: str = "images", size: tuple[int, int] = (24, 24)
    ) -> Path:
        root = tmp_path / where
        for label, (name, count) in enumerate(counts.items()):
            (root / name).mkdir(parents=True)
            for i in range(count):
                kind = "jpg" if i % 2 else "png"
                picture(1000 * label + i, size).save(root / name / f"{i:03}.{kind}")
        return root

    return make


def load(source: Path | str, cache: Path, **settings: Any) -> ImageData:
    return load_images(str(source), **({"resolution": 24, "cache": cache} | settings))


def sizes(data: ImageData) -> tuple[int, ...]:
    return tuple(len(data.part(name)) for name in PARTS)


def encoded(image: Image.Image, kind: str = "png") -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def write_parquet(path: Path, labels: list[Any], first: int = 0, **columns: list[Any]) -> None:
    """Without the metadata of `datasets`, as other programs write it."""
    files = [{"bytes": encoded(picture(first + i)), "path": None} for i in range(len(labels))]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image": files, "label": labels} | columns), path)


# Sources and splits


def test_the_cache_does_not_lie_among_the_images(
    class_folders: ClassFolders, tmp_path: Path
) -> None:
    root = class_folders({"a": 30, "b": 30})
    before = sorted(root.rglob("*"))
    for cache in (root, root / "images", root / "a" / ".." / "decoded"):
        with pytest.raises(PnagError, match=r"would lie in .* within the images .* --cache"):
            load(root, cache)
    assert sorted(root.rglob("*")) == before
    parts = {f"{part}/{name}": 20 for part in ("train", "test") for name in "ab"}
    root = class_folders(parts)  # beside which other folders are not read
    with pytest.raises(PnagError, match="within the images"):
        load(root, root / "train" / "decoded")
    data = load(root, root / "runs" / "decoded")
    assert load(root, root / "runs" / "decoded").identity == data.identity
    assert data.classes == ("a", "b")


def test_one_folder_is_split_class_by_class(class_folders: ClassFolders, tmp_path: Path) -> None:
    root = class_folders({"cat": 20, "dog": 40})
    (root / ".ipynb_checkpoints").mkdir()
    (root / "cat" / "._000.png").write_bytes(b"what macOS leaves")
    (root / "cat" / "Thumbs.db").write_bytes(b"what Windows leaves")
    told: list[tuple[int, int]] = []
    data = load(root, tmp_path / "c", progress=lambda done, total: told.append((done, total)))
    assert data.classes == ("cat", "dog")
    assert sizes(data) == (13 + 26, 3 + 6, 4 + 8)
    for name, cats in (("train", 13), ("validation", 3), ("test", 4)):
        assert (data.part(name).labels == 0).sum() == cats
    assert "20% of each class are held out" in data.notes[0]
    assert told[-1] == (60, 60)
    assert data.mirror and not data.skipped


def test_no_image_is_in_two_parts_and_the_seed_decides(
    class_folders: ClassFolders, tmp_path: Path
) -> None:
    root = class_folders({"a": 15, "b": 15})
    data, other = load(root, tmp_path / "c"), load(root, tmp_path / "c", seed=1)

    def keys(d: ImageData, name: Any) -> list[bytes]:
        return [image.tobytes() for image in d.part(name).images]

    every = [key for name in PARTS for key in keys(data, name)]
    assert len(set(every)) == 30
    assert set(every) == {key for name in PARTS for key in keys(other, name)}
    assert keys(data, "test") != keys(other, "test")


def test_train_test_and_val_folders(class_folders: ClassFolders, tmp_path: Path) -> None:
    class_folders({"a": 10, "b": 20}, "set/train")
    root = class_folders({"a": 3, "b": 4}, "set/val").parent
    data = load(root, tmp_path / "c")
    assert sizes(data) == (8 + 16, 2 + 4, 7)
    assert any("validation images are the test part" in note for note in data.notes)
    class_folders({"b": 5}, "set/test")
    data = load(root, tmp_path / "c")
    assert sizes(data) == (30, 7, 5)
    assert set(data.test.labels.tolist()) == {1}
    assert any("have no images in" in note for note in data.notes)
    assert any("own validation images" in note for note in data.notes)


def test_a_class_may_be_called_train(class_folders: ClassFolders, tmp_path: Path) -> None:
    data = load(class_folders({"car": 6, "plane": 6, "train": 6}), tmp_path / "c")
    assert data.classes == ("car", "plane", "train")


def test_some_classes_by_seed(class_folders: ClassFolders, tmp_path: Path) -> None:
    root = class_folders(dict.fromkeys("abcdef", 5))
    some = [load(root, tmp_path / "c", classes=3, seed=seed) for seed in range(3)]
    assert all(len(data.classes) == 3 for data in some)
    assert len({data.classes for data in some}) > 1
    assert set(some[0].train.labels.tolist()) == {0, 1, 2}
    again = load(root, tmp_path / "other", classes=3, seed=0)
    assert again.classes == some[0].classes
    assert np.array_equal(again.train.images, some[0].train.images)
    # a picture's class is the one of its folder
    first = centre_pixels(Image.open(root / some[0].classes[2] / "000.png"), 24, 24)
    of_class = [
        image
        for name in PARTS
        for image in some[0].part(name).images[some[0].part(name).labels == 2]
    ]
    assert any(np.array_equal(first, image) for image in of_class)


@pytest.mark.parametrize("labels", [["b", "a"], [7, 3]])
def test_parquet_of_other_programs(labels: list[Any], tmp_path: Path) -> None:
    write_parquet(tmp_path / "p" / "train-0.parquet", labels * 5)
    write_parquet(tmp_path / "p" / "train-1.parquet", labels * 5, 10)
    write_parquet(tmp_path / "p" / "test.parquet", labels * 2, 20)
    data = load(tmp_path / "p", tmp_path / "c")
    assert data.classes == tuple(sorted(map(str, labels)))
    assert sizes(data) == (16, 4, 4)
    assert data.test.labels.tolist() == [1, 0, 1, 0]
    assert np.array_equal(data.test.images[0], centre_pixels(picture(20), 24, 24))
    assert not list((tmp_path / "c").rglob("*.arrow"))
    one = load(tmp_path / "p" / "train-0.parquet", tmp_path / "c")
    assert sizes(one) == (6, 2, 2)


def test_digits(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    data = load("digits", tmp_path)
    assert sum(sizes(data)) == 1797 and len(data.classes) == 10
    assert not data.mirror
    assert any("smaller than the resolution" in note for note in data.notes)


def test_digits_without_scikit_learn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(PnagError, match=r'pip install "pnag\[digits\]"'):
        load("digits", tmp_path)


@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared/data of this project's machines")
def test_real_parquet_with_class_names(tmp_path: Path) -> None:
    for part in ("train", "test"):  # the first rows only, as the whole takes seconds
        table = pq.read_table(SHARED / "cifar10" / f"{part}.parquet").slice(0, 300)
        pq.write_table(table, tmp_path / f"{part}.parquet")
    data = load(tmp_path, tmp_path / "c", resolution=32)
    assert "airplane" in data.classes and len(data.classes) == 10
    assert sum(sizes(data)) == 600 and len(data.test) == 300
    assert np.allclose(data.preprocessing.mean, (0.491, 0.482, 0.447), atol=0.03)
    assert np.allclose(data.preprocessing.std, (0.247, 0.243, 0.262), atol=0.03)


# What is kept


def test_small_and_large_images(class_folders: ClassFolders, tmp_path: Path) -> None:
    root = class_folders({"a": 5, "b": 5}, size=(60, 40))
    small = load(root, tmp_path / "c", resolution=48)
    assert small.small and small.preprocessing.shorter == 48
    assert small.train.images.shape == (6, 3, 48, 48)
    large = load(root, tmp_path / "c", resolution=16)
    assert not large.small and large.preprocessing.shorter == 18
    assert large.train.images.shape == (6, 3, 20, 20)
    assert large.validation.images.shape == large.test.images.shape == (2, 3, 16, 16)
    assert np.allclose(large.train.aspect, 1.5)
    with pytest.raises(ValueError, match="read-only"):
        large.train.images[0] = 0


def test_pixels_are_those_of_resizing_and_cropping() -> None:
    image = picture(3, (64, 48))
    resized = image.resize((24, 18), Image.Resampling.BICUBIC).crop((4, 1, 20, 17))
    ours = centre_pixels(image, 16, 18).transpose(1, 2, 0).astype(int)
    assert np.abs(ours - np.asarray(resized).astype(int)).max() <= 2


def test_a_long_thin_image_stays_small() -> None:
    assert centre_pixels(Image.new("RGB", (20_000, 1)), 16, 18).shape == (3, 16, 16)


def test_mean_and_deviation(class_folders: ClassFolders, tmp_path: Path) -> None:
    data = load(class_folders({"a": 10, "b": 10}), tmp_path / "c", resolution=24)
    pixels = data.train.images / 255
    assert np.allclose(data.preprocessing.mean, pixels.mean((0, 2, 3)))
    assert np.allclose(data.preprocessing.std, pixels.std((0, 2, 3)))


def test_images_of_one_colour(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / "i" / name).mkdir(parents=True)
        for i in range(4):
            Image.new("RGB", (16, 16), (10, 20, 30 * i)).save(tmp_path / "i" / name / f"{i}.png")
    data = load(tmp_path / "i", tmp_path / "c")
    assert data.preprocessing.std[:2] == pytest.approx((1 / 255,) * 2)
    assert data.preprocessing.std[2] > 0.05


# Kinds of image files


def grey16() -> Image.Image:
    return Image.fromarray(np.full((8, 8), 128 << 8, np.uint16))


def see_through(mode: str) -> Image.Image:
    image = Image.new("RGBA", (8, 8), (128, 128, 128, 255))
    image.putpixel((0, 0), (0, 0, 0, 0))
    return image.quantize() if mode == "P" else image.convert(mode)


@pytest.mark.parametrize(
    ("image", "kind"),
    [
        (Image.new("L", (8, 8), 128), "png"),
        (Image.new("L", (8, 8), 128), "jpeg"),
        (Image.new("1", (8, 8), 1), "png"),
        (grey16(), "png"),
        (grey16(), "tiff"),
        (Image.new("I", (8, 8), 128 << 8), "tiff"),
        (see_through("RGBA"), "png"),
        (see_through("LA"), "png"),
        (see_through("P"), "png"),
        (see_through("RGBA"), "webp"),
        (Image.new("CMYK", (8, 8), (127, 127, 127, 0)), "jpeg"),
        (Image.new("P", (8, 8)), "bmp"),
    ],
)
def test_every_mode_becomes_rgb(image: Image.Image, kind: str) -> None:
    raw = {"bytes": encoded(image, kind), "path": None}
    ours = open_image(raw, 8)
    assert ours.mode == "RGB" and ours.size == (8, 8)
    wanted = {"1": 255, "P": 0 if kind == "bmp" else 128}.get(image.mode, 128)
    assert np.abs(np.asarray(ours)[4, 4].astype(int) - wanted).max() <= 2
    if image.has_transparency_data:
        assert np.asarray(ours)[0, 0].min() >= 250


def test_floating_point_pixels_have_no_range() -> None:
    with pytest.raises(ValueError, match="convert it to 8 bits"):
        to_rgb(Image.new("F", (8, 8), 0.5))


def test_exif_orientation() -> None:
    image = Image.new("RGB", (20, 10), "black")
    image.paste("white", (0, 0, 10, 10))
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    image.save(file, "jpeg", exif=exif)
    upright = open_image({"bytes": file.getvalue(), "path": None}, 10)
    assert upright.size == (10, 20)
    assert np.asarray(upright)[2].min() > 200 and np.asarray(upright)[-2].max() < 50


def test_a_large_jpeg_is_decoded_small() -> None:
    raw = {"bytes": encoded(picture(0, (640, 480)), "jpeg"), "path": None}
    assert open_image(raw, 56).size == (160, 120)
    difference = centre_pixels(open_image(raw, 56), 48, 56).astype(int) - centre_pixels(
        picture(0, (640, 480)), 48, 56
    )
    assert np.abs(difference).max() <= 6


# Mistakes


@pytest.mark.parametrize("damage", ["cut short", "no image", "empty"])
def test_a_damaged_image_among_many(
    damage: str, class_folders: ClassFolders, tmp_path: Path
) -> None:
    root = class_folders({"a": 10, "b": 10})
    bad = root / "b" / "003.jpg"
    content = {"cut short": bad.read_bytes()[:-60], "no image": b"GIF? no", "empty": b""}[damage]
    bad.write_bytes(content)
    with pytest.raises(PnagError, match=r"b/003\.jpg: .*--on-corrupt skip"):
        load(root, tmp_path / "c")
    assert not [p for p in (tmp_path / "c").iterdir() if p.is_dir()]
    data = load(root, tmp_path / "c", on_corrupt="skip")
    assert sum(sizes(data)) == 19
    assert len(data.skipped) == 1 and data.skipped[0].startswith(f"{bad}: ")
    assert "1 image(s) could not be decoded and are left out" in data.notes
    assert load(root, tmp_path / "c", on_corrupt="skip").skipped == data.skipped


def test_damaged_rows_of_parquet_are_named(tmp_path: Path) -> None:
    files: list[Any] = [{"bytes": encoded(picture(i)), "path": f"{i}.png"} for i in range(24)]
    files[5] = {"bytes": b"no", "path": "5.png"}
    files[8] = None
    pq.write_table(pa.table({"image": files, "label": [0, 1] * 12}), tmp_path / "x.parquet")
    with pytest.raises(PnagError, match=r"row [58] \(counted from 0\)"):
        load(tmp_path / "x.parquet", tmp_path / "c")
    data = load(tmp_path / "x.parquet", tmp_path / "c", on_corrupt="skip")
    assert sorted(text[:5] for text in data.skipped) == ["row 5", "row 8"]


def test_all_images_of_a_class_damaged(class_folders: ClassFolders, tmp_path: Path) -> None:
    root = class_folders({"a": 5, "b": 5})
    for file in (root / "b").iterdir():
        file.write_bytes(b"")
    with pytest.raises(PnagError, match="no image of class 'b' in part train can be decoded"):
        load(root, tmp_path / "c", on_corrupt="skip")


@pytest.mark.parametrize(
    ("counts", "settings", "message"),
    [
        ({"a": 5, "b": 0}, {}, r"images/b has no images; move it elsewhere or add"),
        ({"a": 0, "b": 0}, {}, "there are no images in"),
        ({"a": 9}, {}, r"has one class \(a\); add images of others"),
        (
            {"a": 9, "b": 2},
            {},
            r"class 'b' has 2 image\(s\) to train on, and splitting them takes at least 3",
        ),
        ({"a": 9, "b": 9}, {"classes": 3}, "classes is 3, but .* has 2; choose fewer"),
        ({"a": 9, "b": 9}, {"classes": 1}, "classes must be at least 2, not 1"),
        ({"a": 9, "b": 9}, {"resolution": 4}, "the resolution must be at least 8 pixels, not 4"),
    ],
)
def test_folders_nothing_can_be_learnt_from(
    counts: dict[str, int],
    settings: dict[str, Any],
    message: str,
    class_folders: ClassFolders,
    tmp_path: Path,
) -> None:
    with pytest.raises(PnagError, match=message):
        load(class_folders(counts), tmp_path / "c", **settings)


def test_folders_of_another_layout(class_folders: ClassFolders, tmp_path: Path) -> None:
    flat = class_folders({"a": 3}) / "a"
    with pytest.raises(PnagError, match="has no folders in it; give each class a folder"):
        load(flat, tmp_path / "c")
    root = class_folders({"a": 3, "b": 3}, "set/test").parent
    with pytest.raises(PnagError, match="has test but no folder train"):
        load(root, tmp_path / "c")
    class_folders({"a": 3}, "set/train")
    with pytest.raises(PnagError, match="test has a class 'b' that the training images do not"):
        load(root, tmp_path / "c")


def test_paths_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(PnagError, match=r"there is no folder or file .*gone"):
        load(tmp_path / "gone", tmp_path / "c")
    with pytest.raises(PnagError, match=r"there is no folder or file ~no-such-user/images"):
        load(Path("~no-such-user/images"), tmp_path / "c")
    (tmp_path / "a.zip").write_bytes(b"")
    with pytest.raises(PnagError, match=r"a\.zip is a file, but not a \.parquet"):
        load(tmp_path / "a.zip", tmp_path / "c")


def test_parquet_mistakes(tmp_path: Path) -> None:
    cache, labels = tmp_path / "c", [0, 1] * 5
    whole = tmp_path / "whole.parquet"
    write_parquet(whole, labels, name=["x"] * 10)
    table = pq.read_table(whole)
    for wrong, message in (
        (table.drop(["label"]), r"no label column; it has: 'image', 'name'; name the column"),
        (table.drop(["image"]), r"no image column; it has: 'label', 'name'"),
        (
            table.set_column(1, "label", pa.array([0.5] * 10)),
            "must hold names or whole .*not float64",
        ),
        (table.set_column(1, "label", pa.array([0, None] * 5)), r"5 row\(s\) of train have no"),
        (table.set_column(1, "label", pa.array([[0], [1]] * 5)), "must hold names .*not List"),
        (table.set_column(0, "image", pa.array([1] * 10)), "does not hold images"),
    ):
        pq.write_table(wrong, tmp_path / "wrong.parquet")
        with pytest.raises(PnagError, match=message):
            load(tmp_path / "wrong.parquet", cache)
    (tmp_path / "wrong.parquet").write_bytes(whole.read_bytes()[:-100])
    with pytest.raises(PnagError, match=r"cannot read .*wrong\.parquet"):
        load(tmp_path / "wrong.parquet", cache)
    for name in ("train", "other"):
        write_parquet(tmp_path / "mixed" / f"{name}.parquet", labels)
    with pytest.raises(PnagError, match=r"other\.parquet belongs to no part"):
        load(tmp_path / "mixed", cache)
    (tmp_path / "mixed" / "train.parquet").rename(tmp_path / "mixed" / "test.parquet")
    (tmp_path / "mixed" / "other.parquet").unlink()
    with pytest.raises(PnagError, match="no Parquet file whose name starts with train"):
        load(tmp_path / "mixed", cache)
    write_parquet(tmp_path / "mixed" / "more" / "train.parquet", labels)
    with pytest.raises(PnagError, match="Parquet files in 2 folders"):
        load(tmp_path / "mixed", cache)


def test_parts_whose_labels_mean_something_else_are_refused(tmp_path: Path) -> None:
    feature = datasets.ClassLabel(names=["a", "b", "c"])
    other = datasets.ClassLabel(names=["b", "c"])
    number = datasets.Value("int64")
    for kinds, message in (
        ((feature, other), r"part test names other classes .*\('b' where train has 'a'\)"),
        ((other, feature), r"names other classes .*\('a' where train has 'b'\)"),
        ((feature, datasets.Value("string")), "Value of string in part test and ClassLabel of int"),
        ((feature, number), None),
        ((number, feature), None),
        ((number, datasets.Value("string")), "holds Value of string in part test"),
        ((feature, None), "part test has no column 'label', which train has"),
        ((number, datasets.Value("int32")), None),
    ):
        parts = {}
        for part, kind in zip(("train", "test"), kinds, strict=True):
            labels = ["x", "y"] * 5 if kind and kind.dtype == "string" else [0, 1] * 5
            columns: dict[str, list[Any]] = {"image": [picture(i) for i in range(10)]}
            columns |= {"label": labels} if kind else {}
            features = datasets.Features({"image": datasets.Image()})
            features |= {"label": kind} if kind else {}
            parts[part] = datasets.Dataset.from_dict(columns, datasets.Features(features))
        for folder in ("saved", "parquet"):
            shutil.rmtree(tmp_path / folder, ignore_errors=True)
        datasets.DatasetDict(parts).save_to_disk(tmp_path / "saved")
        for part, rows in parts.items():
            rows.to_parquet(tmp_path / "parquet" / f"{part}.parquet")
        for folder in ("saved", "parquet"):
            if message is None:
                assert sizes(load(tmp_path / folder, tmp_path / "c"))[2] == 10
                continue
            with pytest.raises(PnagError, match=message):
                load(tmp_path / folder, tmp_path / "c")


def test_secret_test_labels_are_left_out(tmp_path: Path) -> None:
    write_parquet(tmp_path / "p" / "train.parquet", [0, 1] * 5)
    write_parquet(tmp_path / "p" / "test.parquet", [-1] * 4)
    data = load(tmp_path / "p", tmp_path / "c")
    assert sizes(data) == (6, 2, 2)
    assert any("kept secret" in note for note in data.notes)


def test_the_hub_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(PnagError, match=r"hf download user/flowers --repo-type dataset") as caught:
        load("user/flowers", tmp_path)
    assert str(caught.value).startswith("there is no folder user/flowers here")
    assert "Couldn't reach 'user/flowers' on the Hub" in str(caught.value)


def test_data_sets_of_the_hub_that_are_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(name: str) -> None:
        raise RuntimeError("Dataset scripts are no longer supported, but found flowers.py")

    monkeypatch.setattr(datasets, "load_dataset", refused)
    with pytest.raises(PnagError, match="Dataset scripts are no longer supported"):
        load("user/flowers", tmp_path)


def test_a_link_to_nothing_is_an_image_that_cannot_be_decoded(
    class_folders: ClassFolders, tmp_path: Path
) -> None:
    root = class_folders({"a": 10, "b": 10})
    (root / "b" / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    with pytest.raises(PnagError, match=r"b/gone\.jpg: .*No such file.*--on-corrupt skip"):
        load(root, tmp_path / "c")
    data = load(root, tmp_path / "c", on_corrupt="skip")
    assert sum(sizes(data)) == 20 and len(data.skipped) == 1


@pytest.mark.parametrize("closed", [".", "b"])
def test_folders_that_may_not_be_read(
    closed: str, class_folders: ClassFolders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = class_folders({"a": 5, "b": 5})
    listed = Path.iterdir

    def forbidden(folder: Path) -> Any:  # permissions do not stop root, who runs some tests
        if folder == root / closed:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
        return listed(folder)

    monkeypatch.setattr(Path, "iterdir", forbidden)
    with pytest.raises(PnagError, match=f"cannot read the folder {root / closed}: Permission"):
        load(root, tmp_path / "c")


def test_a_decoding_process_that_is_killed(
    class_folders: ClassFolders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = class_folders({"a": 30, "b": 30})
    parent, decoded = os.getpid(), module.open_image

    def deadly(*arguments: Any) -> Image.Image:
        if os.getpid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return decoded(*arguments)

    monkeypatch.setattr(module, "_FEW", 1)
    monkeypatch.setattr(module, "allowed_cpus", lambda: 2)
    monkeypatch.setattr(module, "open_image", deadly)
    with pytest.raises(PnagError, match=r"cannot decode the images: .*too little memory"):
        load(root, tmp_path / "c")


# The cache


@pytest.mark.parametrize("name", ["train-labels.npy", "test-aspect.npy", "images.json"])
@pytest.mark.parametrize("kept", [None, 0, 40])
def test_any_damaged_file_of_the_cache_is_decoded_anew(
    name: str, kept: int | None, class_folders: ClassFolders, tmp_path: Path
) -> None:
    root, cache = class_folders({"a": 5, "b": 5}), tmp_path / "c"
    first = load(root, cache)
    file = cache / first.identity / name
    whole = file.read_bytes()
    if kept is None:
        file.unlink()
    else:
        os.truncate(file, kept)
    again = load(root, cache)
    assert file.read_bytes() == whole
    assert np.array_equal(again.train.labels, first.train.labels)


def test_the_split_is_of_the_images_and_the_seed_alone(
    class_folders: ClassFolders, tmp_path: Path
) -> None:
    root, cache = class_folders({"a": 5, "b": 5}), tmp_path / "c"
    split = load(root, cache).split
    assert load(root, tmp_path / "d", resolution=16, on_corrupt="skip").split == split
    assert load(root, cache, seed=1).split != split
    picture(98).save(root / "a" / "new.png")
    assert load(root, cache).split != split


def test_the_cache_is_used_and_notices_changes(
    class_folders: ClassFolders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, cache = class_folders({"a": 5, "b": 5}), tmp_path / "c"
    first = load(root, cache)

    def again() -> int:
        calls = 0

        def count(done: int, total: int) -> None:
            nonlocal calls
            calls += 1

        again.data = load(root, cache, progress=count)  # type: ignore[attr-defined]
        return calls

    assert again() == 0
    assert np.array_equal(again.data.train.images, first.train.images)  # type: ignore[attr-defined]
    picture(99).save(root / "a" / "000.png")
    assert again() > 0
    picture(98).save(root / "a" / "new.png")
    assert again() > 0
    folder = max((p for p in cache.iterdir() if p.is_dir()), key=lambda p: p.stat().st_mtime)
    os.truncate(folder / "train.u8", 100)  # damaged since
    assert again() > 0 and again() == 0


def forked(run: Callable[[], object]) -> multiprocessing.process.BaseProcess:
    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    return process


def test_killed_while_decoding(class_folders: ClassFolders, tmp_path: Path) -> None:
    root, cache = class_folders({"a": 40, "b": 40}), tmp_path / "c"

    def kill(done: int, total: int) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    process = forked(lambda: load(root, cache, progress=kill))
    process.join()
    assert process.exitcode == -signal.SIGKILL
    left = list(cache.glob(".*.partial"))
    assert left
    with FileLock(left[0].with_suffix(".lock")):  # as if its process were alive
        load(root, cache, resolution=16)
        assert list(cache.glob(".*.partial")) == left
    load(root, cache, resolution=20)  # other pixels, which have nothing else to do with it
    assert not list(cache.glob(".*.partial"))
    assert sum(sizes(load(root, cache))) == 80


def test_several_processes_decode_once(class_folders: ClassFolders, tmp_path: Path) -> None:
    root, cache = class_folders({"a": 40, "b": 40}), tmp_path / "c"
    said = tmp_path / "said"

    def run() -> None:
        told: list[int] = []
        data = load(root, cache, progress=lambda done, total: told.append(done))
        with said.open("a") as file:
            file.write(f"{len(data.train)} {bool(told)}\n")

    for process in [forked(run), forked(run)]:
        process.join()
    assert sorted(said.read_text().splitlines()) == ["52 False", "52 True"]


def test_processes_decode_as_one_does(
    class_folders: ClassFolders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = class_folders({"a": 30, "b": 30})
    alone = load(root, tmp_path / "c")  # in this process: they are few
    monkeypatch.setattr(module, "_FEW", 1)
    monkeypatch.setattr(module, "allowed_cpus", lambda: 2)
    monkeypatch.setattr(module, "_BATCH_BYTES", 5 * 3 * 24 * 24)
    both = load(root, tmp_path / "d")
    for name in PARTS:
        assert np.array_equal(alone.part(name).images, both.part(name).images)
        assert np.array_equal(alone.part(name).labels, both.part(name).labels)


def test_a_full_disk(
    class_folders: ClassFolders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, cache = class_folders({"a": 30, "b": 30}), tmp_path / "c"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(PnagError, match=r"cannot write .*--cache"):
            load(root, cache)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not [p for p in cache.iterdir() if p.is_dir()]
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 1000))
    with pytest.raises(PnagError, match=r"need 0\.0 GB in .*, which has 0\.0 GB free"):
        load(root, cache)


def test_a_disk_too_full_for_the_copy_of_parquet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_parquet(tmp_path / "x.parquet", [0, 1] * 5)
    with monkeypatch.context() as patched:
        usage = namedtuple("usage", "total used free")
        patched.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 1000))
        patched.setattr(data_files, "load_parquet", lambda *_, **__: pytest.fail("copied"))
        with pytest.raises(PnagError, match=r"a temporary copy of the Parquet files needs"):
            load(tmp_path / "x.parquet", tmp_path / "c")

    def full(*_: Any, **__: Any) -> None:
        cause = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        raise datasets.exceptions.DatasetGenerationError("An error occurred") from cause

    monkeypatch.setattr(data_files, "load_parquet", full)
    with pytest.raises(PnagError, match=r"cannot write a temporary copy .*No space.*--cache"):
        load(tmp_path / "x.parquet", tmp_path / "c")


def test_a_cache_that_cannot_be_made(class_folders: ClassFolders, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PnagError, match="cannot write"):
        load(class_folders({"a": 5, "b": 5}), tmp_path / "file" / "c")


# Stratified choices


def test_held_out_shares() -> None:
    labels = np.repeat([0, 1, 2], [100, 50, 3])
    out = hold_out(labels, 0.2, np.random.default_rng(0))
    assert np.bincount(labels[out]).tolist() == [20, 10, 1]


def test_subsets_are_stratified_and_grow() -> None:
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [100, 50, 50]))
    for count in (4, 40, 101):
        rows = subset(labels, count, np.random.default_rng(1))
        assert len(set(rows.tolist())) == count and (np.diff(rows) > 0).all()
        shares = np.bincount(labels[rows], minlength=3)
        assert np.abs(shares - count * np.array([0.5, 0.25, 0.25])).max() <= 1
    assert set(subset(labels, 40, np.random.default_rng(1))) < set(rows)
