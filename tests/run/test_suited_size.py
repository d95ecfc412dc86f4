"""Resolution and width suit the budgets before anything is trained."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import stub_runtime
from accelerate import Accelerator
from rich.console import Console

from pnag.cost.runtimes import make_runtime
from pnag.errors import PnagError
from pnag.families import Family, family
from pnag.families.ofa_mobilenetv3 import ofa
from pnag.families.registry import of_width
from pnag.run import image_plans, image_run
from pnag.run.display import Display
from pnag.run.named_family import WIDTHS
from pnag.run.recipe import make_recipe
from pnag.run.run_directory import RunDirectory
from pnag.run.size_stage import size_stage
from pnag.run.start import SCRATCH, find_start
from pnag.run.suited_size import Choice, SuitedSize, Timer, given_size, suited_size
from pnag.space import BaseArchitecture
from pnag.supernet.plan import SupernetPlan

CPU = Accelerator(cpu=True)


class Clock:
    """Latencies by multiply-adds, and how many were asked for."""

    busy = ""

    def __init__(self) -> None:
        self.asked: list[tuple[BaseArchitecture, str, int]] = []

    def __call__(self, arch: BaseArchitecture, of: Family, resolution: int) -> float:
        if (arch, of.name, resolution) not in self.asked:
            self.asked.append((arch, of.name, resolution))
        return 0.02 + of.count(arch, resolution, 10).macs / 5e7


def test_resolutions_that_are_given_are_checked_too() -> None:
    of, clock = ofa(0.5), Clock()
    low, high = clock(of.smallest, of, 64), clock(of.largest, of, 128)
    assert given_size((), (of,), (64, 128), clock) == SuitedSize(128, (of.name,))
    assert given_size((low, high), (of,), (64, 128), clock).beyond is None
    assert given_size((low, 2 * high), (of,), (64, 128), clock).beyond == high
    with pytest.raises(PnagError, match=r"is within 0\.001 ms here: the smallest at 64x64 takes"):
        given_size((0.001, high), (of,), (64, 128), clock)
    wide = ofa(1.0)  # is too wide for the least budget
    assert given_size((low, high), (wide, of), (64, 128), clock).families == (of.name,)
    assert given_size((clock(wide.smallest, wide, 64),), (wide, of), (64,), clock).families == (
        wide.name,
        of.name,
    )


def names(*widths: float) -> tuple[str, ...]:
    return tuple(map(of_width, widths))


def choice(widths: tuple[float, ...], resolution: int, *given: str) -> Choice:
    return Choice(tuple(map(ofa, widths)), resolution, given)


def suited(
    *budgets: float, widths: tuple[float, ...] = WIDTHS, resolution: int = 32, given: str = ""
) -> SuitedSize:
    return suited_size(budgets, choice(widths, resolution, *given.split()), Clock())


def spans(size: SuitedSize) -> list[tuple[float, float]]:
    """What the smallest and the largest network of each width take."""
    clock = Clock()
    return [
        (clock(of.smallest, of, size.resolution), clock(of.largest, of, size.resolution))
        for of in map(family, size.families)
    ]


@pytest.mark.parametrize(
    ("budgets", "resolution", "expected"),
    [
        ((0.3,), 32, SuitedSize(32, names(1.0))),
        ((0.1, 0.25), 32, SuitedSize(32, names(0.75))),
        ((0.08,), 32, SuitedSize(32, names(0.5, 0.35))),
        ((0.5,), 32, SuitedSize(64, names(1.0, 0.75))),  # enlarged, since none reaches it at 32
        ((8.0,), 32, SuitedSize(192, names(1.0))),
        ((1.0, 4.0), 224, SuitedSize(224, names(0.5))),
        ((0.11, 0.2), 224, SuitedSize(96, names(0.25))),  # made smaller, since none is as fast
    ],
)
def test_sizes_whose_networks_take_as_long_as_the_budgets(
    budgets: tuple[float, ...], resolution: int, expected: SuitedSize
) -> None:
    found = suited(*budgets, resolution=resolution)
    assert found == expected and found.beyond is None
    for smallest, largest in spans(found):
        assert smallest <= 0.9 * min(budgets) and largest >= 0.9 * max(budgets)


def test_what_none_can_is_told_and_the_least_budget_is_held() -> None:
    far = suited(0.5, 40.0)
    assert (far.resolution, far.families) == (224, names(0.35))
    ((smallest, largest),) = spans(far)
    assert smallest <= 0.5 and far.beyond == largest < 40
    assert "largest network of width 0.35 at 224x224 takes about 2.4" in far.text(
        suits_budgets=True
    )
    assert "answer to every budget above" in far.text(suits_budgets=True)
    assert suited(0.5, 40.0, resolution=224) == far
    assert suited(40.0).families == names(1.0) and suited(40.0).resolution == 224
    fixed = suited(1.7, widths=(0.25,), given="--width-mult --resolution")
    assert (fixed.resolution, fixed.families) == (32, names(0.25))
    assert fixed.beyond == Clock()(family().largest, ofa(0.25), 32)


def test_budgets_that_no_network_is_within_stop_the_run_at_once() -> None:
    with pytest.raises(
        PnagError, match=r"within 0\.01 ms here: .* width 0\.25 at 32x32 .*0\.02957 ms"
    ):
        suited(0.01, 5.0, resolution=224)
    with pytest.raises(PnagError, match=r"--budgets, lower --width-mult, lower --resolution"):
        suited(0.1, widths=(1.0,), resolution=224, given="--width-mult --resolution")
    assert suited(0.1, widths=(1.0,), resolution=224, given="--width-mult").resolution == 32


@pytest.mark.parametrize(
    ("budgets", "resolution"),
    [((1.0,), 32), ((100.0,), 32), ((0.01,), 224), ((0.1, 20.0), 32), ((0.1, 20.0), 224)],
)
def test_few_networks_are_timed(budgets: tuple[float, ...], resolution: int) -> None:
    clock = Clock()
    try:
        suited_size(budgets, choice(WIDTHS, resolution), clock)
    except PnagError:
        assert budgets == (0.01,)
    assert len(clock.asked) <= 3 * 7 + len(WIDTHS)  # of 70


def test_times_are_those_of_the_runtime(stub: str, monkeypatch: pytest.MonkeyPatch) -> None:
    timer = Timer(make_runtime(stub), 10)
    small, large = timer(family().smallest, ofa(0.25), 32), timer(family().largest, ofa(0.25), 32)
    assert 0.1 < small < large < timer(family().largest, ofa(0.25), 64)
    assert len(timer.spreads) == 3 and not timer.busy
    assert timer(family().largest, ofa(0.25), 32) == large and len(timer.spreads) == 3
    monkeypatch.setattr(stub_runtime, "SLOWER", (2.0, 1.0, 1.4))  # beside other processes
    busy = Timer(make_runtime(stub), 10)
    busy(family().smallest, ofa(0.25), 32)
    assert busy(family().smallest, ofa(0.25), 32) == small and "the machine was busy" in busy.busy
    assert "a rough guess: the machine was busy" in SuitedSize(32, names(1.0), busy=busy.busy).text(
        suits_budgets=True
    )


# The stage


class Sized:
    """The stage on scikit-learn's digits, which are 8 pixels and so taken at 32."""

    def __init__(self, path: Path) -> None:
        self.run, self.cache = RunDirectory(path / "run"), path / "cache"
        self.said = ""

    def __call__(self, *budgets: float, **images: Any) -> SuitedSize | None:
        latency = {"runtime": "stub"}
        recipe = make_recipe(
            {"source": "images", "budgets": budgets, "latency": latency,
             "images": {"source": "digits", "start": SCRATCH, **images}}
        )  # fmt: skip
        assert recipe.images is not None
        file = io.StringIO()
        display = Display(Console(file=file, width=300))
        start = find_start(recipe.images, pytest.fail)
        found = size_stage(self.run, recipe, recipe.images, start, self.cache, CPU, display)
        self.said = file.getvalue()
        return found


@pytest.fixture
def sized(tmp_path: Path, stub: str) -> Sized:
    pytest.importorskip("sklearn")
    return Sized(tmp_path)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Times without building networks; how many were asked for since."""
    clock = Clock()
    monkeypatch.setattr("pnag.run.size_stage.Timer", lambda runtime, classes: clock)

    def asked() -> int:
        number = len(clock.asked)
        clock.asked.clear()
        return number

    return asked


def test_the_size_is_found_once_for_the_budgets(sized: Sized, quick: Callable[[], int]) -> None:
    assert sized() is None and not quick()
    assert sized(0.3) == SuitedSize(32, names(1.0)) and quick()
    assert "the budgets suit width 1 at 32x32" in sized.said
    assert sized(0.3) == SuitedSize(32, names(1.0)) and not quick()  # from the file
    assert sized(0.5) == SuitedSize(64, names(1.0, 0.75)) and quick()
    largest = Clock()(family().largest, ofa(), 32)
    assert sized(0.5, resolution=32) == SuitedSize(32, names(1.0), largest)
    assert "no supernet suits all budgets" in sized.said
    assert sized() is None and not sized.run.size_plan.exists()


def test_other_budgets_leave_a_supernet_that_has_begun(
    sized: Sized, quick: Callable[[], int]
) -> None:
    found = sized(0.5)
    sized.run.supernet_phases.mkdir()
    (sized.run.supernet_phases / "1-sandwich-x.checkpoint.safetensors").touch()
    quick()
    for budgets in ((), (0.2,), (0.5,)):
        assert sized(*budgets) == found and not quick() and not sized.said
    sized.run.size_plan.unlink()  # begun without budgets
    assert sized(0.2) is None and not quick()


def test_a_budget_below_all_networks_leaves_no_plan(sized: Sized, quick: Callable[[], int]) -> None:
    with pytest.raises(PnagError, match="no network of a supernet is within"):
        sized(0.001)
    assert not sized.run.size_plan.exists()


def test_a_run_takes_the_resolution_and_plans_among_the_widths(
    sized: Sized, quick: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    planned: list[Any] = []

    def plan_supernet(*_: Any, families: Any, **__: Any) -> SupernetPlan:
        planned.append(tuple(of.name for of in families))
        return SupernetPlan(of_width(0.75), 6, 16, "float32", 30.0)

    monkeypatch.setattr(image_plans, "plan_supernet", plan_supernet)
    images = {"source": "digits", "classes": 2, "cache": str(sized.cache), "minutes": 12,
              "start": SCRATCH}  # fmt: skip
    values = {"source": "images", "images": images, "latency": {"runtime": "stub"}}

    def opened(*budgets: float) -> image_run.ImageRun:
        file = io.StringIO()
        recipe = make_recipe(values | {"budgets": budgets})
        run = image_run.open_images(sized.run, recipe, Display(Console(file=file, width=300)))
        image_plans.plan_supernet_stage(run)
        sized.said = file.getvalue()
        return run

    run = opened(0.5)
    assert run.data.preprocessing.resolution == 64 and planned == [names(1.0, 0.75)]
    assert "training this one takes longer than --minutes 12 allows" in sized.said
    sized.run.supernet_phases.mkdir()
    (sized.run.supernet_phases / "1-sandwich-x.safetensors").touch()
    assert opened().data.identity == run.data.identity  # a run that has begun goes on
    assert opened(0.2).data.identity == run.data.identity and len(planned) == 1


def test_told_widths_are_in_words() -> None:
    size = SuitedSize(64, names(1.0, 0.75, 0.5))
    suited = "width 0.5 or 0.75 or 1 at 64x64"
    assert size.text(suits_budgets=True) == f"the budgets suit {suited}"
    assert size.text(suits_budgets=False) == f"networks of {suited}"
    assert "0.1601 ms" in replace(size, families=names(0.25), beyond=0.16004).text(
        suits_budgets=True
    )
