"""A table of architectures and their accuracies, row by row, by one process or many.

Rows are appended to a CSV file as they come, and a JSON file beside it says of which supernet,
images and settings they are. After a stop at any moment the rows that are there are kept and the
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
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from pnag.errors import PnagError
from pnag.files import read_json, write_json, writing
from pnag.networks.supernet import Supernet
from pnag.space import Architecture, SearchSpace, Tokens
from pnag.training.images import ImageData
from pnag.training.subnets import Part, Settings, shared_layers, shared_order
from pnag.training.workers import Job, running

COLUMNS = ("arch", "accuracy", "images")
# Architectures that are handed out at a time: what a stop can cost each process.
_LEAST, _MOST = 4, 8
# The meaning of a row; raise it when the same inputs give other accuracies.
_LAYOUT = 1
OTHER_FILE = "choose another file with --out"


def collect(
    supernet: Supernet,
    data: ImageData,
    tokens: Tokens,
    out: Path,
    *,
    settings: Settings | None = None,
    best: int | None = None,
    workers: int = 1,
    ray_address: str | None = None,
    memory: int = 1 << 30,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> pd.DataFrame:
    """Top-1 of architectures on the validation part, added to the CSV file `out`.

    With `best`, all are judged on a stratified half of the validation images, and those `best` ones
    on the other half too; their row is then of all images. An accuracy's standard error is
    sqrt(p (1 - p) / images). The half by which the best were chosen flatters them, though less so
    than before it was joined by the other; a fit that weighs rows by their images is not misled,
    because the choice followed from nothing but the halves it sees.

    Args:
        tokens: (M, T) of the MobileNetV3 space.
        out: rows `arch,accuracy,images`; rows of other architectures stay. Of an architecture's
            two rows the one of all images counts.
        best: how many to judge on all images; None judges all of them so.
        workers: processes, of one thread each; with Ray, actors. Those on a GPU share it.
        ray_address: of a Ray cluster, or "local" to start one on this machine. Its machines need
            the images' cache under the same path.
        memory: bytes for maps of validation images, for each worker.
        progress: told how many evaluations of how many are done, the other halves counted too.

    Returns:
        M rows `arch`, `accuracy` (a fraction) and `images`, in the order of `tokens`.

    Raises:
        PnagError: if `out` has rows of another supernet, other images or settings, is being
            written by another process or is damaged; if a worker dies; if Ray is missing.
    """
    space = SearchSpace()
    tokens = space.check(tokens)
    settings = settings or Settings()
    if best is not None and not 0 <= best <= len(tokens):
        raise PnagError(f"best is {best}, needs to be 0 to the {len(tokens)} architectures")
    settings.check(supernet, data)
    texts = space.text(tokens)
    index: dict[str, int] = {}
    for row, text in enumerate(texts):
        index.setdefault(text, row)
    total = settings.validation_images(data)
    half = total // 2
    job = Job.of(supernet, data, settings, memory)
    with _opened(out, _identity(job), (half, total)) as table:
        chosen = set(index) if best is None else set[str]()

        def tell() -> None:
            halves = 0 if best is None else len(index.keys() & table.known(half, total))
            whole = len(chosen & table.known(total))
            progress(halves + whole, len(index) + (best or 0))

        def evaluate(wanted: list[str], part: Part) -> None:
            rows = np.array([index[text] for text in wanted], np.int64)
            tasks = [rows[block] for block in _blocks(space, tokens[rows])]
            for number, counts in run([(tokens[task], part) for task in tasks]):
                names = [texts[row] for row in tasks[number]]
                if part == "second half":
                    firsts = (table.correct[half][name] for name in names)
                    counts = [a + b for a, b in zip(counts, firsts, strict=True)]
                table.add(names, counts, half if part == "first half" else total)
                tell()

        tell()
        with running(job, workers, ray_address) as run:
            if best is not None:
                known = table.known(half, total)
                evaluate([text for text in index if text not in known], "first half")
                accuracy = {text: table.row(text, half, total)[1] for text in index}
                chosen = set(sorted(index, key=lambda text: -accuracy[text])[:best])
                tell()
            missing = [text for text in index if text in chosen - table.known(total)]
            evaluate([text for text in missing if text in table.correct[half]], "second half")
            evaluate([text for text in missing if text not in table.correct[half]], "all")
        rows = [table.row(text, total, half) for text in texts]
    return pd.DataFrame(rows, columns=list(COLUMNS))


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
        correct: by number of images: of that many, how many each architecture has right.
    """

    def __init__(self, file: BinaryIO, sizes: tuple[int, int]) -> None:
        self._file = file
        self.correct: dict[int, dict[str, int]] = {size: {} for size in sizes}

    def known(self, *sizes: int) -> set[str]:
        """Architectures that have a row of any of these numbers of images."""
        return set().union(*(self.correct[size] for size in sizes))

    def row(self, text: str, *sizes: int) -> tuple[str, float, int]:
        """The row of the first of these numbers of images that the architecture has one of."""
        size = next(size for size in sizes if text in self.correct[size])
        return text, self.correct[size][text] / size, size

    def read(self, path: Path) -> None:
        """Read what is there, cut off a line that a stop has torn, begin a file that is empty."""
        content = self._file.read()
        whole = content[: content.rfind(b"\n") + 1]
        self._file.truncate(len(whole))
        self._file.seek(len(whole))
        if not whole:
            self._write([COLUMNS])
            return
        lines = list(csv.reader(io.StringIO(whole.decode("utf-8", "replace"))))
        if tuple(lines[0]) != COLUMNS:
            raise PnagError(
                f"{path} has the columns {','.join(lines[0])}, not {','.join(COLUMNS)}: "
                "choose another file with --out"
            )
        for number, line in enumerate(lines[1:], 2):
            try:
                text, accuracy, images = line
                size = int(images)
                correct = round(float(accuracy) * size)
                if not 0 <= correct <= size:
                    raise ValueError(f"accuracy {accuracy} is not a fraction")
                self.correct[size][str(Architecture.parse(text))] = correct
            except (ValueError, KeyError) as error:
                raise PnagError(
                    f"line {number} of {path} is no row of this run ({error}); remove the line, "
                    "or choose another file with --out"
                ) from error

    def add(self, texts: Sequence[str], counts: Sequence[int], images: int) -> None:
        """Append rows; they are on the disk when this returns."""
        self._write([(t, n / images, images) for t, n in zip(texts, counts, strict=True)])
        self.correct[images].update(zip(texts, counts, strict=True))

    def _write(self, rows: Sequence[tuple[object, ...]]) -> None:
        lines = io.StringIO()
        csv.writer(lines, lineterminator="\n").writerows(rows)
        self._file.write(lines.getvalue().encode())
        self._file.flush()
        os.fsync(self._file.fileno())


@contextlib.contextmanager
def _opened(out: Path, identity: dict[str, Any], sizes: tuple[int, int]) -> Iterator[_Table]:
    beside = out.with_name(f"{out.name}.json")
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
        if beside.exists():
            _check_identity(out, beside, identity)
        elif out.exists() and out.stat().st_size:
            raise PnagError(
                f"{out} exists and {beside.name}, which says of which supernet its rows are, does "
                "not; choose another file with --out"
            )
        else:
            write_json(beside, identity)
        with writing(out, OTHER_FILE), out.open("r+b" if out.exists() else "w+b") as file:
            table = _Table(file, sizes)
            table.read(out)
            yield table
    finally:
        lock.release()


def _check_identity(out: Path, beside: Path, identity: dict[str, Any]) -> None:
    known = read_json(beside)
    names = known if isinstance(known, dict) else {}
    for name, value in identity.items():
        if names.get(name) != value:
            raise PnagError(
                f"the rows of {out} are of another {name} ({names.get(name)}, now {value}); choose "
                "another file with --out, or remove both files to start anew"
            )


def _identity(job: Job) -> dict[str, Any]:
    """All that an accuracy depends on, under names that a message can use."""
    return {
        "layout": _LAYOUT,
        "supernet": hashlib.sha256(job.weights).hexdigest()[:16],
        "images": job.data.identity,
        "settings": asdict(job.settings),
    }
