"""Where images come from: folders, Parquet files and archives, the Hugging Face hub, the digits.

Each kind of source is looked at first (`find_source`: its files, by which a cache knows it) and
opened only when its images are needed, as rows of undecoded images for each part.
"""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
from PIL import Image

from pnag.errors import PnagError
from pnag.extras import install
from pnag.files import exists, expand_home
from pnag.images.data_files import SUFFIXES, data_files, files_by_suffix, find_data_files
from pnag.images.folders import folder_source, has_list, look_at
from pnag.images.hub import hub
from pnag.images.image_files import ARCHIVES
from pnag.images.rows import Listed, Opened, Source, all_rows
from pnag.near_names import meant

# What a user or a data set of the hub may be called.
_HUB_NAME = re.compile(r"[\w.-]{1,96}(/[\w.-]{1,96})?", re.ASCII)
# First folders of paths, and no users of the hub.
_FOLDERS = frozenset([
    "data", "dataset", "datasets", "image", "images", "imgs", "pictures", "photos", "home", "mnt",
    "media", "tmp", "var", "srv", "scratch", "train", "test", "val", "runs", "downloads", "desktop",
    "documents",
])  # fmt: skip
_FILES = (*SUFFIXES, *ARCHIVES, ".csv", ".txt")


def find_source(source: str) -> Source:
    """Look at a folder, a file, a hub name or `digits` (scikit-learn's; `./digits` is a folder of
    that name).

    Raises:
        PnagError: if there is no such thing, or nothing to train on in it.
    """
    if source == "digits":
        return Source("digits", {}, _open_digits, mirror=False)
    path = expand_home(source)
    if not there(source):
        return hub(source)
    if path.is_file():
        return data_files({"train": [path]})
    layout = look_at(path)
    if layout.has_train:
        return folder_source(layout)
    files = files_by_suffix(path)
    if files[".tar"] and not files[".parquet"] and has_list(layout):
        return folder_source(layout, files[".tar"])  # they are what was unpacked, it seems
    return find_data_files(path, files) or folder_source(layout)


def there(source: str) -> bool:
    """Whether a source is here; at once, before anything is loaded.

    Returns:
        False if it may be a data set of the hub.

    Raises:
        PnagError: if it is a path to nothing.
    """
    path = expand_home(source)
    if source == "digits" or exists(path):
        return True
    if _like_a_path(source):
        raise PnagError(
            f"there is no folder or file {source}{meant(path)}; check the path of the images"
        )
    return False


def _like_a_path(source: str) -> bool:
    """Whether a name cannot be one of the hub, or is much more likely a path."""
    first, slash, _ = source.partition("/")
    return (
        not _HUB_NAME.fullmatch(source)
        or source.startswith(".")
        or source.lower().endswith(_FILES)
        or (first.lower() in _FOLDERS or (bool(slash) and Path(first).is_dir()))
    )


def _open_digits(_: Path) -> Opened:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise PnagError(
            "the images 'digits' come with scikit-learn, which is not installed: "
            f"{install('digits')}"
        ) from error
    digits = load_digits()
    files = []
    for grey in np.rint(digits.images * 255 / 16).astype(np.uint8):
        file = io.BytesIO()
        Image.fromarray(grey).save(file, "png")
        files.append(file.getvalue())
    rows = all_rows(Listed(files), digits.target.astype(np.int64))
    return Opened(tuple(map(str, digits.target_names)), {"train": rows})
