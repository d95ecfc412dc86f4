"""Files that hold many images: Parquet, WebDataset's tar, and what `datasets` saves to disk."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pnag.errors import PnagError
from pnag.images.columns import from_columns, from_splits, quiet
from pnag.images.image_files import ARCHIVES
from pnag.images.linked_images import linked_images
from pnag.images.part_names import PARTS_LIKE, part_of
from pnag.images.plain_paths import plain
from pnag.images.rows import Opened, Source
from pnag.images.tar_files import open_tars

if TYPE_CHECKING:
    import datasets

SUFFIXES = (".parquet", ".tar")
_LISTS = (".csv", ".tsv", ".txt", ".json", ".jsonl")
_SAVED = ("dataset_dict.json", "state.json")
_LIST = "metadata.parquet"  # of images beside it
Parts = dict[str, list[Path]]


def files_by_suffix(root: Path) -> dict[str, list[Path]]:
    """The Parquet and tar files below a folder, sorted, by each of `SUFFIXES`."""
    found: dict[str, list[Path]] = {suffix: [] for suffix in SUFFIXES}
    for place, _, names in os.walk(root):
        for name in names:
            suffix = Path(name).suffix.lower()
            if suffix in found and name.lower() != _LIST and not name.startswith("."):
                found[suffix].append(Path(place, name))
    return {suffix: sorted(files) for suffix, files in found.items()}


def find_data_files(root: Path, files: Mapping[str, list[Path]]) -> Source | None:
    """The images of a folder's Parquet or tar files, or of a data set that `datasets` has saved.

    Args:
        files: from `files_by_suffix`.

    Raises:
        PnagError: if it is not clear which file is of which part.
    """
    if any((root / name).is_file() for name in _SAVED):
        return _saved(root)
    for suffix, some in files.items():
        if some:
            return data_files(_by_part(root, some, suffix))
    return None


def data_files(parts: Parts) -> Source:
    """The images of Parquet or of tar files, by part.

    Raises:
        PnagError: for files of another kind.
    """
    first = parts["train"][0]
    suffix = first.suffix.lower()
    if suffix == ".parquet":
        return _parquet(parts)
    if suffix == ".tar":
        return Source("tar", _named(parts), lambda _: open_tars(parts))
    remedy = (
        "name a folder of class folders, a folder of Parquet files, a Parquet file, WebDataset's "
        "tar files or a data set of the Hugging Face hub"
    )
    if suffix in ARCHIVES:
        remedy = "unpack it and name the folder"
    elif suffix in _LISTS:
        remedy = f"if it lists images, name the folder that holds it: {first.absolute().parent}"
    raise PnagError(f"{first} is a file, but not a .parquet or .tar; {remedy}")


def _by_part(root: Path, files: list[Path], suffix: str) -> Parts:
    kind = _kind(suffix)
    parts: Parts = {}
    if len(folders := {file.parent for file in files}) > 1:
        of = {folder: _part_of_folder(folder, root) for folder in folders}
        if None in of.values():
            raise PnagError(
                f"{root} has {kind} files in {len(folders)} folders "
                f"({', '.join(sorted(map(str, folders))[:4])}), and not each is called like a "
                f"part ({PARTS_LIKE}); name the one to use"
            )
        for file in files:
            parts.setdefault(of[file.parent] or "", []).append(file)
    else:
        for file in files:
            parts.setdefault(part_of(file.stem) or "", []).append(file)
    if "" in parts and len(parts) > 1:
        raise PnagError(
            f"{parts[''][0]} belongs to no part: the names of {kind} files have one of "
            f"{PARTS_LIKE} in "
            "them where there are several parts; rename it"
        )
    if "" in parts:
        return {"train": files}
    if "train" not in parts:
        raise PnagError(
            f"{root} has {files[0].name} but no {kind} file whose name starts with train; "
            "add it, or name a file to be split"
        )
    return parts


def _part_of_folder(folder: Path, root: Path) -> str | None:
    names = reversed(folder.relative_to(root).parts)
    return next(filter(None, map(part_of, names)), None)


def _kind(suffix: str) -> str:
    return "Parquet" if suffix == ".parquet" else "tar"


def _named(parts: Parts) -> dict[str, list[tuple[str, Path]]]:
    return {part: [(file.name, file) for file in some] for part, some in parts.items()}


def _parquet(parts: Parts) -> Source:
    linked = {part: linked_images(files) for part, files in parts.items()}

    def open_parquet(scratch: Path) -> Opened:
        import datasets

        try:
            loaded = load_parquet(parts, scratch)
        except (datasets.exceptions.DatasetsError, OSError, ValueError) as error:
            raise _unreadable(error, parts["train"][0], scratch) from error
        folders = {part: [file.parent for file in files] for part, files in parts.items()}
        return from_columns(loaded, str(parts["train"][0]), folders)

    files = _named(parts)
    for part, images in linked.items():
        if images:
            files[f"images of {part}"] = images
    size = sum(file.stat().st_size for some in parts.values() for file in some if file.exists())
    return Source("parquet", files, open_parquet, scratch_bytes=size)


def load_parquet(parts: Parts, scratch: Path) -> dict[str, datasets.Dataset]:
    """Files by part; temporary ones go into `scratch`.

    By the builder itself: `datasets.load_dataset` takes [ and * in paths for patterns. Each part by
    one of its own, which would otherwise give all of them the names of train's classes.
    """
    from datasets.data_files import DataFilesDict, DataFilesList
    from datasets.packaged_modules.parquet.parquet import Parquet

    scratch.mkdir(parents=True, exist_ok=True)
    loaded = {}
    for part, some in parts.items():
        paths = [str(plain(file)) for file in some]
        files = DataFilesDict({part: DataFilesList(paths, [(path,) for path in paths])})
        with quiet():
            builder = Parquet(cache_dir=str(plain(scratch)), data_files=files)
            builder.download_and_prepare()
            loaded[part] = builder.as_dataset(split=part)
    return loaded


def _unreadable(error: Exception, first: Path, scratch: Path) -> PnagError:
    cause = error.__cause__ or error
    if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
        return PnagError(
            f"cannot write a temporary copy of {first} to {scratch.parent}: {cause.strerror}; free "
            "space or choose another folder for the decoded images with --cache"
        )
    return PnagError(f"cannot read {first} or another Parquet file of it: {cause}")


def _saved(root: Path) -> Source:
    """What `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote."""

    def open_saved(_: Path) -> Opened:
        import datasets

        try:
            loaded = datasets.load_from_disk(str(plain(root)))
        except (datasets.exceptions.DatasetsError, OSError, ValueError) as error:
            raise PnagError(f"cannot read the data set {root}: {error}; save it again") from error
        if isinstance(loaded, datasets.Dataset):
            return from_columns({"train": loaded}, str(root))
        return from_splits(dict(loaded), str(root))

    files = sorted(path for path in root.rglob("*") if path.suffix in (".arrow", ".json"))
    return Source("saved", {"": [(f.relative_to(root).as_posix(), f) for f in files]}, open_saved)
