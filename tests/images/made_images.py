"""Images as people have them."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image
from typer.testing import CliRunner, Result

from pnag.commands.main import app


def picture(seed: int, size: tuple[int, int] = (24, 24)) -> Image.Image:
    """A smooth picture of two colours, unlike any other seed's."""
    corners = np.random.default_rng(seed).integers(0, 256, (2, 2, 3), np.uint8)
    return Image.fromarray(corners).resize(size, Image.Resampling.BILINEAR)


def write(folder: Path, count: int = 6, first: int = 0, suffix: str = ".png") -> Path:
    """Pictures 0.png, 1.png, ... in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        kind = "jpeg" if suffix in (".jpg", ".jfif", "") else suffix[1:]
        picture(first + number).save(folder / f"{number}{suffix}", kind)
    return folder


def class_folders(root: Path, *names: str, count: int = 6, first: int = 0) -> Path:
    """Folders of these names with pictures."""
    for number, name in enumerate(names):
        write(root / name, count, first + 100 * number)
    return root


def encoded(number: int, kind: str = "png") -> bytes:
    """A picture as a file's content."""
    file = io.BytesIO()
    picture(number).save(file, kind)
    return file.getvalue()


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    """A tar file of these members."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def call(*arguments: object) -> Result:
    """Of this process: importing torch anew takes longer than what is asked for."""
    return CliRunner().invoke(app, [str(a) for a in arguments])


def said(result: Result) -> str:
    """All that a user sees, without line breaks."""
    return " ".join((result.stdout + result.stderr).split())
