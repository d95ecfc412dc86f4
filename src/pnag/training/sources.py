"""Where images come from: class folders, Parquet files, the Hugging Face hub, or the digits.

Each kind of source is looked at first (`find_source`: its files, by which a cache knows it) and
opened only when its images are needed, as rows of undecoded images for each part.
"""

from __future__ import annotations

import contextlib
import errno
import io
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from pnag.errors import PnagError
from pnag.files import exists, expand_home
from pnag.training.contents import Files

if TYPE_CHECKING:
    from datasets import Dataset

# How parts are called, in folders, in Parquet files and on the hub.
_PARTS = {"train": "train", "test": "test", "val": "validation"}
_IMAGE_COLUMNS = ("image", "img")
_LABEL_COLUMNS = ("label", "labels", "fine_label")


# A row of an image column that is not decoded, as `datasets` has it: its "bytes" or its "path".
Raw = dict[str, Any]


class Images(Protocol):
    """A whole part's images, by their numbers."""

    def __call__(self, ids: list[int]) -> list[Raw | None]:
        """Undecoded images."""


@dataclass(frozen=True)
class _Column:
    rows: Dataset

    def __call__(self, ids: list[int]) -> list[Raw | None]:
        return list(self.rows[ids]["image"])


@dataclass(frozen=True)
class _Listed:
    """Paths or contents of files. No in-memory `Dataset`: it pickles itself to tell whether it has
    changed, which datasets 5.2 cannot with pyarrow 26.
    """

    items: list[str] | list[bytes]

    def __call__(self, ids: list[int]) -> list[Raw | None]:
        some = (self.items[i] for i in ids)
        return [
            {"path": item, "bytes": None}
            if isinstance(item, str)
            else {"path": None, "bytes": item}
            for item in some
        ]


@dataclass(frozen=True)
class Rows:
    """Images, undecoded, of one part of a source, or of some of it.

    Attributes:
        images: the whole part.
        ids: (N,) which of them.
        labels: (N,) their classes.
    """

    images: Images
    ids: NDArray[np.int64]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, which: NDArray[np.int64] | NDArray[np.bool_]) -> Rows:
        """Some of these rows."""
        return Rows(self.images, self.ids[which], self.labels[which])

    def raw(self, positions: list[int] | NDArray[np.int64]) -> list[Raw | None]:
        """Undecoded images."""
        return self.images(self.ids[positions].tolist())

    def name(self, position: int) -> str:
        """What a user finds an image by: its file, or its row."""
        raw = self.raw([position])[0] or {}
        path = raw.get("path")
        if path and raw.get("bytes") is None:
            return str(path)
        return f"row {self.ids[position]} (counted from 0)" + (f", {path}" if path else "")


@dataclass(frozen=True)
class Opened:
    """The parts `train` and, where the source has them, `validation` and `test`."""

    classes: tuple[str, ...]
    parts: dict[str, Rows]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Source:
    """A source that has been looked at but not read.

    Attributes:
        kind: what its files' names do not tell.
        files: of each part, by names that are the same wherever the source lies; what they hold
            decides what the images are.
        open: reads it; may put temporary files into the folder it is given.
        mirror: whether a mirrored image is still an image of its class.
        scratch_bytes: about how large those temporary files are.
    """

    kind: str
    files: Files
    open: Callable[[Path], Opened]
    mirror: bool = True
    scratch_bytes: int = 0


def find_source(source: str) -> Source:
    """Look at a folder, a Parquet file, a hub name or `digits` (scikit-learn's; `./digits` is a
    folder of that name).

    Raises:
        PnagError: if there is no such thing, or nothing to train on in it.
    """
    if source == "digits":
        return Source("digits", {}, _open_digits, mirror=False)
    path = expand_home(source)
    there = exists(path)
    if there and path.is_file():
        if path.suffix.lower() != ".parquet":
            raise PnagError(
                f"{path} is a file but no .parquet; name a folder of class folders, a folder of "
                "Parquet files, a Parquet file or a data set of the Hugging Face hub"
            )
        return _parquet({"train": [path]})
    if there:
        return _folder(path)
    if (
        path.is_absolute()
        or source.startswith((".", "~"))
        or source.count("/") > 1
        or path.suffix == ".parquet"
    ):
        raise PnagError(f"there is no folder or file {source}; check the path of the images")
    return _hub(source)


def _part_of(name: str) -> str | None:
    return next((part for key, part in _PARTS.items() if name.lower().startswith(key)), None)


# Folders of class folders


def _folder(root: Path) -> Source:
    folders = _subfolders(root)
    # A folder `train` of images only is a class (cars, planes, trains); one of folders is a part.
    parts = {part: f for f in folders if (part := _exact_part(f.name)) and _subfolders(f)}
    if "train" not in parts:
        files = sorted(root.rglob("*.parquet"))
        if files:
            return _parquet(_parquet_parts(root, files))
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


def _exact_part(name: str) -> str | None:
    names = {"train": "train", "test": "test"} | dict.fromkeys(
        ("val", "valid", "validation"), "validation"
    )
    return names.get(name.lower())


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
    return _all_rows(_Listed([str(path) for path, _ in samples]), labels)


def _all_rows(images: Images, labels: NDArray[np.int64]) -> Rows:
    return Rows(images, np.arange(len(labels)), labels)


# Parquet files and the hub


def _parquet_parts(root: Path, files: list[Path]) -> dict[str, list[Path]]:
    if len(folders := {file.parent for file in files}) > 1:
        raise PnagError(
            f"{root} has Parquet files in {len(folders)} folders "
            f"({', '.join(sorted(map(str, folders))[:4])}); name the one to use"
        )
    parts: dict[str, list[Path]] = {}
    for file in files:
        parts.setdefault(_part_of(file.name) or "", []).append(file)
    if "" in parts and len(parts) > 1:
        raise PnagError(
            f"{parts[''][0]} is of no part: the names of Parquet files start with train, test or "
            "val where there are several parts; rename it"
        )
    if "" in parts:
        return {"train": files}
    if "train" not in parts:
        raise PnagError(
            f"{root} has {files[0].name} but no Parquet file whose name starts with train; add it, "
            "or name a file to be split"
        )
    return parts


def _parquet(parts: dict[str, list[Path]]) -> Source:
    def open_parquet(scratch: Path) -> Opened:
        import datasets

        files = {part: [str(file) for file in some] for part, some in parts.items()}
        try:
            with _quiet():
                loaded = datasets.load_dataset("parquet", data_files=files, cache_dir=str(scratch))
        except (datasets.exceptions.DatasetsError, OSError, ValueError) as error:
            cause = error.__cause__ or error
            if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
                raise PnagError(
                    f"cannot write a temporary copy of {files['train'][0]} to {scratch.parent}: "
                    f"{cause.strerror}; free space or choose another folder for the decoded "
                    "images with --cache"
                ) from error
            raise PnagError(
                f"cannot read {files['train'][0]} or another Parquet file of it: {cause}"
            ) from error
        return _from_columns(dict(loaded), files["train"][0])

    files = {part: [(file.name, file) for file in some] for part, some in parts.items()}
    size = sum(file.stat().st_size for some in parts.values() for file in some if file.exists())
    return Source("parquet", files, open_parquet, scratch_bytes=size)


def _hub(name: str) -> Source:
    import datasets

    try:
        with _quiet():
            loaded = datasets.load_dataset(name)
    # RuntimeError: of data sets that are a program, which `datasets` no longer runs
    except (datasets.exceptions.DatasetsError, OSError, ValueError, RuntimeError) as error:
        raise PnagError(
            f"there is no folder {name} here, and the data set {name!r} of the Hugging Face hub "
            f"cannot be fetched: {' '.join(str(error).split())[:300]}; where there is no network, "
            f"run `hf download {name} --repo-type dataset --local-dir FOLDER` on a machine that "
            "has one, copy FOLDER here and name it instead"
        ) from error
    notes: list[str] = []
    parts = {}
    for split, rows in loaded.items():
        part = _part_of(split)
        if part is None or part in parts:
            notes.append(f"not used: the split {split} of {name}")
        else:
            parts[part] = rows
    if "train" not in parts:
        raise PnagError(
            f"the data set {name!r} has no split train; it has: {', '.join(loaded)}; name another"
        )
    files = {
        part: [(f.name, f) for f in (Path(c["filename"]) for c in rows.cache_files)]
        for part, rows in parts.items()
    }

    def open_hub(_: Path) -> Opened:
        opened = _from_columns(parts, name)
        return Opened(opened.classes, opened.parts, notes + opened.notes)

    return Source(f"hub {name}", files, open_hub)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the progress bars of `datasets`: a run shows its own."""
    import datasets

    shown = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()


def _from_columns(parts: dict[str, Dataset], name: str) -> Opened:
    """Parts from data sets with an image column and a label column."""
    import datasets

    features = parts["train"].features
    image = _column(
        features, _IMAGE_COLUMNS, [c for c, f in features.items() if isinstance(f, datasets.Image)]
    )
    label = _column(
        features,
        _LABEL_COLUMNS,
        [c for c, f in features.items() if isinstance(f, datasets.ClassLabel)],
    )
    for column, kind, names in ((image, "image", _IMAGE_COLUMNS), (label, "label", _LABEL_COLUMNS)):
        if column is None:
            raise PnagError(
                f"{name} has no {kind} column; it has: {', '.join(map(repr, features))}; name the "
                f"column of {kind}s {names[0]!r}"
            )
    assert image is not None and label is not None
    notes, kept, values = [], {}, {}
    for part, rows in parts.items():
        column = rows.data.column(label)
        if column.null_count:
            raise PnagError(
                f"{name}: {column.null_count} row(s) of {part} have no {label}; remove them"
            )
        found = column.to_numpy()
        if found.dtype.kind in "iu" and len(found) and found.max() < 0:
            if part == "train":
                raise PnagError(f"{name}: all of column {label!r} in train is {found.max()}")
            notes.append(f"not used: part {part}, whose labels are kept secret ({found.max()})")
            continue
        values[part] = found
        try:
            kept[part] = (
                rows.select_columns([image])
                .rename_columns({image: "image"} if image != "image" else {})
                .cast_column("image", datasets.Image(decode=False))
            )
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise PnagError(
                f"{name}: the column {image!r} does not hold images: {error}; it needs the bytes "
                "of image files"
            ) from error
    if isinstance(features[label], datasets.ClassLabel):
        classes = list(features[label].names)
        labels = {part: found.astype(np.int64) for part, found in values.items()}
    else:
        kind = features[label]
        if not isinstance(kind, datasets.Value) or values["train"].dtype.kind not in "iuOUTSb":
            what = kind.dtype if isinstance(kind, datasets.Value) else type(kind).__name__
            raise PnagError(
                f"{name}: the column {label!r} holds {what}, needs names or whole numbers of "
                "classes, one for each image"
            )
        every = sorted(set(np.concatenate([np.unique(found) for found in values.values()])))
        classes = [str(value) for value in every]
        labels = {
            part: np.searchsorted(np.array(every), found.astype(np.array(every).dtype))
            for part, found in values.items()
        }
    for part, found in labels.items():
        if len(found) and not (found.min() >= 0 and found.max() < len(classes)):
            raise PnagError(
                f"{name}: a label of part {part} is {found.min()} or {found.max()}, and there are "
                f"{len(classes)} classes; correct or remove such rows"
            )
    present = np.unique(labels["train"])
    absent = sorted(set(range(len(classes))) - set(present.tolist()))
    if absent:
        for part in sorted(set(labels) - {"train"}):
            if unknown := set(np.unique(labels[part]).tolist()) & set(absent):
                raise PnagError(
                    f"{name}: part {part} has the class {classes[min(unknown)]!r} that train does "
                    "not have; remove such rows, or add images of it to train"
                )
        notes.append(
            f"{len(absent)} class(es) have no images and are left out: "
            f"{', '.join(classes[label] for label in absent[:5])}"
        )
        labels = {part: np.searchsorted(present, found) for part, found in labels.items()}
        classes = [classes[label] for label in present]
    return Opened(tuple(classes), {p: _all_rows(_Column(kept[p]), labels[p]) for p in kept}, notes)


def _column(features: Any, names: tuple[str, ...], typed: list[str]) -> str | None:
    for name in names:
        if name in features:
            return name
    return typed[0] if len(typed) == 1 else None


# scikit-learn's digits


def _open_digits(_: Path) -> Opened:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise PnagError(
            "the images 'digits' come with scikit-learn, which is not installed: "
            "pip install 'pnag[digits]'"
        ) from error
    digits = load_digits()
    files = []
    for grey in np.rint(digits.images * 255 / 16).astype(np.uint8):
        file = io.BytesIO()
        Image.fromarray(grey).save(file, "png")
        files.append(file.getvalue())
    rows = _all_rows(_Listed(files), digits.target.astype(np.int64))
    return Opened(tuple(map(str, digits.target_names)), {"train": rows})
