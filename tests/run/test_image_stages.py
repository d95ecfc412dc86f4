"""Stages of a run on images: decided once, kept where nothing they depend on changed."""

from __future__ import annotations

import io
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from accelerate import Accelerator
from rich.console import Console

from pnag.cost.latency_model import LatencyModel
from pnag.errors import PnagError
from pnag.families.ofa_mobilenetv3 import ofa
from pnag.families.registry import of_width
from pnag.families.supernet import Supernet
from pnag.files import read_json
from pnag.images.images import ImageData, load_images
from pnag.run import collect_stage, image_plans, image_run, supernet_stage
from pnag.run.display import Display
from pnag.run.finished_supernet import kept_precision, refuse_another_training, save_plan
from pnag.run.recipe import ImagesRecipe, make_recipe
from pnag.run.run_directory import RunDirectory
from pnag.run.size import Size
from pnag.run.start import SCRATCH, Start, find_start
from pnag.space import Tokens
from pnag.supernet.phases import PHASES
from pnag.supernet.plan import CollectingPlan, FinetuningPlan, SupernetPlan
from pnag.supernet.rounds_plan import RoundsPlan
from pnag.supernet.settings import VARIED, Augmentation, FitSettings, SupernetSettings
from pnag.supernet.supernet_training import Progress
from pnag.supernet.weights import save_described

PLAN = SupernetPlan(of_width(0.1), 2, 64, "float32", 1.0)
LOOKED = {"smallest": 0.1, "random": 0.2, "largest": 0.3}


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> ImageData:
    pytest.importorskip("sklearn")
    return load_images("digits", resolution=16, cache=tmp_path_factory.mktemp("cache"))


class Made:
    """A run whose plans and training are stand-ins that count."""

    def __init__(self, path: Path, data: ImageData, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path, self.data = path, data
        self.done: list[str] = []
        self.tell: list[int] = []  # steps whose end is told by the training

        def plan(name: str, made: Any) -> Any:
            def work(*args: Any, **options: Any) -> Any:
                self.done.append(name)
                return made

            return work

        monkeypatch.setattr(image_plans, "plan_supernet", plan("plan", PLAN))
        collecting = CollectingPlan(300, "float32", 1.0)
        monkeypatch.setattr(image_plans, "plan_collecting", plan("collecting", collecting))
        monkeypatch.setattr(image_plans, "plan_finetuning", plan("tuning", FinetuningPlan(3, 1.0)))
        monkeypatch.setattr(supernet_stage, "top1_of_three", lambda supernet, run: dict(LOOKED))
        monkeypatch.setattr(supernet_stage, "train_supernet", self._train)

    def _train(self, *args: Any, watch: Any, **options: Any) -> Supernet:
        self.done.append("train")
        supernet = Supernet(0.1, 10)
        phase = PHASES["sandwich"][0]
        for step in self.tell:
            watch(Progress(phase, step, self.total, 0.5, True, supernet))
        return supernet

    @property
    def total(self) -> int:
        return 2 * (len(self.data.train) // 64)

    def run(self, *, budgets: tuple[float, ...] = (), **images: Any) -> image_run.ImageRun:
        given = {"source": "digits", "start": SCRATCH, **images}
        recipe = make_recipe({"source": "images", "images": given, "budgets": budgets})
        assert recipe.images is not None
        quiet = Display(Console(quiet=True))
        accelerator = Accelerator(cpu=True)
        return image_run.ImageRun(
            RunDirectory(self.path), recipe, recipe.images, find_start(recipe.images, pytest.fail),
            self.data, accelerator, quiet,
        )  # fmt: skip

    def supernet(self, **images: Any) -> image_run.ImageRun:
        run = self.run(**images)
        supernet_stage.supernet_stage(run, image_plans.plan_supernet_stage(run))
        return run


@pytest.fixture
def made(digits: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    return Made(tmp_path / "run", digits, monkeypatch)


def test_more_budgets_or_epochs_of_fine_tuning_leave_the_rest(made: Made) -> None:
    def plans(**options: Any) -> FinetuningPlan:
        run = made.run(**options)
        image_plans.plan_collecting_stage(run, PLAN)
        return image_plans.plan_finetuning_stage(run, PLAN)

    plans()
    plans(budgets=(1.0, 2.0))
    assert made.done == ["collecting", "tuning"]
    plans(finetune_epochs=7)
    assert made.done == ["collecting", "tuning", "tuning"]
    plans(finetune_epochs=7, architectures=400)
    assert made.done == ["collecting", "tuning", "tuning", "collecting"]


def test_few_epochs_see_images_that_vary_little(made: Made) -> None:
    run = replace(made.run(), start=Start("timm/x", "identity", weights=Path("x")))
    for epochs, seen in ((5, Augmentation()), (30, VARIED)):
        plan = replace(PLAN, epochs=epochs)
        assert run.supernet_settings(plan).fit.augment == seen
        assert run.finetune_settings(epochs).fit.augment == seen


def test_a_curve_that_is_missing_is_made_up_for(made: Made, tmp_path: Path) -> None:
    made.tell = [made.total // 2, made.total]
    run = made.supernet()
    rows = read_json(run.run.supernet_curve)["rows"]
    assert [row["step"] for row in rows] == made.tell and rows[-1]["loss"] == 0.5
    # Someone removes the logs: the weights are there, and need no training.
    before = run.run.supernet.read_bytes()
    shutil.rmtree(made.path / "logs")
    run = made.supernet()
    (row,) = read_json(run.run.supernet_curve)["rows"]
    assert row == {"step": made.total, "phase": "sandwich", **LOOKED}
    assert made.done == ["plan", "train"]
    made.supernet()
    assert made.done == ["plan", "train"]
    # All that was judged and fine-tuned belongs to these bytes: made again they are the same.
    assert run.run.supernet.read_bytes() == before
    supernet = supernet_stage.trained_supernet(run)
    for _ in range(4):
        save_described(supernet, tmp_path / "again", supernet_stage.about_supernet(run, PLAN))
        assert (tmp_path / "again").read_bytes() == before


def test_a_kill_while_the_accuracies_are_found_loses_no_loss(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.tell = [made.total]

    def killed(*_: Any) -> dict[str, float]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(supernet_stage, "top1_of_three", killed)
        with pytest.raises(KeyboardInterrupt):
            made.supernet()
    made.tell = []  # the phase's file is there: no step is told
    run = made.supernet()
    (row,) = read_json(run.run.supernet_curve)["rows"]
    assert row == {"step": made.total, "phase": "sandwich", "loss": 0.5, **LOOKED}


def test_a_trained_supernet_is_used_again_or_the_difference_told(made: Made) -> None:
    made.tell = [made.total]
    made.supernet()
    # What the plan has decided may be given now, and then the minutes say nothing.
    made.supernet(width_mult=0.1, epochs=2, minutes=7, precision="float32")
    shutil.rmtree(made.path / "plan")
    (made.path / "stages.json").unlink()
    made.supernet()
    assert made.done == ["plan", "train"]
    for options, message in (
        ({"epochs": 3}, "epochs was 2, now is 3;"),
        ({"minutes": 60}, "minutes was 120.0, now is 60.0;"),
        ({"precision": "bfloat16"}, "precision was float32, now is bfloat16;"),
    ):
        with pytest.raises(PnagError, match=f"{message}.*another directory with --out$"):
            made.supernet(**options)
    run = made.run()
    settings = SupernetSettings(label_smoothing=0.2, fit=FitSettings(batch_size=32))
    run = replace(run, recipe=run.recipe.model_copy(update={"supernet": settings}))
    with pytest.raises(PnagError, match=r"supernet\.label_smoothing was 0\.1, now is 0\.2; super"):
        image_plans.plan_supernet_stage(run)
    assert made.done == ["plan", "train"]
    run.run.supernet.unlink()
    run.run.supernet_of_rounds.touch()
    made.supernet(epochs=3)
    assert run.run.last_supernet == run.run.supernet  # and not that of an earlier training
    assert made.done == ["plan", "train", "plan", "train"]


def test_a_training_that_has_begun_goes_on_or_the_difference_is_told(made: Made) -> None:
    run = made.run(minutes=600)
    image_plans.plan_supernet_stage(run)
    image_plans.plan_supernet_stage(made.run())  # nothing has begun: planned anew
    image_plans.plan_supernet_stage(run)
    run.run.supernet_phases.mkdir()
    (run.run.supernet_phases / "1-sandwich-x.checkpoint.safetensors").touch()
    with pytest.raises(PnagError, match=r"has begun .* minutes was 600.*, now is 120.*with --out$"):
        image_plans.plan_supernet_stage(made.run())
    image_plans.plan_supernet_stage(run)
    assert made.done == ["plan", "plan", "plan"]


def test_the_precision_is_what_the_run_was_begun_with(made: Made) -> None:
    files = RunDirectory(made.path)
    assert kept_precision(files.supernet, files.supernet_plan) is None
    planned = replace(PLAN, precision="bfloat16")
    save_plan(files.supernet_plan, image_plans.asked_of(made.run()), planned)
    kept = kept_precision(files.supernet, files.supernet_plan)
    assert kept == "bfloat16"
    made.supernet()
    assert kept_precision(files.supernet, made.path / "no.json") == "float32"


def test_fresh_weights_taken_for_want_of_others_stay(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The published ones may be there the next time; the supernet does not begin anew."""
    files, images = RunDirectory(made.path), ImagesRecipe(source="digits")
    asked: list[str | None] = []
    monkeypatch.setattr(image_run, "find_start", lambda images, notice: asked.append(images.start))
    display = Display(Console(file=(said := io.StringIO()), width=200))
    image_run._start(files, images, display)
    save_plan(files.supernet_plan, image_plans.asked_of(made.run()), PLAN)
    image_run._start(files, images, display)  # planned, but not begun
    assert asked == [None, None] and not said.getvalue()
    files.supernet_phases.mkdir()
    (files.supernet_phases / "1-sandwich-x.checkpoint.safetensors").touch()
    image_run._start(files, images, display)
    assert asked[2] == SCRATCH and "begun from fresh weights" in said.getvalue()
    image_run._start(files, images.model_copy(update={"start": "published"}), display)
    assert asked[3] == "published"  # and is refused later


def test_a_supernet_keeps_its_resolutions(made: Made) -> None:
    run = made.run(resolutions=(64, 32))
    plan, phases = run.run.supernet_plan, run.run.supernet_phases
    save_plan(plan, image_plans.asked_of(run), replace(PLAN, family=of_width(0.1) + "@32,64"))
    phases.mkdir()
    (phases / "1-sandwich-x.checkpoint.safetensors").touch()
    for same in (made.run(), made.run(resolutions=(32, 64))):
        refuse_another_training(phases, plan, image_plans.asked_of(same))
    for other in (made.run(resolutions=(48, 64)), made.run(resolution=64)):
        with pytest.raises(PnagError, match=r"resolutions was \[32, 64\], now is \[(48, )?64\]"):
            refuse_another_training(phases, plan, image_plans.asked_of(other))


def test_rounds_that_leave_nothing_to_sample_are_refused(made: Made) -> None:
    run = made.run()  # 300 architectures are planned
    run = replace(run, recipe=run.recipe.model_copy(update={"rounds": 300}))
    with pytest.raises(PnagError, match="leave none to sample besides 300 rounds of 1"):
        image_plans.plan_collecting_stage(run, PLAN)


def test_the_ends_of_each_resolution() -> None:
    of = ofa(0.1).with_resolutions((32, 48, 64))
    found = of.space.decode(collect_stage.ends_of_resolutions(of))
    assert sorted(a.resolution for a in found) == [32, 32, 48, 48, 64, 64]
    sizes = sorted(sum(a.depths) for a in found)
    assert sizes == [10] * 3 + [20] * 3 and of.largest in found
    assert len(collect_stage.ends_of_resolutions(ofa(0.1))) == 2


@pytest.mark.parametrize(("shared", "groups"), [({}, 2), ({"shared": 1}, 16)])
def test_the_table_is_drawn_in_groups_or_each_by_itself(
    made: Made, monkeypatch: pytest.MonkeyPatch, shared: dict[str, int], groups: int
) -> None:
    """As the recipe says; the paper's has 1."""
    drawn: list[Tokens] = []

    def collect(supernet: Any, data: Any, tokens: Tokens, *_: Any, **__: Any) -> None:
        drawn.append(tokens)
        raise KeyboardInterrupt

    run = made.supernet(**shared)
    run.run.latency_model.parent.mkdir()
    LatencyModel(1.0, np.linspace(0.1, 1, 90)).save(run.run.latency_model)
    monkeypatch.setattr(collect_stage, "collect", collect)
    with pytest.raises(KeyboardInterrupt):
        collect_stage.collect_stage(
            run, CollectingPlan(16, "float32", 1.0), Size(16, of_width(0.1), 10)
        )
    assert len(np.unique(drawn[0][:, :18], axis=0)) == groups  # the first two units


def test_judging_takes_the_recipes_precision(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    from pnag.supernet import plan

    monkeypatch.setattr(plan, "judging_precision", lambda device, wanted: wanted or "bfloat16")
    cpu = Accelerator(cpu=True).device
    assert plan.evaluator_settings(cpu).precision == "bfloat16"
    found = plan.plan_collecting(
        made.data, ofa(0.1), minutes=1, device=cpu, precision="float32", architectures=50
    )
    assert (found.architectures, found.precision) == (50, "float32")


def in_rounds(made: Made, **values: Any) -> image_run.ImageRun:
    """A run from trained weights whose rounds train the supernet."""
    run = replace(made.run(), start=Start("timm/x", "identity", weights=Path("x")))
    images = run.images.model_copy(update={"train_in_rounds": True})
    recipe = run.recipe.model_copy(update={"images": images, **values})
    return replace(run, images=images, recipe=recipe)


def test_rounds_from_trained_weights_are_planned_with_what_they_judge_anew(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(
        image_plans, "plan_rounds", lambda *_, **how: asked.append(how) or RoundsPlan(2, 3, 1.0)
    )
    for run in (made.run(), in_rounds(made)):
        assert image_plans.plan_rounds_stage(run, PLAN) == (run, None)
        assert image_plans._judgements(run, 300) == 300
    assert not asked
    for _ in range(2):
        run = in_rounds(made, rounds=4, per_round=50)
        run, settings = image_plans.plan_rounds_stage(run, PLAN)
        assert settings and settings.method == "transfer" and settings.fit.epochs == 3
        assert run.recipe.rounds == 2  # the minutes do not suffice for more
    assert [how["rounds"] for how in asked] == [4]  # planned once
    # 200 sampled, then 250 and 300 in all; from scratch a round judges what it asks for.
    assert image_plans._judgements(run, 300) == 200 + 250 + 300
    usual = replace(run, images=run.images.model_copy(update={"train_in_rounds": False}))
    assert image_plans.plan_rounds_stage(usual, PLAN) == (usual, None)
    scratch = replace(run, start=Start(SCRATCH, ()))
    assert image_plans._judgements(scratch, 300) == 300
    assert image_plans.plan_rounds_stage(scratch, PLAN) == (scratch, None)


def test_rounds_take_at_most_half_of_what_is_planned(made: Made) -> None:
    run = made.run()
    run = replace(run, recipe=run.recipe.model_copy(update={"rounds": 4, "per_round": 50}))
    per_round = image_plans.planned_per_round
    assert per_round(run, 200) == 25
    assert per_round(run, 1000) == 50
    given = replace(run, images=run.images.model_copy(update={"architectures": 210}))
    assert per_round(given, 210) == 50
