"""A run directory: where each file lies, and which stages are done.

`stages.json` holds for each finished stage a fingerprint of what it depended on and of the files
that it wrote. A stage is reused if both still match, so a changed option or a damaged file redoes
that stage and, as its outputs change, those that depend on them.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import socket
from collections.abc import Callable, Iterator
from itertools import count, takewhile
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from pnag.errors import PnagError
from pnag.files import exists, file_fingerprint, fingerprint, read_json, write_json
from pnag.noise import log_to

STAGES_VERSION = 7  # 7: answers that are the same network share the minutes of fine-tuning


def answer_name(budget: float, unit: str = "ms") -> str:
    """The name of an answer's files, without a suffix.

    Args:
        unit: of the budget; empty where a user's table does not say.
    """
    return f"pnag-{budget:g}{unit}"


class _InRun:
    """A file or folder of a run, by its place in the directory."""

    def __init__(self, place: str) -> None:
        self.place = place

    def __get__(self, run: RunDirectory, owner: type[RunDirectory]) -> Path:
        return run.path / self.place


class RunDirectory:
    """Paths and stage records of one run.

    Args:
        reading: only to read files of; the directory is not made, and stages are not known.

    Attributes:
        unfinished_by_work: whether a stage that is redone removes `metrics.json`, without which a
            run is not finished: the metrics describe files that are about to change.

    Raises:
        PnagError: if the directory cannot be made or written.
    """

    def __init__(self, path: Path, *, reading: bool = False) -> None:
        self.path = path
        self.unfinished_by_work = False
        self._stages: dict[str, Any] = {}
        if reading:  # a finished one, perhaps on a disk that cannot be written
            return
        _make(path)
        if self.stages_file.exists():
            try:
                raw = read_json(self.stages_file)
                if raw["version"] == STAGES_VERSION:
                    self._stages = dict(raw["stages"])
            except (PnagError, KeyError, TypeError, ValueError):
                # A damaged record costs time, not results: the stages are done again.
                self._stages = {}

    stages_file = _InRun("stages.json")
    recipe = _InRun("recipe.yaml")
    latency_table = _InRun("cost/latency_table.json")
    latency_model = _InRun("cost/latency_model.json")
    latency_error = _InRun("cost/latency_error.json")
    counted_cost = _InRun("cost/counted_cost.json")
    table = _InRun("table.parquet")
    accuracy_predictor = _InRun("accuracy.safetensors")
    cost_predictor = _InRun("cost/cost.safetensors")
    prediction_errors = _InRun("prediction_errors.json")
    # after its training on the table; the other one is what taught the generator
    pretrained_evaluator = _InRun("logs/pretrained_evaluator.safetensors")
    evaluator = _InRun("evaluator.safetensors")
    generator = _InRun("generator.safetensors")
    evaluator_curve = _InRun("logs/evaluator.json")
    generator_curve = _InRun("logs/generator.json")
    own_front = _InRun("logs/generator_front.parquet")
    first_front = _InRun("logs/first_front.parquet")
    front = _InRun("front.parquet")
    answers = _InRun("architectures.json")
    front_calibration = _InRun("cost/front_calibration.json")
    proof = _InRun("cost/proof.json")
    choices = _InRun("choices.json")  # of a table's own columns
    # by name, the files of what predicts costs besides the run's own; none in a run of one cost
    further_costs = _InRun("cost/further.json")
    vector_front = _InRun("vector_front.parquet")
    models = _InRun("models")
    metrics = _InRun("metrics.json")
    report = _InRun("report.html")

    size_plan = _InRun("plan/size.json")
    supernet_plan = _InRun("plan/supernet.json")
    collecting_plan = _InRun("plan/collecting.json")
    rounds_plan = _InRun("plan/rounds.json")
    finetuning_plan = _InRun("plan/fine-tuning.json")
    supernet = _InRun("supernet.safetensors")
    # as rounds have trained it further, where they have
    supernet_of_rounds = _InRun("supernet_of_rounds.safetensors")
    # its largest network, before others were trained beside it
    largest = _InRun("supernet/largest.safetensors")
    supernet_phases = _InRun("supernet")
    tuning_order = _InRun("plan/tuning_order.json")
    published_plan = _InRun(
        "plan/published.json"
    )  # what is known about networks beside the answers
    supernet_curve = _InRun("logs/supernet.json")
    collected = _InRun("collected")
    finetuned = _InRun("finetuned")
    judged = _InRun("judged.json")
    published_judged = _InRun("judged_published.json")

    devices = _InRun("devices")

    @property
    def cost_model(self) -> Path:
        """What predicts the cost: measured blocks, a count, or a fit to a table's column."""
        known: tuple[Path, ...] = (self.latency_model, self.counted_cost)
        return next((path for path in known if path.exists()), Path(self.cost_predictor))

    @property
    def last_supernet(self) -> Path:
        """The supernet that subnets were last judged with, and are cut out of."""
        of_rounds: Path = self.supernet_of_rounds
        return of_rounds if of_rounds.exists() else self.supernet

    def kept_latency_table(self, identity: Any) -> Path:
        """Where the latency table of a device and setting lies while another one's is in use."""
        return self.path / "cost" / f"latency_table.{fingerprint(identity)}.json"

    def further_cost(self, number: int, suffix: str) -> Path:
        """The file of what predicts further cost 1, 2, ..."""
        return self.path / "cost" / f"further-{number}.{suffix}"

    rounds_table = _InRun("rounds/table.json")

    def round_file(self, number: int) -> Path:
        """The file in which round 1, 2, ... asks for the truth."""
        return self.path / "rounds" / f"round-{number}.csv"

    def round_files(self) -> list[Path]:
        """All rounds' files up to the first that is missing."""
        return list(takewhile(Path.exists, map(self.round_file, count(1))))

    def stage(
        self,
        name: str,
        inputs: Any,
        outputs: list[Path],
        work: Callable[[], object],
        on_reuse: Callable[[str], None] = lambda name: None,
    ) -> bool:
        """Do `work`, which writes `outputs`, unless it was done before with the same inputs.

        Args:
            inputs: a JSON value of all that the work depends on; files by `file_fingerprint`.

        Returns:
            Whether the work was done now.

        Raises:
            PnagError: if an output is missing after the work.
        """
        if self.is_done(name, inputs, outputs):
            on_reuse(name)
            return False
        self.begin_stage()
        work()
        self.end_stage(name, inputs, outputs)
        return True

    def begin_stage(self) -> None:
        """Say that work begins: the run is no longer finished, if that is what work makes it."""
        if self.unfinished_by_work:
            self.metrics.unlink(missing_ok=True)

    def end_stage(self, name: str, inputs: Any, outputs: list[Path]) -> None:
        """Record that a stage's work was done with these inputs.

        Raises:
            PnagError: if an output is not there.
        """
        for path in outputs:
            if not path.is_file():
                raise PnagError(
                    f"{path} is missing after the stage {name!r}; if something else removes "
                    f"files of {self.path}, stop it, and give the same command again"
                )
        self._stages[name] = self._record(inputs, outputs)
        write_json(self.stages_file, {"version": STAGES_VERSION, "stages": self._stages})

    def is_done(self, name: str, inputs: Any, outputs: list[Path]) -> bool:
        """Whether a stage was done with these inputs and its files are as it left them."""
        there = all(path.is_file() for path in outputs)
        return there and bool(self._stages.get(name) == self._record(inputs, outputs))

    def _record(self, inputs: Any, outputs: list[Path]) -> dict[str, Any]:
        files = [file_fingerprint(path) for path in outputs]
        return {"inputs": fingerprint(inputs), "outputs": files}


def own_places() -> set[str]:
    """The names of all files and folders at the top of a run directory that `pnag run` writes."""
    places = [item.place for item in vars(RunDirectory).values() if isinstance(item, _InRun)]
    return {Path(place).parts[0] for place in places}


@contextlib.contextmanager
def held_run(path: Path) -> Iterator[RunDirectory]:
    """The run directory at `path`, which no other process can hold meanwhile.

    The system frees it when this process ends, however it ends.

    Raises:
        PnagError: if another process holds it, or it cannot be made or written.
    """
    _make(path)
    lock, holder = FileLock(path / ".lock"), path / ".holder.json"
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise PnagError(
            f"{path} is in use by {_who(holder)}; wait for it, stop it, or choose another directory"
        ) from error
    try:
        write_json(holder, {"process": os.getpid(), "machine": socket.gethostname()})
        log_to(path / "logs")
        yield RunDirectory(path)
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _who(holder: Path) -> str:
    try:
        return "process {process} on {machine}".format(**read_json(holder))
    except (PnagError, KeyError, TypeError):  # it has only just begun
        return "another process"


def _make(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PnagError(
            f"cannot make the run directory {path}: {error.strerror}; choose another"
        ) from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise PnagError(f"cannot write into {path}; choose another directory")


def finished_run(path: Path) -> RunDirectory:
    """The run directory at `path`, to read from.

    Raises:
        PnagError: if there is none, it is something else, or its run has not come to an end.
    """
    if not exists(path) or not path.is_dir():
        raise PnagError(f"there is no run directory {path}; make one with `pnag run`")
    if not exists(path / "recipe.yaml"):
        raise PnagError(
            f"{path} is not a run directory: it has no recipe.yaml; give the folder that `pnag run "
            "--out` wrote"
        )
    run = RunDirectory(path, reading=True)
    if not (run.metrics.exists() and run.front.exists()):
        raise PnagError(
            f"{path} is not a finished run; finish it: give its `pnag run --out "
            f"{shlex.quote(str(path))}` command again"
        )
    return run
