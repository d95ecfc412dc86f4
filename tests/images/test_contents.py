"""Images are known by what their files hold: a copy is the same, a changed byte is not."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pnag.images import contents as module
from pnag.images.images import ImageData, load_images
from pnag.images.parts import PARTS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "here" / "images"
    for number, name in enumerate("ab"):
        (root / name).mkdir(parents=True)
        for i in range(5):
            Image.new("RGB", (8, 8), (40 * i, 100 * number, 9)).save(root / name / f"{i}.bmp")
    return root


def load(source: Path, cache: Path, **settings: Any) -> tuple[ImageData, list[str]]:
    """The images, and what was done to have them."""
    done: list[str] = []
    options: dict[str, Any] = {"resolution": 8, **settings}
    data = load_images(
        str(source),
        cache=cache,
        progress=lambda *_: done.append("decoded"),
        reading=lambda *_: done.append("read"),
        **options,
    )
    return data, sorted(set(done))


def as_parquet(folder: Path) -> Path:
    files = sorted(folder.rglob("*.bmp"))
    images = [{"bytes": file.read_bytes(), "path": None} for file in files]
    table = pa.table({"image": images, "label": [file.parent.name for file in files]})
    (folder.parent / "table").mkdir()
    pq.write_table(table, folder.parent / "table" / "x.parquet")
    return folder.parent / "table"


@pytest.mark.parametrize("kind", ["folder", "parquet"])
def test_a_copy_elsewhere_is_the_same_images(folder: Path, tmp_path: Path, kind: str) -> None:
    source = folder if kind == "folder" else as_parquet(folder)
    first, done = load(source, tmp_path / "cache")
    assert done == ["decoded", "read"]
    assert load(source, tmp_path / "cache")[1] == []  # neither read nor decoded
    copy = tmp_path / "elsewhere" / "copied"
    shutil.copytree(source, copy, copy_function=shutil.copyfile)  # with new times
    for file in copy.rglob("*.*"):
        os.utime(file, (1, 1))
    shutil.rmtree(source)
    again, done = load(copy, tmp_path / "cache")
    assert done == ["read"]  # and not decoded
    assert (again.identity, again.split) == (first.identity, first.split)
    assert again.source == str(copy)
    assert load(copy, tmp_path / "cache")[1] == []


def test_a_changed_byte_makes_other_images(folder: Path, tmp_path: Path) -> None:
    first, _ = load(folder, tmp_path / "cache")
    file = folder / "a" / "3.bmp"
    before, pixels = file.stat(), file.read_bytes()
    file.write_bytes(pixels[:-2] + b"\x01" + pixels[-1:])  # as large, and as old
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    other, done = load(folder, tmp_path / "cache")
    assert other.identity != first.identity and other.split != first.split
    assert done == ["decoded", "read"]
    assert not all(
        np.array_equal(first.part(name).images, other.part(name).images) for name in PARTS
    )
    file.write_bytes(pixels)
    assert load(folder, tmp_path / "cache")[0].identity == first.identity
    file.rename(folder / "b" / "9.bmp")  # another class
    assert load(folder, tmp_path / "cache")[0].identity != first.identity


def test_what_cannot_be_read_is_not_remembered(folder: Path, tmp_path: Path) -> None:
    def of(path: Path) -> str:
        return module.contents({"train": [("x", path)]}, tmp_path)

    link = tmp_path / "link"
    link.symlink_to(tmp_path / "nothing")
    missing = of(link)
    assert missing == of(link) and not (tmp_path / ".contents.json").exists()
    link.unlink()
    link.symlink_to(folder / "a" / "0.bmp")
    assert of(link) != missing
    (tmp_path / ".contents.json").write_text("[")  # damaged: read again
    assert of(link) == of(folder / "a" / "0.bmp")


def test_the_images_own_resolution_may_be_given(folder: Path, tmp_path: Path) -> None:
    own, _ = load(folder, tmp_path / "cache", resolution=None)
    assert own.preprocessing.resolution == 32
    given, done = load(folder, tmp_path / "cache", resolution=32)
    assert given.identity == own.identity and done == []
    assert load(folder, tmp_path / "cache", resolution=64)[0].identity != own.identity
