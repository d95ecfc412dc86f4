"""The stage that trains the supernet, and looks at its accuracy meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.tensorboard import SummaryWriter

from pnag.families.checkpoints import described, load_checkpoint
from pnag.families.elastic_network import ElasticNetwork
from pnag.families.registry import family
from pnag.files import fingerprint, read_json, write_json
from pnag.judging.subnets import make_evaluator
from pnag.run.finished_supernet import finished_plan
from pnag.run.image_plans import asked_of
from pnag.run.image_run import ImageRun
from pnag.run.preprocessing import preprocessing_of
from pnag.run.tuning_order import largest_at
from pnag.supernet.loop import to_device
from pnag.supernet.phases import LARGEST_ALONE, PHASES, Phase
from pnag.supernet.plan import SupernetPlan, evaluator_settings
from pnag.supernet.processes import from_main
from pnag.supernet.supernet_training import Progress, steps_of_all, train_supernet
from pnag.supernet.trained_on import TrainedOn
from pnag.supernet.weights import save_described

LOOK_SHARE = 0.03  # of the training's time may go into looking at its accuracy
LOOK_IMAGES = 500


def about_supernet(run: ImageRun, plan: SupernetPlan) -> dict[str, Any]:
    """What the supernet's file says: what for and how it was made, on what, and what goes in."""
    images, seed = run.images, run.recipe.seed
    return {
        "asked": asdict(asked_of(run)),
        "family": plan.family,
        "num_classes": len(run.data.classes),
        "plan": asdict(plan),
        "preprocessing": preprocessing_of(run.data),
        "trained_on": asdict(
            TrainedOn.of(run.data, images.classes, seed, images.on_corrupt, images.max_megapixels)
        ),
    }


def supernet_stage(run: ImageRun, plan: SupernetPlan) -> None:
    """Train all phases; the phases' own files make it resumable."""
    settings = run.supernet_settings(plan)
    main, asked = run.accelerator.is_main_process, asked_of(run)
    inputs = {
        "data": run.data.identity,
        "supernet": settings.identity(),
        "family": plan.family,
        "precision": plan.precision,
        "seed": run.recipe.seed,
        "start": run.start.identity,
    }

    def keep(phase: Phase, supernet: ElasticNetwork) -> None:
        if main and phase is LARGEST_ALONE:
            save_described(supernet, run.run.largest, about_supernet(run, plan))

    outputs = [run.run.supernet, run.run.supernet_curve]
    if not run.begin_shared_stage("supernet", inputs, outputs):
        return
    with run.display.bar("training the supernet") as bar:
        watch = _Watch(run, inputs, bar.update) if main else None
        # There though the stage is to be done where its record or its curve was removed.
        finished = from_main(
            run.accelerator, lambda: finished_plan(run.run.supernet, asked) is not None
        )
        if finished and main:
            supernet = supernet_before_rounds(run)
        elif not finished:
            supernet = train_supernet(
                run.data,
                settings,
                run.run.supernet_phases,
                family=family(plan.family),
                start=run.start.weights,
                start_identity=run.start.identity,
                seed=run.recipe.seed,
                accelerator=run.accelerator,
                watch=watch or (lambda progress: None),
                keep=keep,
                notice=run.notice,
            )
    if watch:
        watch.finish(supernet, steps_of_all(settings, run.data), PHASES[settings.method][-1].name)
        if not finished:
            run.run.supernet_of_rounds.unlink(missing_ok=True)  # of an earlier training
            save_described(supernet, run.run.supernet, about_supernet(run, plan))
    run.end_shared_stage("supernet", inputs, outputs)


class _Watch:
    """Shows loss and accuracies while the supernet trains, and keeps them for the report."""

    def __init__(
        self, run: ImageRun, inputs: dict[str, Any], show: Callable[[int, int, str], None]
    ) -> None:
        self.run, self.show, self.file = run, show, run.run.supernet_curve
        self.identity = fingerprint(inputs)
        self.rows: list[dict[str, Any]] = []
        if self.file.exists():
            earlier = read_json(self.file)
            self.rows = earlier["rows"] if earlier["identity"] == self.identity else []
        self.board = SummaryWriter(str(run.run.path / "logs" / "tensorboard"))
        self.losses: list[float] = []
        self.looked = time.monotonic()
        self.look_seconds = 0.0
        self.accuracy = ""
        self._write()  # also where all is trained and no step will be reported

    def __call__(self, progress: Progress) -> None:
        self.losses.append(progress.loss)
        text = f"{progress.phase.name} {self.accuracy} loss {progress.loss:.2f}"
        self.show(progress.done, progress.total, text)
        if not progress.ends_epoch:
            return
        row: dict[str, Any] = {
            "step": progress.done,
            "phase": progress.phase.name,
            "loss": float(np.mean(self.losses)),
        }
        self.losses = []
        self._add(row)  # before the accuracies: a stop while they are found then loses less
        since = time.monotonic() - self.looked
        if progress.done == progress.total or since * LOOK_SHARE >= self.look_seconds:
            self._look(row, progress.supernet)

    def finish(self, supernet: ElasticNetwork, step: int, phase: str) -> None:
        """Add what is missing after the last row: a stop came first, or the file was removed."""
        last = self.rows[-1] if self.rows else {"step": 0}
        if last["step"] < step or "largest" not in last:
            row = last if last["step"] == step else {"step": step, "phase": phase}
            self._look(row, supernet)
        self.board.close()

    def _look(self, row: dict[str, Any], supernet: ElasticNetwork) -> None:
        started = time.monotonic()
        found = top1_of_three(supernet, self.run)
        self._add(row | found)
        self.looked = time.monotonic()
        self.look_seconds = self.looked - started
        self.accuracy = "top-1 {smallest:.0%}/{random:.0%}/{largest:.0%}".format(**found)

    def _add(self, row: dict[str, Any]) -> None:
        # A run that was killed may report an epoch twice.
        self.rows = [r for r in self.rows if r["step"] < row["step"]] + [row]
        self._write()
        for name, value in row.items():
            if isinstance(value, float):
                self.board.add_scalar(f"supernet/{name}", value, row["step"])

    def _write(self) -> None:
        write_json(self.file, {"identity": self.identity, "rows": self.rows})


def top1_of_three(supernet: ElasticNetwork, run: ImageRun) -> dict[str, float]:
    """Top-1 of the smallest, the largest and the median of three random subnets, roughly."""
    space = supernet.family.space
    archs = [supernet.family.smallest, supernet.family.largest]
    random = space.sample(3, np.random.default_rng(0))
    settings = evaluator_settings(run.accelerator.device, LOOK_IMAGES, run.images.precision)
    evaluator = make_evaluator(supernet, run.data, settings)
    smallest, largest, *others = evaluator.accuracies(np.concatenate([space.encode(archs), random]))
    return {
        "smallest": float(smallest),
        "largest": float(largest),
        "random": float(np.median(others)),
    }


def supernet_before_rounds(run: ImageRun) -> ElasticNetwork:
    """The supernet as its own stage has trained it, on the accelerator's device."""
    return _loaded(run, run.run.supernet)


def trained_supernet(run: ImageRun) -> ElasticNetwork:
    """The run's trained supernet, after the rounds that trained it further, if any did."""
    return _loaded(run, run.run.last_supernet)


def begun_with(
    run: ImageRun, supernet: ElasticNetwork, archs: Sequence[str]
) -> dict[str, tuple[ElasticNetwork, Path]]:
    """The weights that each answer's fine-tuning begins with, and their file.

    The largest network's are those from before smaller networks were trained beside it, where the
    run has them: that costs it a point (`benchmarks/README.md`).

    Args:
        supernet: the run's.
    """
    shared = supernet, run.run.last_supernet
    if described(run.run.largest) != described(run.run.supernet):  # none, or of an earlier training
        return dict.fromkeys(archs, shared)
    alone = _loaded(run, run.run.largest), run.run.largest
    largest = largest_at(supernet.family)
    return {arch: alone if arch in largest else shared for arch in archs}


def _loaded(run: ImageRun, path: Path) -> ElasticNetwork:
    supernet = load_checkpoint(path)
    to_device(supernet, run.accelerator.device)
    return supernet.eval()
