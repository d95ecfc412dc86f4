"""Which files below a folder are images, by what they hold; and what else there is."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pnag.errors import PnagError

# Files of these names are taken for images unread; whether they are shows when they are decoded.
SUFFIXES = frozenset([
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".gif", ".bmp", ".dib", ".tif", ".tiff",
    ".webp", ".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".jp2", ".j2k", ".ico", ".tga", ".pcx",
])  # fmt: skip
_TEXT_IMAGES = (".svg",)  # an image that is text; it cannot be decoded, which is to be seen
ARCHIVES = (".zip", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar")
_NO_IMAGES = frozenset([
    ".txt", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".md", ".html", ".yaml", ".yml", ".parquet",
    ".arrow", ".tar", *ARCHIVES,
])  # fmt: skip
# What systems and programs leave behind.
_LEFT_FILES = ("thumbs.db", "ehthumbs.db", "desktop.ini")
_LEFT_FOLDERS = ("__macosx", "@eadir", "lost+found", "$recycle.bin", "system volume information")
_CONTROLS = frozenset(range(32)) - set(b"\t\n\f\r\x1b")
_HEAD = 1024


@dataclass
class Found:
    """Files of a folder.

    Attributes:
        images: that are images, or may be: neither text, archives nor what a system leaves behind.
        others: that are not.
    """

    images: list[Path] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)


def subfolders(folder: Path) -> list[Path]:
    """Sorted by name, without hidden ones such as .ipynb_checkpoints or those of a system.

    Raises:
        PnagError: if the folder cannot be read.
    """
    with _reading(folder):
        return sorted(
            f
            for f in folder.iterdir()
            if f.is_dir() and not f.name.startswith(".") and f.name.lower() not in _LEFT_FOLDERS
        )


def files_of(folder: Path) -> Found:
    """The files that lie in a folder itself.

    Raises:
        PnagError: if the folder cannot be read.
    """
    with _reading(folder):
        names = sorted(f.name for f in folder.iterdir() if not f.is_dir())
    return _sorted_out(folder, names)


def files_below(folder: Path) -> Found:
    """The files of a folder and of all folders in it, as one sorted list.

    Raises:
        PnagError: if one of them cannot be read.
    """
    with _reading(folder):
        next(folder.iterdir(), None)
    found = Found()
    for place, names in sorted(_walk(folder)):
        here = _sorted_out(Path(place), sorted(names))
        found.images += here.images
        found.others += here.others
    return found


def has_images(folder: Path) -> bool:
    """Whether a folder itself, not one in it, has an image."""
    with _reading(folder):
        return any(not f.is_dir() and _kept(f.name) and may_be_image(f) for f in folder.iterdir())


def may_be_image(path: Path) -> bool:
    """Whether a file is an image or, at least, neither text nor an archive.

    A file that is neither, such as a HEIC image, counts, so that no image is left out unseen.
    """
    suffix = path.suffix.lower()
    if suffix in SUFFIXES or suffix in _TEXT_IMAGES:
        return True
    if suffix in _NO_IMAGES:
        return False
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:  # a link to nothing, or closed: seen when it is decoded
        return True
    return not _is_text(head)


def by_suffix(files: Iterable[Path]) -> str:
    """Such as `.txt 5, .xml 1`, the most frequent first."""
    counts = Counter(path.suffix.lower() or "without a suffix" for path in files)
    return ", ".join(f"{suffix} {count}" for suffix, count in counts.most_common())


def _kept(name: str) -> bool:
    # "._cat.jpg" is what macOS leaves next to cat.jpg.
    return not name.startswith(".") and name.lower() not in _LEFT_FILES


def _sorted_out(folder: Path, names: list[str]) -> Found:
    found = Found()
    for name in filter(_kept, names):
        path = folder / name
        (found.images if may_be_image(path) else found.others).append(path)
    return found


def _is_text(head: bytes) -> bool:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):  # UTF-16
        return True
    return not _CONTROLS & set(head)


def _walk(folder: Path) -> Iterator[tuple[str, list[str]]]:
    def fail(error: OSError) -> None:
        raise error

    with _reading(folder):
        for place, inner, names in os.walk(folder, onerror=fail, followlinks=True):
            above = os.path.realpath(place)
            inner[:] = [
                name
                for name in inner
                if not name.startswith(".")
                and name.lower() not in _LEFT_FOLDERS
                and not _leads_back(Path(place, name), above)
            ]
            yield place, names


def _leads_back(folder: Path, above: str) -> bool:
    """Whether a link leads to a folder that it is in, which would never end."""
    return folder.is_symlink() and Path(above).is_relative_to(os.path.realpath(folder))


@contextlib.contextmanager
def _reading(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PnagError(
            f"cannot read the folder {error.filename or folder}: {error.strerror or error}; let "
            "this user read it, or name another"
        ) from error
