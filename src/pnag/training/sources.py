"""Where images come from: class folders, Parquet files, the Hugging Face hub, or the digits.

Each kind of source is looked at first (`find_source`: its files, by which a cache knows it) and
opened only when its images are needed, as rows of undecoded images for each part.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from pnag.errors import PnagError
from pnag.files import exists, expand_home
from pnag.training.class_folders import class_folders, has_train
from pnag.training.hub import hub
from pnag.training.parquet import parquet, parquet_parts
from pnag.training.rows import Listed, Opened, Source, all_rows


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
        return parquet({"train": [path]})
    if there:
        files = [] if has_train(path) else sorted(path.rglob("*.parquet"))
        return parquet(parquet_parts(path, files)) if files else class_folders(path)
    if (
        path.is_absolute()
        or source.startswith((".", "~"))
        or source.count("/") > 1
        or path.suffix == ".parquet"
    ):
        raise PnagError(f"there is no folder or file {source}; check the path of the images")
    return hub(source)


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
    rows = all_rows(Listed(files), digits.target.astype(np.int64))
    return Opened(tuple(map(str, digits.target_names)), {"train": rows})
