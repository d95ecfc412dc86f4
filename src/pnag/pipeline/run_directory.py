"""A run directory: where each file lies, and which stages are done.

`stages.json` holds for each finished stage a fingerprint of what it depended on and of the files
that it wrote. A stage is reused if both still match, so a changed option or a damaged file redoes
that stage and, as its outputs change, those that depend on them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import count, takewhile
from pathlib import Path
from typing import Any

from pnag.errors import PnagError
from pnag.files import file_fingerprint, fingerprint, read_json, write_json

STAGES_VERSION = 4  # 4: generators carry the calibration of their budgets; another kernel


class RunDirectory:
    """Paths and stage records of one run.

    Raises:
        PnagError: if the directory cannot be made or written, or holds something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise PnagError(
                f"cannot make the run directory {path}: {error.strerror}; choose another with --out"
            ) from error
        if not os.access(path, os.W_OK | os.X_OK):
            raise PnagError(f"cannot write into {path}; choose another directory with --out")
        self._stages: dict[str, Any] = {}
        if self.stages_file.exists():
            try:
                raw = read_json(self.stages_file)
                if raw["version"] == STAGES_VERSION:
                    self._stages = dict(raw["stages"])
            except (PnagError, KeyError, TypeError, ValueError):
                # A damaged record costs time, not results: the stages are done again.
                self._stages = {}

    stages_file = property(lambda self: self.path / "stages.json")
    recipe = property(lambda self: self.path / "recipe.yaml")
    latency_table = property(lambda self: self.path / "cost" / "latency_table.json")
    latency_model = property(lambda self: self.path / "cost" / "latency_model.json")
    latency_error = property(lambda self: self.path / "cost" / "latency_error.json")
    table = property(lambda self: self.path / "table.parquet")
    accuracy_predictor = property(lambda self: self.path / "accuracy.safetensors")
    cost_predictor = property(lambda self: self.path / "cost" / "cost.safetensors")
    evaluator = property(lambda self: self.path / "evaluator.safetensors")
    generator = property(lambda self: self.path / "generator.safetensors")
    evaluator_curve = property(lambda self: self.path / "logs" / "evaluator.json")
    generator_curve = property(lambda self: self.path / "logs" / "generator.json")
    own_front = property(lambda self: self.path / "logs" / "generator_front.parquet")
    front = property(lambda self: self.path / "front.parquet")
    answers = property(lambda self: self.path / "architectures.json")
    front_calibration = property(lambda self: self.path / "cost" / "front_calibration.json")
    proof = property(lambda self: self.path / "cost" / "proof.json")
    models = property(lambda self: self.path / "models")
    metrics = property(lambda self: self.path / "metrics.json")
    report = property(lambda self: self.path / "report.html")

    supernet_plan = property(lambda self: self.path / "plan" / "supernet.json")
    answers_plan = property(lambda self: self.path / "plan" / "answers.json")
    supernet = property(lambda self: self.path / "supernet.safetensors")
    supernet_phases = property(lambda self: self.path / "supernet")
    supernet_curve = property(lambda self: self.path / "logs" / "supernet.json")
    collected = property(lambda self: self.path / "collected")
    finetuned = property(lambda self: self.path / "finetuned")
    judged = property(lambda self: self.path / "judged.json")

    rounds_table = property(lambda self: self.path / "rounds" / "table.json")

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
        """
        if self.is_done(name, inputs, outputs):
            on_reuse(name)
            return False
        work()
        self._stages[name] = self._record(inputs, outputs)
        write_json(self.stages_file, {"version": STAGES_VERSION, "stages": self._stages})
        return True

    def is_done(self, name: str, inputs: Any, outputs: list[Path]) -> bool:
        """Whether a stage was done with these inputs and its files are as it left them."""
        return bool(self._stages.get(name) == self._record(inputs, outputs))

    def _record(self, inputs: Any, outputs: list[Path]) -> dict[str, Any]:
        files = [self._output(path) for path in outputs]
        return {"inputs": fingerprint(inputs), "outputs": files}

    def _output(self, path: Path) -> str | None:
        return file_fingerprint(path) if path.is_file() else None
