"""Folders of class folders."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pnag.errors import PnagError
from pnag.training.part_names import exact_part
from pnag.training.rows import Listed, Opened, Rows, Source, all_rows


def class_folders(root: Path) -> Source:
    """A folder of class folders, or one of parts with class folders in them."""
    folders = _subfolders(root)
    parts = _parts(folders)
    if "train" not in parts:
        if parts:
            raise PnagError(
                f"{root} has {', '.join(sorted(f.name for f in parts.values()))} but no folder "
                "train; put the images to train on into a folder train of class folders"
            )
        parts = {"train": root}
    notes = []
    if parts["train"] != root and (others := [f.name for f in folders if f not in parts.values()]):
        notes.append(f"not used: {', '.join(others)} in {root} (neither train, test nor val)")
    classes = _class_names(parts["train"])
    listed = {part: _list_part(folder, classes, part) for part, folder in parts.items()}
    for part, samples in listed.items():
        missing = set(range(len(classes))) - {label for _, label in samples}
        if missing and part != "train":
            names = ", ".join(classes[label] for label in sorted(missing)[:5])
            notes.append(f"{len(missing)} class(es) have no images in {parts[part]}: {names}")

    def open_folder(_: Path) -> Opened:
        return Opened(
            tuple(classes), {p: _file_rows(samples) for p, samples in listed.items()}, notes
        )

    files = {
        part: [(path.relative_to(root).as_posix(), path) for path, _ in samples]
        for part, samples in listed.items()
    }
    return Source("folder", files, open_folder)


def has_train(root: Path) -> bool:
    """Whether one of its folders is the part to train on."""
    return "train" in _parts(_subfolders(root))


def _parts(folders: list[Path]) -> dict[str, Path]:
    # A folder `train` of images only is a class (cars, planes, trains); one of folders is a part.
    return {part: f for f in folders if (part := exact_part(f.name)) and _subfolders(f)}


def _subfolders(root: Path) -> list[Path]:
    """Sorted by name, without hidden ones such as .ipynb_checkpoints."""
    with _reading(root):
        return sorted(f for f in root.iterdir() if f.is_dir() and not f.name.startswith("."))


@contextlib.contextmanager
def _reading(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PnagError(
            f"cannot read the folder {error.filename or folder}: {error.strerror or error}; let "
            "this user read it, or name another"
        ) from error


def _class_names(folder: Path) -> list[str]:
    names = [f.name for f in _subfolders(folder)]
    if not names:
        raise PnagError(
            f"{folder} has no folders in it; give each class a folder of its images, for example "
            f"{folder}/cat/1.jpg"
        )
    return names


def _list_part(folder: Path, classes: list[str], part: str) -> list[tuple[Path, int]]:
    from torchvision.datasets.folder import IMG_EXTENSIONS, make_dataset

    unknown = sorted(set(_class_names(folder)) - set(classes))
    if unknown:
        raise PnagError(
            f"{folder} has a class {unknown[0]!r} that the training images do not have "
            f"({len(unknown)} such class(es)); remove it, or add images of it to train"
        )
    index = {name: label for label, name in enumerate(classes) if (folder / name).is_dir()}
    for name in index:
        with _reading(folder / name):  # what lists the images passes such a folder over
            next((folder / name).iterdir(), None)
    samples = make_dataset(
        str(folder),
        index,
        # "._cat.jpg" is what macOS leaves next to cat.jpg.
        is_valid_file=lambda file: (
            file.lower().endswith(IMG_EXTENSIONS) and not Path(file).name.startswith(".")
        ),
        allow_empty=True,
    )
    counts = Counter(label for _, label in samples)
    if not samples:
        raise PnagError(
            f"there are no images in {folder}; it needs a folder of images for each class "
            f"({', '.join(IMG_EXTENSIONS)})"
        )
    for name, label in index.items():
        if not counts[label] and part == "train":
            raise PnagError(
                f"the class folder {folder / name} has no images; remove it or add images "
                f"({', '.join(IMG_EXTENSIONS)})"
            )
    return [(Path(file), label) for file, label in samples]


def _file_rows(samples: list[tuple[Path, int]]) -> Rows:
    labels = np.array([label for _, label in samples], np.int64)
    return all_rows(Listed([str(path) for path, _ in samples]), labels)
