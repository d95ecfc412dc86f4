"""`pnag generate`: several budgets at once, and another device's costs with a run's accuracies."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import pnag
from pnag.commands.bodies import generate as generating
from pnag.commands.bodies.another_device import own_names, size_of
from pnag.commands.bodies.export_command import export_options
from pnag.commands.bodies.generate import SeveralAnswer, generate_for
from pnag.commands.main import app
from pnag.commands.options import parse_named_budgets
from pnag.cost.block_csv import write_block_csv
from pnag.cost.front_calibration import AS_PREDICTED, fit_front_calibration
from pnag.cost.latency_model import LatencyModel
from pnag.cost.latency_table import LatencyTable
from pnag.cost.load import load_cost
from pnag.cost.timing import Drift
from pnag.errors import PnagError
from pnag.families.ofa_mobilenetv3 import ofa
from pnag.files import write_json
from pnag.run.amounts import amount
from pnag.run.budgets import Budget, check_units, device_name
from pnag.run.display import Display
from pnag.run.recipe import Recipe, make_recipe, save_recipe, search_settings
from pnag.run.run_directory import RunDirectory
from pnag.run.search_stages import search_stages
from pnag.run.size import Size
from pnag.run.table_stages import imagenet_table_stage
from pnag.run.trained import (
    Answer,
    load_calibrated_front,
    load_front_calibration,
    load_labels,
)
from pnag.run.trained import answer as find_answer
from pnag.search.front import Front
from pnag.search.sources import SOURCES

SPACE = pnag.SearchSpace()
OF = ofa(1.2)
SIZE = Size(224, OF.name, 1000)
SIZED = {"resolution": 224, "num_classes": 1000}
NOTE10 = (
    Path(__file__).resolve().parents[2].parent
    / "shared/facts/note10_latency_ms/224_lookup_table.yaml"
)
QUICK = {
    "architectures": 400,
    "resolutions": [224],
    "evaluator": {"steps": 10, "hidden": 32},
    "generator": {"iterations": 20, "samples": 16, "refine_steps": 1, "hidden": 16},
    "front": {"budgets": 16, "draws": 16, "rounds": 8, "children": 256},
    "vectors": {"vectors": 256, "rounds": 8, "children": 512},
}


def device(seed: int) -> LatencyModel:
    """A made-up device on which blocks cost more the more multiply-adds they have, by chance."""
    macs = [block.macs for block in OF.blocks()]
    noise = np.random.default_rng(seed).uniform(0.3, 3, len(macs))
    return LatencyModel(3.0, 0.05 + np.array(macs) / 1e7 * noise, OF)


def search(run: RunDirectory, values: dict[str, Any]) -> None:
    recipe = make_recipe(values)
    search_stages(run, SPACE, search_settings(recipe), recipe.seed, Display())


@pytest.fixture(scope="module")
def cpu_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of this machine, but with made-up times and a smaller search."""
    run = RunDirectory(tmp_path_factory.mktemp("cpu") / "run")
    recipe = make_recipe(QUICK)
    LatencyTable(SIZE.identity(), drift=Drift([1.0])).save(run.latency_table)
    device(0).save(run.latency_model)
    imagenet_table_stage(run, SIZE, recipe.architectures, recipe.seed, Display())
    search(run, QUICK)
    predicted = np.linspace(5, 30, 12)
    fit_front_calibration(predicted, 0.4 + 1.05 * predicted).save(run.front_calibration)
    save_recipe(recipe, run.recipe)
    write_json(run.metrics, {})
    return run.path


@pytest.fixture
def phone(tmp_path: Path) -> Path:
    path = tmp_path / "phone.csv"
    write_block_csv(path, device(1), **SIZED)
    return path


def generate(
    run: Path, budgets: dict[str, float], devices: tuple[object, ...] = (), **size: float
) -> Answer | SeveralAnswer:
    return generate_for(
        run,
        {name: Budget(amount) for name, amount in budgets.items()},
        list(map(str, devices)),
        size,
        greedy=False,
        display=Display(),
    )


def middle(run: Path) -> float:
    return float(np.mean(load_calibrated_front(RunDirectory(run), SPACE).cost[[0, -1]]))


def test_the_table_has_a_column_for_every_cost(cpu_run: Path) -> None:
    table = pd.read_parquet(cpu_run / "table.parquet")
    tokens = SPACE.encode(table["arch"])
    for name in ("params", "macs", "memory"):
        expected = load_cost(name, OF, **SIZED).predict(tokens)
        assert (table[name].to_numpy() == expected).all()


def test_another_device_with_the_same_accuracies(
    cpu_run: Path,
    phone: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = {p: p.read_bytes() for p in cpu_run.rglob("*") if p.is_file()}
    costs = device(1).predict(SPACE.encode(pd.read_parquet(cpu_run / "table.parquet")["arch"]))
    budget = float(np.quantile(costs, 0.3))
    answer = generate(cpu_run, {"": budget}, (phone,))
    assert isinstance(answer, Answer)
    tokens = SPACE.encode([answer.arch])
    assert answer.cost == pytest.approx(device(1).predict(tokens)[0]) and answer.cost <= budget
    labels = load_labels(RunDirectory(cpu_run), SPACE)
    assert answer.accuracy == pytest.approx(labels.accuracy.predict(tokens)[0])
    table = pd.read_parquet(cpu_run / "table.parquet")
    assert answer.accuracy > table["accuracy"][costs <= budget].max()
    assert all(p.read_bytes() == data for p, data in before.items())  # the run is as it was

    (folder,) = (cpu_run / "devices").iterdir()
    made = {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}
    capsys.readouterr()
    monkeypatch.setenv("HOME", str(phone.parent))
    dearer = generate(cpu_run, {"latency": budget * 1.3}, (f"~/{phone.name}",))
    assert capsys.readouterr().out.count("reused") == 5
    assert isinstance(dearer, Answer) and dearer.accuracy > answer.accuracy
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()} == made

    # Its generator was trained for the counted costs too: budgets of these need no long search.
    params = float(table["params"].quantile(0.4))
    with monkeypatch.context() as without:
        without.setattr(generating, "answer_several", lambda *a: pytest.fail("searched long"))
        both = generate(cpu_run, {"": budget * 1.3, "params": params}, (phone,))
        alone = generate(cpu_run, {"memory": 5.5e6}, (phone,))
    assert (
        "budgets of latency, params, macs, memory are answered at once" in capsys.readouterr().out
    )
    assert alone.costs["memory"] == SIZE.count(alone.arch).memory <= 5.5e6
    assert isinstance(both, SeveralAnswer) and both.accuracy < dearer.accuracy
    within = (costs <= budget * 1.3) & (table["params"] <= params)
    assert both.source in SOURCES and both.accuracy > table["accuracy"][within].max()
    one = SPACE.encode([both.arch])
    assert both.costs["latency"] == pytest.approx(device(1).predict(one)[0])
    assert both.costs["latency"] <= budget * 1.3
    assert both.costs["params"] == SIZE.count(both.arch).params <= params
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()} == made
    capsys.readouterr()

    # A stop loses a stage at most.
    (folder / "generator.safetensors").unlink()
    assert generate(cpu_run, {"": budget}, (phone,)) == answer
    assert capsys.readouterr().out.count("reused") == 4


def test_named_devices_are_further_costs_of_a_generator_of_their_own(
    cpu_run: Path, phone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tablet = phone.with_name("tablet.csv")
    write_block_csv(tablet, device(2), **SIZED)
    tokens = SPACE.encode(pd.read_parquet(cpu_run / "table.parquet")["arch"])
    there = {"phone": device(1).predict(tokens), "tablet": device(2).predict(tokens)}
    budgets = {name: float(np.quantile(times, 0.5)) for name, times in there.items()}
    given = (f"phone={phone}", f"tablet={tablet}")
    before = set((cpu_run / "devices").glob("*"))

    def ask(*devices: str, thorough: bool = False, **more: float) -> Answer | SeveralAnswer:
        asked = {name: Budget(amount) for name, amount in (budgets | more).items()}
        return generate_for(
            cpu_run, asked, list(devices), {}, greedy=False, thorough=thorough, display=Display()
        )

    long = ask(*given, thorough=True)
    assert set((cpu_run / "devices").glob("*")) == before  # nothing was trained
    monkeypatch.setattr(generating, "answer_several", lambda *a: pytest.fail("searched long"))
    quick = ask(*given)
    for found in (long, quick):
        assert isinstance(found, SeveralAnswer)
        one = SPACE.encode([found.arch])
        assert found.costs["phone"] == pytest.approx(device(1).predict(one)[0])
        assert found.costs["tablet"] == pytest.approx(device(2).predict(one)[0])
        assert all(found.costs[name] <= budget for name, budget in budgets.items())
    assert quick.accuracy > long.accuracy - 0.01
    (folder,) = set((cpu_run / "devices").glob("*")) - before
    made = {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}
    # The own cost keeps its correction; the order of the devices does not matter.
    own = middle(cpu_run)
    all_held = ask(*reversed(given), latency=own, params=7e6)
    one = SPACE.encode([all_held.arch])
    assert all_held.costs["latency"] == pytest.approx(0.4 + 1.05 * device(0).predict(one)[0])
    assert all_held.costs["latency"] <= own and all_held.costs["params"] <= 7e6
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()} == made
    # Beside another device in the place of the own cost.
    with_memory = ask(*given, "memory", memory=5.5e6)
    assert with_memory.costs["memory"] == SIZE.count(with_memory.arch).memory <= 5.5e6
    assert with_memory.costs["tablet"] <= budgets["tablet"]


@pytest.mark.skipif(not NOTE10.exists(), reason=f"there is no published table {NOTE10}")
def test_from_this_cpu_to_the_note_10(cpu_run: Path) -> None:
    answer = generate(cpu_run, {"": 30.0}, (NOTE10,))
    assert answer.cost == pytest.approx(
        load_cost(str(NOTE10), OF).predict(SPACE.encode([answer.arch]))[0]
    )
    assert 28 < answer.cost <= 30


def test_a_count_as_the_device(cpu_run: Path) -> None:
    answer = generate(cpu_run, {"memory": 5.5e6}, ("memory",))
    assert answer.cost == SIZE.count(answer.arch).memory <= 5.5e6


def test_several_budgets_are_all_held_and_used(cpu_run: Path, phone: Path) -> None:
    table = pd.read_parquet(cpu_run / "table.parquet")
    tokens = SPACE.encode(table["arch"])
    own = 0.4 + 1.05 * table["cost"].to_numpy()
    there = {"latency": own, "params": table["params"].to_numpy(dtype=float),
             "memory": table["memory"].to_numpy(dtype=float),
             "phone": device(1).predict(tokens)}  # fmt: skip
    budgets = {name: float(np.quantile(values, 0.6)) for name, values in there.items()}
    answer = generate(cpu_run, budgets, (f"phone={phone}",))
    assert isinstance(answer, SeveralAnswer) and answer.budgets == budgets
    assert all(answer.costs[name] <= budget for name, budget in budgets.items())
    one = SPACE.encode([answer.arch])
    counts = SIZE.count(answer.arch)
    assert answer.costs["params"] == counts.params and answer.costs["memory"] == counts.memory
    assert answer.costs["phone"] == pytest.approx(device(1).predict(one)[0])
    assert answer.costs["latency"] == pytest.approx(0.4 + 1.05 * device(0).predict(one)[0])
    within = np.all([there[name] <= budget for name, budget in budgets.items()], axis=0)
    assert within.any() and answer.accuracy > table["accuracy"][within].max()


def test_a_further_budget_that_does_not_bind_changes_little(cpu_run: Path) -> None:
    budget = middle(cpu_run)
    alone = generate(cpu_run, {"": budget})
    both = generate(cpu_run, {"cpu": budget, "params": 1e9})
    assert both.accuracy >= alone.accuracy and both.costs["latency"] <= budget


@pytest.mark.parametrize(
    ("value", "text"),
    [(12.3412, "12.35"), (12.35, "12.35"), (30.0, "30"), (999.96, "1000"), (4_602_456, "4.603M"),
     (12.350000001, "12.36"), (1.00000001, "1.001"), (123456.0, "123.5K"), (6e6, "6M"),
     (3.2e8, "320M"), (1.5e9, "1.5G"), (2500, "2.5K"), (0.01234, "0.01234")],
)  # fmt: skip
def test_amounts_are_enough_as_they_are_written(value: float, text: str) -> None:
    assert amount(value) == text
    assert parse_named_budgets([text])[""].amount >= value


def test_the_least_budget_that_is_suggested_can_be_held() -> None:
    tokens = SPACE.sample(1, np.random.default_rng(0))
    for cost in (1234567.8, 12.350000001, 0.00012341, 999.99999):
        front = Front(tokens, np.array([0.7]), np.array([cost]))
        with pytest.raises(PnagError, match="ask for at least") as error:
            find_answer(front, SPACE, cost / 2)
        least = float(str(error.value).split()[-1])
        assert find_answer(front, SPACE, least).cost == cost and least < cost * 1.001


def test_a_new_front_has_no_calibration_until_it_is_timed(cpu_run: Path, tmp_path: Path) -> None:
    run = RunDirectory(Path(shutil.copytree(cpu_run, tmp_path / "run")))
    search(run, QUICK)
    assert load_front_calibration(run) != AS_PREDICTED  # the front is reused
    search(run, QUICK | {"front": QUICK["front"] | {"rounds": 9}})
    assert load_front_calibration(run) == AS_PREDICTED  # what a run that is stopped here answers by
    assert (load_calibrated_front(run, SPACE).cost == pd.read_parquet(run.front)["cost"]).all()


def test_a_further_cost_alone(cpu_run: Path) -> None:
    answer = generate(cpu_run, {"params": 7e6})
    assert list(answer.costs) == ["params"] and answer.costs["params"] <= 7e6


def test_what_cannot_be_held_is_named_with_what_can(cpu_run: Path) -> None:
    smallest = "2,2,2,2,2:" + ",".join(["3,3,0,0"] * 5) + ":" + ",".join(["3,3,0,0"] * 5)
    least = SIZE.count(smallest).params
    with pytest.raises(PnagError, match=r"budget params 1M: the cheapest has 4\.603M$"):
        generate(cpu_run, {"": 1000, "params": 1e6})
    cheapest = 0.4 + 1.05 * device(0).predict(SPACE.encode([smallest]))[0]
    with pytest.raises(
        PnagError, match=r"within the budget latency 0\.1: the cheapest has"
    ) as said:
        generate(cpu_run, {"": 0.1, "params": 1e9})
    assert float(str(said.value).split()[-1]) <= cheapest * 1.001
    # Each can be held alone, but not both: the blocks that take this machine least time are others
    # than those of the fewest parameters.
    blocks = device(0).blocks.reshape(5, 2, 9).argmin(2).ravel()  # of two layers in each unit
    widths, kernels = ([choices[i] for i in index] for choices, index in
                       (((3, 4, 6), blocks // 3), ((3, 5, 7), blocks % 3)))  # fmt: skip
    spread = [",".join(f"{a},{b},0,0" for a, b in zip(v[::2], v[1::2], strict=True))
              for v in (kernels, widths)]  # fmt: skip
    fastest = 0.4 + 1.05 * device(0).predict(SPACE.encode([":".join(["2,2,2,2,2", *spread])]))[0]
    assert fastest < cheapest
    with pytest.raises(PnagError, match=r"with (params|latency) .*, the cheapest has "):
        generate(cpu_run, {"": (fastest + cheapest) / 2, "params": least})


@pytest.mark.parametrize(
    ("budgets", "devices", "says"),
    [
        ({"energy": 3.0}, (), "no cost 'energy'; there are latency, ms, cpu, params, macs, memory"),
        ({"": 30.0}, ("nowhere.csv",), "no cost 'nowhere.csv'"),
        ({"": 30.0}, ("phone=a.csv",), "has no budget; add --budget phone="),
        ({"": 30.0, "phone": 9.0}, (f"phone={'x' * 300}.csv",), "there is no cost 'xxx"),
        ({"": 30.0, "from": 9.0}, ("from=a.csv",), "takes the name of another cost"),
        ({"": 30.0, "params": 6e6}, ("params=a.csv",), "takes the name of another cost"),
        ({"": 30.0}, ("a.csv", "b.csv"), "two devices to generate for"),
        ({"": 30.0, "a": 1.0}, ("a=b.csv", "a=c.csv"), "given twice"),
        ({"": 30.0, "cpu": 20.0}, (), "two budgets for latency: 30 and 20"),
        ({"": 1e-9}, (), "no architecture has a cost within"),
    ],
)
def test_costs_that_are_not_there(
    cpu_run: Path, budgets: dict[str, float], devices: tuple[str, ...], says: str
) -> None:
    with pytest.raises(PnagError) as caught:
        generate(cpu_run, budgets, devices)
    assert says in str(caught.value)


def test_a_device_of_another_size_is_refused(cpu_run: Path, tmp_path: Path) -> None:
    path = tmp_path / "phone.csv"
    write_block_csv(path, device(1), resolution=192)
    with pytest.raises(PnagError, match=r"no operator 'fixed-224x224x3.*another width"):
        generate(cpu_run, {"": 30}, (path,))
    with pytest.raises(PnagError, match=r"--resolution is 192, but the networks of .* have 224"):
        generate(cpu_run, {"": 30}, (path,), resolution=192)
    table = tmp_path / "phone.json"
    LatencyTable({**SIZE.identity(), "width_mult": 1.0}).save(table)
    with pytest.raises(PnagError, match=r"width_mult 1 \(the networks have 1\.2\)"):
        generate(cpu_run, {"": 30}, (table,))
    with pytest.raises(PnagError, match="--greedy goes with one budget"):
        generate_for(cpu_run, {"params": Budget(6e6)}, [], {}, greedy=True, display=Display())


def test_the_width_of_a_table_runs_networks_is_heeded_or_refused(tmp_path: Path) -> None:
    def size(family: str | None, **given: float) -> Size:
        table = {"path": "t.csv", "accuracy": "a", "cost": "c", "family": family}
        recipe = make_recipe({"source": "table", "table": table})
        return size_of(RunDirectory(tmp_path, reading=True), recipe, given)

    for family in (None, "ofa-mobilenetv3"):
        assert size(family, width_mult=1.2, num_classes=10) == Size(224, OF.name, 10)
        assert size(family, resolution=64) == Size(64)
    assert size("ofa-mobilenetv3@128,160") == Size(224, "ofa-mobilenetv3@128,160")
    with pytest.raises(PnagError, match=r"--width-mult is 1\.2, but ofa-mobilenetv3@128,160 has"):
        size("ofa-mobilenetv3@128,160", width_mult=1.2)


def test_what_cannot_be_done_is_refused_before_a_generator_is_trained(
    cpu_run: Path, phone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generating, "device_run", lambda *a: pytest.fail("trained"))
    both = {"": Budget(30), "params": Budget(6e6)}
    with pytest.raises(PnagError, match="--greedy goes with one budget"):
        generate_for(cpu_run, both, [str(phone)], {}, greedy=True, display=Display())
    with pytest.raises(PnagError, match="two ways to answer"):
        options = {"greedy": True, "thorough": True}
        generate_for(cpu_run, {"": Budget(30)}, [], {}, **options, display=Display())
    with pytest.raises(PnagError, match="budget 30 of memory has the unit ms; give it in B"):
        ask(cpu_run, "30ms", device="memory")


def test_a_size_that_is_not_the_runs_is_refused_without_a_device_too(cpu_run: Path) -> None:
    with pytest.raises(PnagError, match=r"--resolution is 192, but the networks of .* have 224"):
        generate(cpu_run, {"": 30}, resolution=192)
    assert generate(cpu_run, {"": middle(cpu_run)}, width_mult=1.2)


def ask(run: Path, text: str, device: str) -> Answer | SeveralAnswer:
    budgets = parse_named_budgets([text])
    return generate_for(run, budgets, [device], {}, greedy=False, display=Display())


def test_bytes_are_a_unit_where_the_device_is_memory(cpu_run: Path) -> None:
    answer = ask(cpu_run, "5.5MB", device="memory")
    assert isinstance(answer, Answer) and answer.cost <= answer.budget == 5.5e6


@pytest.mark.parametrize(
    ("text", "column", "says"),
    [
        ("params=6ms", None, "the budget 6 of params has the unit ms; give the number alone"),
        ("cpu=6MB", None, "of cpu has the unit B; give it in ms"),
        ("mJ=5ms", "mJ", "of mJ has the unit ms; give the number alone"),
        ("latency_ms=5B", "latency_ms", "has the unit B; give it in ms"),
        ("latency_ms=5ms", "latency_ms", ""),
        ("mJ=5", "mJ", ""),
        ("memory=5MB", "memory", ""),
    ],
)
def test_units_are_those_of_the_costs(text: str, column: str | None, says: str) -> None:
    budgets = parse_named_budgets([text])
    if not says:
        return check_units(budgets, column)
    with pytest.raises(PnagError, match=says):
        check_units(budgets, column)


def test_the_own_cost_is_called_after_what_networks_run_on() -> None:
    for runtime, name in (
        ("onnxruntime", "cpu"),
        ("openvino", "cpu"),
        ("openvino:GPU", "gpu"),
        ("openvino-int8:GPU.1", "gpu"),
        ("openvino:NPU", "npu"),
        ("cuda", "gpu"),
        ("cuda-batch1", "gpu"),
        ("tensorrt", "gpu"),
        ("executorch", "cpu"),
        ("executorch-adb", "phone"),
    ):
        assert device_name(runtime) == name
    recipe = make_recipe({"latency": {"runtime": "executorch-adb"}})
    assert own_names(recipe, None) == ("latency", "ms", "phone")
    table = {"path": "t.csv", "accuracy": "a", "cost": "pixel", "further_costs": ["ms"]}
    of_table = make_recipe({"source": "table", "table": table})
    assert own_names(of_table, "phone.csv") == ("latency",)  # ms stays the table's column


def test_reading_a_finished_run_needs_no_permission_to_write(
    cpu_run: Path, phone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = middle(cpu_run)
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert generate(cpu_run, {"": budget})
    assert generate(cpu_run, {"params": 7e6})
    with pytest.raises(PnagError, match=r"cannot keep a generator .* can write$"):
        generate(cpu_run, {"": 30}, (phone,))
    with pytest.raises(PnagError, match=r"or search without keeping anything \(--thorough\)"):
        generate(cpu_run, {"": 30, "phone": 20}, (f"phone={phone}",))


def test_a_run_that_is_not_finished_is_refused(cpu_run: Path, tmp_path: Path) -> None:
    stopped = tmp_path / "stopped"
    shutil.copytree(cpu_run, stopped, ignore=shutil.ignore_patterns("metrics.json", "devices"))
    with pytest.raises(PnagError, match="is not a finished run"):
        generate(stopped, {"": 30})


def test_the_command_that_exports_an_answer_makes_the_runs_network(tmp_path: Path) -> None:
    def options(values: dict[str, object], **size: object) -> str:
        save_recipe(Recipe.model_validate(values), tmp_path / "recipe.yaml")
        return export_options(tmp_path, size)

    table = {"path": "t.csv", "accuracy": "top1", "cost": "mJ"}
    assert options({}) == "--weights published"
    assert options({"published": False}) == ""
    assert options({"published": False}, resolution=192) == "--resolution 192"
    of_table = options({"source": "table", "table": table}, width_mult=1.2, num_classes=10)
    assert of_table == "--width-mult 1.2 --num-classes 10"
    of_family = {"source": "table", "table": table | {"family": "timm/efficientnet_lite0@64,96"}}
    assert options(of_family, num_classes=10) == (
        "--family timm/efficientnet_lite0@64,96 --num-classes 10"
    )
    images = {"source": "my photos", "classes": 5}
    assert options({"source": "images", "images": images, "seed": 3}) == (
        f"--weights {tmp_path}/supernet.safetensors --images 'my photos' --classes 5 --seed 3"
    )


def test_the_command_that_exports_an_answer_can_be_given_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("my run", "photos", "digits"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path)
    weights = f"--weights '{tmp_path}/my run/supernet.safetensors'"
    for source, named in (
        ("photos", f"{tmp_path}/photos"),
        ("./digits", f"{tmp_path}/digits"),
        ("digits", "digits"),
        ("user/flowers", "user/flowers"),
    ):
        recipe = make_recipe({"source": "images", "images": {"source": source}})
        save_recipe(recipe, Path("my run/recipe.yaml"))
        assert export_options(Path("my run"), {}) == f"{weights} --images {named}"


def test_the_command_prints_what_a_person_and_what_a_script_reads(cpu_run: Path) -> None:
    budget = f"{middle(cpu_run):.2f}ms"
    arguments = ["generate", str(cpu_run), "--budget", budget, "--budget", "params=7.5M"]
    printed = CliRunner().invoke(app, arguments)
    assert printed.exit_code == 0, printed.output
    assert "predicted accuracy 0." in printed.output and "params " in printed.output
    result = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert result["budgets"]["params"] == 7.5e6 and result["costs"]["params"] <= 7.5e6
    assert result["arch"] in printed.output
    wrong = CliRunner().invoke(app, ["generate", str(cpu_run), "--budget", "30 s"])
    assert wrong.exit_code == 2 and "must be a positive number" in wrong.output


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["30"], {"": 30}),
        (["cpu=30ms", "params=6M"], {"cpu": 30, "params": 6e6}),
        (["macs=0.3G", "memory=512KB", "memory2=5"], {"macs": 3e8, "memory": 512e3, "memory2": 5}),
        (["1.5e3", "params=.5k"], {"": 1500, "params": 500}),
    ],
)
def test_budgets_as_they_are_written(texts: list[str], expected: dict[str, float]) -> None:
    budgets = parse_named_budgets(texts)
    assert {name: budget.amount for name, budget in budgets.items()} == expected


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (["x"], "not 'x'"),
        (["-3"], "must be a positive number"),
        (["0"], "must be a positive number"),
        (["nan"], "must be a positive number"),
        (["1e999"], "must be a positive number"),
        (["params=6X"], "must be a positive number"),
        (["=3"], "must be a positive number"),
        (["3", "4"], "twice"),
        (["params=3", "params=4"], "has params twice"),
    ],
)
def test_budgets_that_are_none(texts: list[str], says: str) -> None:
    with pytest.raises(PnagError, match=says):
        parse_named_budgets(texts)
