"""Files of all kinds among the images: of more than 8 bits, of other suffixes, damaged, large."""

from __future__ import annotations

import io
import json
import runpy
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_images import call, class_folders, picture, said, write
from numpy.typing import NDArray
from PIL import Image

from pnag.images.decode import centre_pixels, open_image, opened
from pnag.images.images import load_images
from pnag.images.levels import Levels

Call = Callable[..., Any]


def png16(values: NDArray[Any]) -> bytes:
    """(H, W, C) values as a 16-bit PNG of 1 to 4 channels, which Pillow cannot write."""
    height, width, channels = values.shape

    def chunk(kind: bytes, content: bytes) -> bytes:
        whole = kind + content
        return struct.pack(">I", len(content)) + whole + struct.pack(">I", zlib.crc32(whole))

    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    )


def tiff16(values: NDArray[Any]) -> bytes:
    """(H, W, 3) values as an uncompressed 16-bit TIFF."""
    height, width, channels = values.shape
    pixels = values.astype("<u2").tobytes()
    after = 8 + 2 + 12 * 9 + 4
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, after), (259, 3, 1, 1),
            (262, 3, 1, 2), (273, 4, 1, after + 6), (277, 3, 1, channels), (278, 4, 1, height),
            (279, 4, 1, len(pixels))]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    bits = struct.pack("<3H", 16, 16, 16)
    return b"II*\0" + struct.pack("<IH", 8, 9) + entries + struct.pack("<I", 0) + bits + pixels


def write_wide(
    root: Path, low: int, high: int, channels: int = 1, brighter: int = 0
) -> dict[Path, NDArray[Any]]:
    """2 classes of 4 16-bit images; the darkest value of all is `low`, the greatest `high`."""
    rng, made = np.random.default_rng(0), {}
    for number in range(8):
        values = rng.integers(low, high + 1 - brighter, (24, 24, channels), np.int64)
        values += brighter * (number >= 4)
        values[0, 0], values[0, 1] = low + brighter * (number >= 4), values.max()
        if number == 7:
            values[0, 2] = high
        path = root / "ab"[number // 4] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png16(values))
        made[path] = values
    return made


def pixels_of(data: Any) -> set[bytes]:
    return {i.tobytes() for part in (data.train, data.validation, data.test) for i in part.images}


def eight_bits(values: NDArray[Any], low: int, high: int) -> bytes:
    """As decoded at 32 pixels."""
    grey = np.rint((values - low) * (255 / (high - low))).clip(0, 255).astype(np.uint8)
    return centre_pixels(Image.fromarray(grey[..., 0]).convert("RGB"), 32, 32).tobytes()


@pytest.mark.parametrize(
    ("low", "high", "white", "says"),
    [
        (0, 255, (0, 255), "values 0 to 255: taken as they are, 255 as white"),
        (0, 200, (0, 255), "values 0 to 200: taken as they are, 255 as white"),
        (0, 4095, (0, 4095), "values 0 to 4095: in all images the first becomes black"),
        (7000, 9000, (7000, 9000), "values 7000 to 9000: in all images the first becomes black"),
    ],
)
def test_the_range_of_16_bits_is_that_of_the_set(
    low: int, high: int, white: tuple[int, int], says: str,
    tmp_path: Path, look: Call, decoded: Call,
) -> None:  # fmt: skip
    made = write_wide(tmp_path / "set", low, high, brighter=(high - low) // 4)
    result, text = look(tmp_path / "set")
    assert result.exit_code == 0, text
    assert f"8 of 8 images have more than 8 bits a channel, {says}" in text
    data = decoded(tmp_path / "set")
    assert data.preprocessing.levels == white
    assert pixels_of(data) == {eight_bits(values, *white) for values in made.values()}


ARCH = "2,2,2,2,2:" + ",".join(["3,3,0,0"] * 5) + ":" + ",".join(["3,3,0,0"] * 5)


def test_training_on_16_bits_judging_and_deploying(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_wide(tmp_path / "set", 0, 4095)
    run = tmp_path / "run"
    result = call("train", "--images", tmp_path / "set", "--out", run, "--width-mult", 0.1,
                  "--epochs", 2, "--resolution", 32)  # fmt: skip
    assert result.exit_code == 0, said(result)
    assert "values 0 to 4095" in said(result)
    made = write_wide(tmp_path / "darker", 0, 1000)
    result = call(
        "collect", "--supernet", run / "supernet.safetensors", "--images", tmp_path / "darker",
        "--out", tmp_path / "t.csv", "--architectures", 1,
    )  # fmt: skip
    assert result.exit_code == 0, said(result)
    data = load_images(
        str(tmp_path / "darker"),
        resolution=32,
        cache=tmp_path / "decoded-images",
        levels=(0, 4095),
        progress=lambda *_: pytest.fail("decoded anew"),
    )
    assert pixels_of(data) == {eight_bits(values, 0, 4095) for values in made.values()}
    model = tmp_path / "n.onnx"
    result = call("export", ARCH, "--weights", run / "supernet.safetensors", "--images",
                  tmp_path / "set", "--out", model)  # fmt: skip
    assert result.exit_code == 0, said(result)
    beside = tmp_path / f"{model.name}.preprocessing.json"
    how = json.loads(beside.read_text())
    path, values = next(iter(made.items()))
    monkeypatch.setattr("sys.argv", ["", str(model), str(beside), str(path)])
    images = runpy.run_path(str(tmp_path / "load_onnx.py"))["images"]
    pixels = np.frombuffer(eight_bits(values, 0, 4095), np.uint8).reshape(3, 32, 32) / 255
    mean, std = (np.array(how[name])[:, None, None] for name in ("mean", "std"))
    assert np.abs(images[0] - (pixels - mean) / std).max() < 1e-5


@pytest.mark.parametrize("channels", [1, 2, 3, 4, "tiff"])
def test_no_bit_of_any_16_bit_file_is_dropped(channels: Any) -> None:
    count = 3 if channels == "tiff" else channels
    values = np.random.default_rng(0).integers(0, 256, (9, 7, count))
    content = tiff16(values) if channels == "tiff" else png16(values)
    if count in (2, 4):
        values[..., -1] = 65535
        content = png16(values)
    ours = np.asarray(open_image({"bytes": content, "path": None}, 8, Levels(0, 255)))
    wanted = np.broadcast_to(values[..., :1], (9, 7, 3)) if count < 3 else values[..., :3]
    assert np.array_equal(ours, wanted)


def test_a_few_16_bit_images_among_others(tmp_path: Path, look: Call, decoded: Call) -> None:
    root = class_folders(tmp_path / "set", "a", "b", count=120)  # more than are probed
    values = np.random.default_rng(0).integers(0, 65536, (24, 24, 3))
    (root / "b" / "7.png").write_bytes(png16(values))
    result, text = look(root)
    assert result.exit_code == 0, text
    assert "1 of 240 images have more than 8 bits a channel" in text and "65535 white" in text
    eight = Image.fromarray(np.rint(values / 257).astype(np.uint8))
    assert centre_pixels(eight, 32, 32).tobytes() in pixels_of(decoded(root))
    (root / "b" / "7.png").write_bytes(png16(values // 16))  # 12 bits: how bright is it?
    result, text = look(root)
    assert result.exit_code == 2
    assert f"such as {root}/b/7.png, and others have 8 bits, such as" in text


def test_more_bits_that_cannot_be_read(tmp_path: Path, look: Call) -> None:
    root = class_folders(tmp_path / "set", "a", "b")
    Image.new("F", (24, 24), 0.5).save(root / "b" / "float.tif")
    result, text = look(root)
    assert result.exit_code == 2 and "float.tif: has floating-point pixels" in text


def test_images_that_are_all_alike(tmp_path: Path) -> None:
    for number in range(8):
        path = tmp_path / "set" / "ab"[number // 4] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (24, 24)).save(path)
    result = call("train", "--images", tmp_path / "set", "--out", tmp_path / "run")
    text = said(result)
    assert result.exit_code == 2
    assert "the 4 images to train on are all of the colour [0, 0, 0]" in text
    assert "set/a/" in text


def test_some_images_that_show_nothing(tmp_path: Path, look: Call) -> None:
    root = class_folders(tmp_path / "set", "a", "b", "c", count=10)
    for number in range(10):
        Image.new("RGB", (24, 24), "blue").save(root / "b" / f"{number}.png")
        if number:
            (root / "c" / f"{number}.png").write_bytes((root / "c" / "0.png").read_bytes())
    result, text = look(root)
    assert result.exit_code == 0, text
    assert "all images of a class are alike: b, c" in text
    assert f"6 image(s) are of one colour, such as {root}/b/" in text


# Files by their content


def test_suffixes_do_not_matter(tmp_path: Path, look: Call, decoded: Call) -> None:
    root = class_folders(tmp_path / "set", "a", "b", count=3)
    for number, name in enumerate("ab"):
        write(root / name / "jfif", 4, 20 + 100 * number, ".jfif")
        write(root / name / "none", 4, 30 + 100 * number, "")
        write(root / name / "gif", 2, 40 + 100 * number, ".gif")
        picture(50 + number).save(root / name / "right.jpg", "png")
        picture(60 + number).save(root / name / "x.dat", "webp")
    result, text = look(root)
    assert result.exit_code == 0, text
    data = decoded(root)
    assert sum(map(len, (data.train, data.validation, data.test))) == 30
    assert not data.skipped and "not used" not in text


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(range(256))


def test_what_is_not_used_is_counted(tmp_path: Path, look: Call, decoded: Call) -> None:
    root = class_folders(tmp_path / "set", "a", "b")
    for name in ("readme.txt", "boxes.xml", "more.xml", "notes", "LICENSE"):
        (root / "a" / name).write_text("what this is\n")
    (root / "b" / "Thumbs.db").write_bytes(bytes(100))
    picture(0).save(root / "stray.png")
    (root / "b" / "more.zip").write_bytes(b"PK\x03\x04" + bytes(100))
    result, text = look(root)
    assert result.exit_code == 0, text
    assert f"7 file(s) in {root} are not used (" in text
    for part in (".xml 2", "without a suffix 2", ".txt 1", ".png 1", ".zip 1"):
        assert part in text
    for number in range(3):
        (root / "b" / f"{number}.heic").write_bytes(HEIC)
    (root / "a" / "9.jpg").write_bytes(b"GIF? no")
    (root / "a" / "drawing.svg").write_text("<svg/>")
    result, text = look(root)
    assert result.exit_code == 2 and "--on-corrupt skip" in text
    result, text = look(root, "--on-corrupt", "skip")
    assert result.exit_code == 0, text
    assert "5 image(s) could not be decoded and are left out" in text
    assert "left out, by suffix: .heic 3, " in text and ".svg 1" in text and ".jpg 1" in text
    data = decoded(root, on_corrupt="skip")
    assert sum(map(len, (data.train, data.validation, data.test))) == 12


# Large images


def large(width: int, height: int) -> bytes:
    """A PNG of many pixels in few bytes."""
    image = Image.new("1", (width, height))
    image.paste(1, (0, 0, width // 2, height // 3))
    file = io.BytesIO()
    image.save(file, "png")
    return file.getvalue()


def test_very_large_images(tmp_path: Path, look: Call, decoded: Call) -> None:
    root = class_folders(tmp_path / "set", "a", "b", count=5)
    (root / "a" / "large.png").write_bytes(large(14_000, 13_000))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result, text = look(root)
        assert result.exit_code == 2
        assert "large.png: has 14000 x 13000 pixels, more than 179 million" in text
        assert "--max-megapixels 182" in text and "bomb" not in text.lower()
        result, text = look(root, "--on-corrupt", "skip")
        assert result.exit_code == 0, text
        assert "1 image(s) could not be decoded" in text
    (root / "a" / "large.png").write_bytes(large(2000, 1000))
    result, text = look(root, "--max-megapixels", 1)
    assert result.exit_code == 2 and "--max-megapixels 2" in text
    result, text = look(root, "--max-megapixels", 2)
    assert result.exit_code == 0, text
    data = decoded(root, max_megapixels=2)
    assert sum(map(len, (data.train, data.validation, data.test))) == 11


def test_large_images_below_the_limit_cause_no_warning() -> None:
    raw = {"bytes": large(10_000, 9_500), "path": None}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with opened(raw) as image:
            assert image.size == (10_000, 9_500)
        with opened({"bytes": large(14_000, 13_000), "path": None}, 182) as image:
            assert image.size == (14_000, 13_000)
    assert Image.MAX_IMAGE_PIXELS is not None  # as others find it


@pytest.mark.parametrize("command", ["run", "train"])
def test_a_run_keeps_to_the_option(command: str, tmp_path: Path) -> None:
    root = class_folders(tmp_path / "set", "a", "b", count=4)  # of 24 x 24 pixels
    words = [command, "--images", root, "--out", tmp_path / "run", "--max-megapixels", 0.0005]
    result = call(*words)
    assert result.exit_code == 2 and "has 24 x 24 pixels, more than 0.0005" in said(result)
