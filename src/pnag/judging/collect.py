"""A table of architectures and their accuracies, row by row, by one process or many.

Rows are appended to a CSV file as they come, and a JSON file beside it says which supernet,
images and settings they are of. After a stop at any moment the rows that are there are kept and the
others follow. An accuracy depends on neither the stop, the order nor the number of processes: each
has one thread, and `SubnetEvaluator` gives an architecture the same bits in any company.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from pnag.errors import PnagError
from pnag.families.elastic_network import ElasticNetwork
from pnag.files import read_json, write_json, writing
from pnag.images.images import ImageData
from pnag.judging.shared_starts import shared_layers, shared_order
from pnag.judging.subnets import Settings
from pnag.judging.workers import Job, running
from pnag.space import SearchSpace, Tokens
from pnag.supernet.settings import Precision

COLUMNS = ("arch", "accuracy", "images")
# Architectures that are handed out at a time: what a stop can cost each process.
_LEAST, _MOST = 4, 8
# The meaning of a row; raise it when the same inputs give other accuracies.
_LAYOUT = 1
OTHER_FILE = "choose another file with --out"


def collect(
    supernet: ElasticNetwork,
    data: ImageData,
    tokens: Tokens,
    out: Path,
    *,
    settings: Settings | None = None,
    workers: int | None = 1,
    ray_address: str | None = None,
    memory: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> pd.DataFrame:
    """Top-1 of architectures on the validation part, added to the CSV file `out`.

    An accuracy's standard error is sqrt(p (1 - p) / images).

    Args:
        tokens: (M, T) of the supernet's space.
        out: rows `arch,accuracy,images`; rows of other architectures stay.
        workers: processes, of one thread each, or with Ray actors; None is one process, or one
            actor for each CPU (or GPU) of the cluster.
        ray_address: of a Ray cluster, or "local" to start one on this machine. Its machines need
            the images' cache under the same path.
        memory: bytes for maps of validation images, for each worker; what suits the device if None.
        progress: called with how many architectures of how many are done.

    Returns:
        M rows `arch`, `accuracy` (a fraction) and `images`, in the order of `tokens`.

    Raises:
        PnagError: if `out` has rows of another supernet, other images or settings, is being
            written by another process, is damaged or cannot be written; if workers die or the Ray
            cluster has no room for them; if Ray is missing.
    """
    space = supernet.family.space
    tokens = space.check(tokens)
    settings = settings or Settings()
    settings.check(supernet, data)
    texts = space.text(tokens)
    index: dict[str, int] = {}
    for row, text in enumerate(texts):
        index.setdefault(text, row)
    job = Job.of(supernet, data, settings, memory)
    with _opened(out, space, _identity(job), settings.validation_images(data)) as table:

        def tell() -> None:
            progress(len(index.keys() & table.correct.keys()), len(index))

        tell()
        missing = [row for text, row in index.items() if text not in table.correct]
        rows = np.array(missing, np.int64)
        tasks = [rows[block] for block in _blocks(space, tokens[rows])]
        with running(job, workers, ray_address) as run:
            for number, counts in run([tokens[task] for task in tasks]):
                table.add([texts[row] for row in tasks[number]], counts)
                tell()
        found = [(text, table.correct[text] / table.images, table.images) for text in texts]
    return pd.DataFrame(found, columns=list(COLUMNS))


def _blocks(space: SearchSpace, tokens: Tokens) -> Iterator[NDArray[np.int64]]:
    """Rows of (M, T) tokens in blocks, each ending where the next architecture shares least."""
    order = shared_order(space, tokens)
    shared = shared_layers(space.decode(tokens[order]))
    start = 0
    while start < len(order):
        stop = len(order)
        if stop - start > _MOST:
            stop = min(range(start + _LEAST, start + _MOST + 1), key=lambda i: (shared[i], -i))
        yield order[start:stop]
        start = stop


# The files


class _Table:
    """Rows of a file, in memory and on disk.

    Attributes:
        images: on which each architecture is judged.
        correct: how many of them each architecture has right.
    """

    def __init__(self, path: Path, space: SearchSpace, images: int) -> None:
        self.images = images
        self._space = space
        self.correct: dict[str, int] = {}
        self._path = path
        with writing(path, OTHER_FILE):
            # Without a buffer, which would keep what a full disk refuses, and try again in close.
            self._file = path.open("r+b" if path.exists() else "w+b", buffering=0)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def read(self) -> None:
        """Read what is there, cut off a line that a stop has torn, begin a file that is empty.

        Raises:
            PnagError: names the line that is no row of this table.
        """
        with writing(self._path, OTHER_FILE):
            content = self._file.readall()
            whole = content[: content.rfind(b"\n") + 1]
            self._file.truncate(len(whole))
            self._file.seek(len(whole))
        if not whole:
            self._write([COLUMNS])
            return
        lines = csv.reader(io.StringIO(whole.decode("utf-8", "replace"), newline=""))
        try:
            columns = tuple(next(lines))
            if columns != COLUMNS:
                raise PnagError(
                    f"{self._path} has the columns {','.join(columns)}, not {','.join(COLUMNS)}: "
                    "choose another file with --out"
                )
            for text, accuracy, images in lines:
                if int(images) != self.images:
                    raise ValueError(f"it is of {images} images, not {self.images}")
                correct = round(float(accuracy) * self.images)
                if not 0 <= correct <= self.images:
                    raise ValueError(f"accuracy {accuracy} is not a fraction")
                self.correct[str(self._space.parse(text))] = correct
        except (csv.Error, ValueError, OverflowError) as error:
            raise PnagError(
                f"line {lines.line_num} of {self._path} is no row of this run ({error}); remove "
                "the line, or choose another file with --out"
            ) from error

    def add(self, texts: Sequence[str], counts: Sequence[int]) -> None:
        """Append rows; they are on the disk when this returns."""
        images = self.images
        self._write([(t, n / images, images) for t, n in zip(texts, counts, strict=True)])
        self.correct.update(zip(texts, counts, strict=True))

    def _write(self, rows: Sequence[tuple[object, ...]]) -> None:
        lines = io.StringIO()
        csv.writer(lines, lineterminator="\n").writerows(rows)
        with writing(self._path, OTHER_FILE):
            rest = lines.getvalue().encode()
            while rest:
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())


@contextlib.contextmanager
def _opened(
    out: Path, space: SearchSpace, identity: dict[str, Any], images: int
) -> Iterator[_Table]:
    beside = _beside(out)
    with writing(out, OTHER_FILE):
        out.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(out.with_name(f".{out.name}.lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise PnagError(
                f"another process adds rows to {out}; wait for it or choose another file with --out"
            ) from error
    try:
        if _has_rows(out) and beside.exists():
            _check_identity(out, beside, identity)
        elif _has_rows(out):
            raise PnagError(
                f"{out} exists and {beside.name}, which says which supernet its rows are of, does "
                "not; choose another file with --out"
            )
        else:
            write_json(beside, identity)
        with contextlib.closing(_Table(out, space, images)) as table:
            table.read()
            yield table
    finally:
        lock.release()


def collected_precision(out: Path) -> Precision | None:
    """The precision that the rows of a file were judged in; None if there are none yet."""
    beside = _beside(out)
    known = read_json(beside) if _has_rows(out) and beside.exists() else None
    try:
        precision: Precision | None = known["settings"]["precision"] if known else None
    except (KeyError, TypeError):  # damaged: `collect` says so
        return None
    return precision


def _has_rows(out: Path) -> bool:
    """Whether a file holds more than what is written before the first subnet is judged."""
    if not out.exists():
        return False
    with writing(out, OTHER_FILE):
        return out.read_bytes().strip() not in (b"", ",".join(COLUMNS).encode())


def _beside(out: Path) -> Path:
    return out.with_name(f"{out.name}.json")


def _check_identity(out: Path, beside: Path, identity: dict[str, Any]) -> None:
    known = read_json(beside)
    names = known if isinstance(known, dict) else {}
    for name, value in identity.items():
        if names.get(name) != value:
            raise PnagError(
                f"the rows of {out} are of another {name} ({_difference(names.get(name), value)}); "
                "choose another file with --out"
            )


def _difference(before: Any, now: Any) -> str:
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return f"{before}, now {now}"
    names = [name for name in now if before.get(name) != now[name]]
    return "; ".join(f"{name} {before.get(name)}, now {now[name]}" for name in names)


def _identity(job: Job) -> dict[str, Any]:
    """All that an accuracy depends on, under names that a message can use."""
    how = job.data.preprocessing
    return {
        "layout": _LAYOUT,
        "supernet": hashlib.sha256(job.weights).hexdigest()[:16],
        "images": job.data.identity,
        "normalisation": [list(how.mean), list(how.std)],
        "settings": asdict(job.settings),
    }
