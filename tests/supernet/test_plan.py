"""Plans suit the images, the processes and the memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from pnag.errors import PnagError
from pnag.families.ofa_mobilenetv3 import OfaMobileNetV3, ofa
from pnag.families.registry import family
from pnag.images.images import ImageData, ImagePart
from pnag.images.resolutions import step_shares
from pnag.run.named_family import WIDTHS
from pnag.supernet import plan, rounds_plan, step_times
from pnag.supernet.loop import add_gradients, check_parts, make_scaler
from pnag.supernet.phases import PHASES
from pnag.supernet.rounds_plan import RoundsPlan, plan_rounds
from pnag.supernet.settings import FinetuneFit, FinetuneSettings, FitSettings, SupernetSettings
from pnag.supernet.supernet_training import phase_losses

CPU = Accelerator(cpu=True)
FAMILIES = [ofa(width) for width in WIDTHS]


def part_of(images: int, pixels: int = 8) -> ImagePart:
    nothing = np.broadcast_to(np.uint8(0), (images, pixels, pixels, 3))
    return ImagePart(nothing, np.zeros(images, np.int64), np.ones(images, np.float32))  # type: ignore[arg-type]


def data_of(images: int, train_pixels: int = 8) -> ImageData:
    made = SimpleNamespace(
        train=part_of(images, train_pixels), validation=part_of(images // 4), classes=("a", "b")
    )
    return cast(ImageData, made)


def width_of(found: plan.SupernetPlan) -> float:
    return cast(OfaMobileNetV3, family(found.family)).width_mult


def processes(number: int) -> Accelerator:
    return cast(Accelerator, SimpleNamespace(num_processes=number))


def test_batches_suit_images_and_processes() -> None:
    fit = FitSettings()
    sizes = {n: plan.suited_batch(fit, data_of(10_000), n).batch_size for n in (1, 2, 3, 8)}
    assert sizes == {1: 64, 2: 64, 3: 60, 8: 64}
    assert plan.suited_batch(fit, data_of(100)).batch_size == 12
    assert plan.suited_batch(fit, data_of(100), 8).batch_size == 16
    with pytest.raises(
        PnagError, match=r"supernet\.fit\.batch_size must be at least 10, .*, not 8"
    ):
        plan.suited_batch(replace(fit, batch_size=8), data_of(10_000), 5)


def test_parts_of_one_image_are_refused_and_avoided() -> None:
    fit = FitSettings(batch_size=10, accumulate=4)
    check_parts(fit, processes(1))
    with pytest.raises(PnagError, match="accumulate is 4 for a process' 5 image"):
        check_parts(fit, processes(2))
    seen: list[int] = []
    weight = torch.ones(1, requires_grad=True)

    def losses(images: Tensor, labels: Tensor, step: int) -> Iterator[Tensor]:
        seen.append(len(images))
        yield (weight * images).mean()

    add_gradients(losses, torch.arange(10.0), torch.zeros(10), 0, 4, CPU, make_scaler(CPU))
    assert seen == [3, 3, 2, 2]  # 3, 3, 3, 1 would have a batch norm fail
    assert weight.grad is not None and weight.grad.item() == pytest.approx(4.5)


def test_too_wide_for_the_memory_is_too_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    def step(data: Any, settings: Any, of: OfaMobileNetV3, accelerator: Any) -> float:
        if of.width_mult > least:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return 0.001

    monkeypatch.setattr(plan, "supernet_step", step)
    least = 0.5
    settings = SupernetSettings()
    found = plan.plan_supernet(
        data_of(6400), settings, minutes=60, families=FAMILIES, accelerator=CPU
    )
    assert (width_of(found), found.batch_size, found.precision) == (0.5, 64, "float32")
    least = 0.1
    with pytest.raises(PnagError, match=r"supernet\.fit\.batch_size 64 in supernet\.fit\.accum"):
        plan.plan_supernet(data_of(6400), settings, minutes=60, families=FAMILIES, accelerator=CPU)


def test_widths_that_suit_are_chosen_among(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the time they take; the narrowest of them where that does not suffice for any."""

    def step(data: Any, settings: Any, of: OfaMobileNetV3, accelerator: Any) -> float:
        return of.width_mult

    monkeypatch.setattr(plan, "supernet_step", step)
    data, settings = data_of(6400), SupernetSettings()

    def width(minutes: float, *widths: float) -> float:
        families = [ofa(width) for width in widths]
        found = plan.plan_supernet(
            data, settings, minutes=minutes, families=families, accelerator=CPU
        )
        return width_of(found)

    assert width(60, *WIDTHS) == 0.5
    assert width(60, 1.0, 0.75) == 0.75 and width(1, 1.0, 0.75) == 0.75
    assert width(600, 0.5, 0.35) == 0.5


def test_another_error_is_not_taken_for_want_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def step(*_: Any) -> float:
        raise RuntimeError("a shape is wrong")

    monkeypatch.setattr(plan, "supernet_step", step)
    with pytest.raises(RuntimeError, match="shape"):
        plan.plan_supernet(
            data_of(6400), SupernetSettings(), minutes=60, families=FAMILIES, accelerator=CPU
        )


def test_steps_are_timed_in_parts_and_every_long_phase_as_it_is(
    digits: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_times, "TURNS", 2)
    timed: list[tuple[str, bool]] = []
    parts: list[int] = []

    def losses(model: Any, phase: Any, settings: Any, teacher: Any, seed: int) -> Any:
        timed.append((phase.name, teacher is not None))
        return phase_losses(model, phase, settings, teacher, seed)

    def gradients(*args: Any) -> Any:
        parts.append(args[4])
        return add_gradients(*args)

    monkeypatch.setattr(step_times, "phase_losses", losses)
    monkeypatch.setattr(step_times, "add_gradients", gradients)
    fit = FitSettings(batch_size=8, accumulate=2)
    settings = SupernetSettings("progressive", fit=fit)
    plan.plan_supernet(digits, settings, minutes=1, accelerator=CPU, families=[ofa(0.1)])
    long = [phase.name for phase in PHASES["progressive"] if phase.epochs >= 0.15]
    assert timed == [(name, name != "full") for name in long]
    tuning = FinetuneSettings()
    tuning = replace(tuning, fit=replace(tuning.fit, batch_size=8, accumulate=2))
    found = plan.plan_finetuning(
        digits, tuning, ofa(0.1), minutes=1, answers=5, accelerator=CPU, epochs=3
    )
    assert found.epochs == 3 and found.minutes > 0
    assert set(parts) == {2}


def test_a_batch_is_halved_to_what_processes_share_in_pairs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: list[int] = []

    def too_large(data: Any, settings: SupernetSettings, *_: Any) -> None:
        tried.append(settings.fit.batch_size)

    monkeypatch.setattr(plan, "supernet_step", too_large)
    settings = SupernetSettings("sandwich")
    for processes in (1, 3, 7, 100):
        tried.clear()
        most = 2 * processes * 200
        several: Any = SimpleNamespace(num_processes=processes)
        plan._largest_batch(data_of(10**6), settings, most, ofa(0.1), several)
        assert tried[0] == most and len(tried) > 1
        assert all(batch and batch % (2 * processes) == 0 for batch in tried)


def test_answers_of_photos_train_on_the_train_part_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "finetune_step", lambda *_: 0.1)
    small, photos = data_of(6400), data_of(6400, train_pixels=10)
    settings = FinetuneSettings(fit=FinetuneFit(batch_size=64))

    def epochs(data: ImageData) -> float:
        return plan.plan_finetuning(
            data, settings, ofa(0.1), minutes=40, answers=5, accelerator=CPU
        ).epochs

    assert epochs(photos) / epochs(small) == pytest.approx(
        1 + len(small.validation) / len(small.train), rel=0.05
    )


def test_rates_grow_with_the_batch_where_a_recipe_leaves_it_open() -> None:
    sgd, adamw = FitSettings(), FitSettings(optimizer="adamw")
    assert plan.with_batch(sgd, 256).learning_rate == pytest.approx(4 * sgd.learning_rate)
    assert plan.with_batch(adamw, 256).learning_rate == pytest.approx(2 * adamw.learning_rate)
    for fit in (replace(sgd, batch_size=64), replace(adamw, batch_size=64)):
        assert plan.with_batch(fit, 256).learning_rate == fit.learning_rate


def test_the_search_takes_its_minutes_before_the_others_share_the_rest() -> None:
    stages = ("supernet", "collecting", "fine-tuning")
    for minutes, left in ((4, 3), (20, 15), (60, 55)):
        given = [plan.minutes_of(stage, minutes, True) for stage in stages]
        assert sum(given) == pytest.approx(left)
        assert [plan.minutes_of(stage, minutes, False) for stage in stages] == pytest.approx(
            [0.6 * minutes, 0.15 * minutes, 0.2 * minutes]
        )


def test_rounds_get_some_of_the_minutes_of_fine_tuning(monkeypatch: pytest.MonkeyPatch) -> None:
    stages = ("supernet", "collecting", "rounds", "fine-tuning")
    given = [plan.minutes_of(stage, 60, True, in_rounds=True) for stage in stages]
    assert sum(given) == pytest.approx(55)
    assert given[:2] == [plan.minutes_of(stage, 60, True) for stage in stages[:2]]
    monkeypatch.setattr(rounds_plan, "round_step", lambda *_: 0.1)
    settings = SupernetSettings("transfer", fit=FitSettings(batch_size=64))

    def found(minutes: float, rounds: int) -> RoundsPlan:
        return plan_rounds(
            data_of(6400), settings, ofa(0.1), minutes=minutes, rounds=rounds, accelerator=CPU
        )

    # An epoch takes 10 seconds; 5.5 minutes are 33 of them.
    assert found(60, 10) == RoundsPlan(10, 3.3, 5.5)
    assert found(60, 2) == RoundsPlan(2, 5, 1.67)
    assert found(60, 100) == RoundsPlan(66, 0.5, 5.5)
    assert found(0.1, 100) == RoundsPlan(1, 0.5, 0.08)


def test_a_table_that_is_judged_anew_is_smaller(
    digits: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "mean_seconds", lambda *_: 0.09)
    minutes = 10.0  # of which 1.5 are for 1,000 judgements

    def found(**how: Any) -> plan.CollectingPlan:
        return plan.plan_collecting(
            digits, ofa(0.1), minutes=minutes, device=CPU.device, precision="float32", **how
        )

    assert found() == plan.CollectingPlan(1000, "float32", 1.5)
    assert found(judgements=lambda n: 2.5 * n) == plan.CollectingPlan(400, "float32", 1.5)
    few = found(judgements=lambda n: 20 * n)
    assert few == plan.CollectingPlan(plan.ARCHITECTURES[0], "float32", 6.0)


def test_answers_of_several_resolutions_share_the_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "finetune_step", lambda *_: 0.1)
    settings = FinetuneSettings()
    settings = replace(settings, fit=replace(settings.fit, batch_size=64))
    pixels = (64, 96, 128)

    def found(minutes: float, of: str = "@64,96,128", **how: Any) -> plan.FinetuningPlan:
        return plan.plan_finetuning(
            data_of(6400), settings, family("ofa-mobilenetv3" + of), minutes=minutes, answers=5,
            accelerator=CPU, **how,
        )  # fmt: skip

    made = found(40, adapting=True)
    # 0.1 s is the mean of steps that each resolution gets in the inverse of its pixels' number.
    per_pixel = 0.1 * sum(1 / each**2 for each in pixels) / 3
    epochs = [made.epochs * pixels[0] / p for p in pixels]
    minutes = [e * 125 * per_pixel * p**2 / 60 for e, p in zip(epochs, pixels, strict=True)]
    wanted = plan.minutes_of("fine-tuning", 40, True)
    # Those and as much again of a middling one, for what all others begin with.
    assert sum(minutes) * (3 + plan.FIRST - 1) / 3 == pytest.approx(wanted, rel=0.01)
    assert made.minutes == pytest.approx(wanted, rel=0.01)
    assert [made.epochs_at(p, pixels) for p in pixels] == [plan.rounded_epochs(e) for e in epochs]
    assert made.epochs_at(96, pixels, first=True) == plan.rounded_epochs(plan.FIRST * epochs[1])
    # Fewer networks than were planned for get longer each.
    assert made.networks == 3
    assert made.shared_by(2, first=True).epochs == pytest.approx(4 / 3 * made.epochs)
    # ... and still longer where no other network begins with one of them.
    assert made.shared_by(2, first=False).epochs == pytest.approx(4 / 2 * made.epochs)
    assert made.shared_by(3, first=True) == made
    assert found(40).shared_by(1, first=False) == found(40)
    for other in (found(40, adapting=True, epochs=3), found(40, "", adapting=True), found(40)):
        assert {other.epochs_at(p, pixels, first=p == 96) for p in pixels} == {other.epochs}
    assert found(0.1, adapting=True).epochs_at(128, pixels) == pytest.approx(
        plan.LEAST_TUNING_STEPS / 125
    )
    assert [plan.rounded_epochs(e) for e in (0.666, 9.994, 10.4, 31.6)] == [0.67, 9.99, 10, 32]


def test_what_disturbs_a_machine_for_a_moment_does_not_decide(
    digits: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = ofa().with_resolutions((32, 48))
    seconds = iter([9.0, 2.0, 1.0, 8.0])
    monkeypatch.setattr(step_times, "_timed", lambda *_: next(seconds))
    settings = FinetuneSettings(fit=FinetuneFit(batch_size=4))
    found = step_times.finetune_step(digits, settings, of, of.smallest, CPU)
    assert found == pytest.approx(np.dot(step_shares((32, 48)), (1.0, 2.0)))
