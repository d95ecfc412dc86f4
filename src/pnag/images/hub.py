"""Data sets of the Hugging Face hub."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pnag.errors import PnagError
from pnag.images.columns import by_part, from_columns, quiet
from pnag.images.rows import Opened, Source
from pnag.near_names import meant

_PATIENCE = 5.0  # seconds for the hub to answer


def hub(name: str) -> Source:
    """A data set of the hub, fetched at once; without a network, what was fetched before.

    Raises:
        PnagError: if it cannot be had, or has no image, label or part to train on.
    """
    import datasets

    reachable = _reachable()
    try:
        with quiet(), contextlib.nullcontext() if reachable else _offline():
            loaded = datasets.load_dataset(name)
    # RuntimeError: of data sets that are a program, which `datasets` no longer runs
    except (datasets.exceptions.DatasetsError, OSError, ValueError, RuntimeError) as error:
        said = " ".join(str(error).split())[:300]
        fix = (
            "check the name"
            if reachable
            else f"where there is no network, run `hf download {name} --repo-type dataset "
            "--local-dir FOLDER` on a machine that has one, copy FOLDER here and name it instead"
        )
        raise PnagError(
            f"there is no folder {name} here{meant(Path(name), else_all=False)}; and the data set "
            f"{name!r} of the Hugging Face hub cannot be fetched: {said}; {fix}"
        ) from error
    parts, notes = by_part(loaded, name)
    files = {
        part: [(f.name, f) for f in (Path(c["filename"]) for c in rows.cache_files)]
        for part, rows in parts.items()
    }

    def open_hub(_: Path) -> Opened:
        opened = from_columns(parts, name)
        return Opened(opened.classes, opened.parts, notes + opened.notes)

    return Source(f"hub {name}", files, open_hub)


def _reachable() -> bool:
    """Whether the hub answers, asked once: `datasets` asks again and again, for up to a minute."""
    from huggingface_hub import constants, get_session

    answers: list[Any] = []

    def ask() -> None:
        with contextlib.suppress(Exception):  # of the network, a proxy or the offline mode
            answers.append(get_session().head(constants.ENDPOINT, timeout=_PATIENCE))

    # In a thread: looking up a name has no time limit of its own.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_PATIENCE)
    return bool(answers)


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    import datasets
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before
