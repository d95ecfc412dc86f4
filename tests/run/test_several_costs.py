"""A run of several costs: one f for all of them, and answers to budgets of any of them at once."""

from __future__ import annotations

import io
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from small_runs import SPACE, call, own_table

from pnag.commands.bodies import generate as generating
from pnag.commands.bodies.several import LoadedRun, answer_several
from pnag.cost.block_csv import write_block_csv
from pnag.cost.latency_model import LatencyModel
from pnag.cost.load import load_cost
from pnag.errors import PnagError
from pnag.families import family
from pnag.files import read_json
from pnag.run.display import Display
from pnag.run.further_costs import further_costs
from pnag.run.recipe import load_recipe, make_recipe
from pnag.run.run_directory import RunDirectory
from pnag.run.trained import load_front, load_generator, load_labels, load_vector_front
from pnag.search.sources import SOURCES

CELLS = SPACE.features(SPACE.encode(own_table()["arch"]))
PIXEL = np.random.default_rng(5).uniform(0.1, 1, SPACE.num_features)


@pytest.fixture(scope="module")
def several_run(tmp_path_factory: pytest.TempPathFactory, recipe: Path) -> Path:
    """By two columns, whose second one is another sum of the choices."""
    folder = tmp_path_factory.mktemp("several")
    own_table().assign(pixel=1 + CELLS @ PIXEL).to_csv(folder / "t.csv", index=False)
    done = call("run", "--table", folder / "t.csv", "--accuracy", "top1", "--cost", "ms,pixel",
                "--out", folder / "run", "--recipe", recipe)  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert "first answers, from the table alone" in done.stdout + done.stderr
    return folder / "run"


def generate(run: Path, *budgets: str, options: tuple[str, ...] = ()) -> dict[str, object]:
    given = [part for budget in budgets for part in ("--budget", budget)]
    done = call("generate", run, *given, *options, "--json")
    assert done.exit_code == 0, done.stderr
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def test_the_generator_and_the_front_are_of_both(several_run: Path) -> None:
    run = RunDirectory(several_run)
    assert load_generator(run.generator, SPACE).embedding.budgets.shape == (10, 2)
    known = load_vector_front(run, SPACE)
    assert np.allclose(known.costs, load_labels(run, SPACE).costs(known.tokens))
    assert {"accuracy", "cost", "pixel"} == set(read_json(run.prediction_errors))
    for answer in read_json(run.answers):
        assert answer["from"] in SOURCES
    for answer in read_json(run.metrics)["answers"]:
        assert answer["from"] in SOURCES


def test_any_of_the_budgets_together_are_held(several_run: Path) -> None:
    frame = own_table().assign(pixel=1 + CELLS @ PIXEL)
    ms, pixel = (float(frame[name].quantile(0.4)) for name in ("ms", "pixel"))
    both = generate(several_run, f"{ms}", f"pixel={pixel}")
    assert both["costs"]["ms"] <= ms and both["costs"]["pixel"] <= pixel  # type: ignore[index]
    assert both["from"] in SOURCES
    alone = generate(several_run, f"pixel={pixel}")
    assert set(alone["costs"]) == {"pixel"}  # type: ignore[call-overload]
    assert alone["accuracy"] >= both["accuracy"] - 1e-4  # type: ignore[operator]
    long = generate(several_run, f"ms={ms}", f"pixel={pixel}", options=("--thorough",))
    assert long["accuracy"] <= both["accuracy"] + 0.002  # type: ignore[operator]
    for options in ((), ("--thorough",)):  # one budget has one cost, however it is found
        own = generate(several_run, f"{ms}", options=options)
        assert own["cost"] <= ms and own["from"] in SOURCES  # type: ignore[operator]


def test_the_margin_is_left_free_of_the_own_budget(several_run: Path) -> None:
    run = RunDirectory(several_run, reading=True)
    recipe = make_recipe(load_recipe(run.recipe))
    loaded = replace(LoadedRun.of(run, recipe, "ms"), margin=0.2)
    said = io.StringIO()
    display = Display(Console(file=said, width=200))
    costs = loaded.labels.costs(SPACE.sample(200, np.random.default_rng(1)))
    asked = dict(zip(("ms", "pixel"), np.quantile(costs, 0.5, axis=0).tolist(), strict=True))
    for found in (loaded.quick(asked), answer_several(loaded, asked, {}, display)):
        assert found is not None and found.budgets == asked
        assert found.costs["ms"] <= asked["ms"] / 1.2 and found.costs["pixel"] <= asked["pixel"]
    assert "without the margin" not in said.getvalue()
    # Less than the margin above the cheapest architecture.
    least = 1.1 * load_front(run.front, SPACE).cost[0]
    tight = answer_several(loaded, {"ms": least, "pixel": 1e9}, {}, display)
    assert tight.costs["ms"] <= least and "without the margin" in said.getvalue()
    assert "without the margin" in tight.as_json()["note"] and "note" not in found.as_json()
    said.truncate(0)
    with pytest.raises(PnagError, match="no architecture is within"):
        answer_several(loaded, {"ms": least / 2, "pixel": 1e9}, {}, display)
    assert "without the margin" not in said.getvalue()


def test_the_answer_takes_no_longer_than_it_may(several_run: Path) -> None:
    recipe = make_recipe(load_recipe(several_run / "recipe.yaml"))
    loaded = LoadedRun.of(RunDirectory(several_run, reading=True), recipe, "ms")
    costs = loaded.labels.costs(SPACE.sample(20, np.random.default_rng(1))).tolist()
    found = [loaded.quick({"ms": ms, "pixel": pixel}) for ms, pixel in costs]
    assert all(one is not None for one in found)
    began = time.process_time()
    loaded.quick({"ms": costs[0][0], "pixel": costs[0][1]})
    assert time.process_time() - began < 1  # 0.03 s on a quiet core


def test_another_device_keeps_the_tables_further_costs(
    several_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = family().blocks()
    phone = LatencyModel(3.0, np.linspace(0.1, 2, len(blocks)), family())
    write_block_csv(several_run.parent / "phone.csv", phone, resolution=224, num_classes=1000)
    frame, tokens = own_table(), SPACE.encode(own_table()["arch"])
    budgets = {"latency": phone.predict(tokens), "pixel": 1 + CELLS @ PIXEL,
               "params": load_cost("params").predict(tokens)}  # fmt: skip
    limits = {name: float(np.quantile(costs, 0.6)) for name, costs in budgets.items()}
    monkeypatch.setattr(generating, "answer_several", lambda *a: pytest.fail("searched long"))
    options = ("--device", str(several_run.parent / "phone.csv"))
    found = generate(several_run, *(f"{n}={v}" for n, v in limits.items()), options=options)
    costs: dict[str, float] = found["costs"]  # type: ignore[assignment]
    one = SPACE.encode([str(found["arch"])])
    pixel = load_labels(RunDirectory(several_run, reading=True), SPACE).further[0]
    assert costs["latency"] == pytest.approx(phone.predict(one)[0])
    assert costs["pixel"] == pytest.approx(pixel.predict(one)[0])
    assert all(costs[name] <= limit for name, limit in limits.items())
    within = np.all([budgets[name] <= limit for name, limit in limits.items()], axis=0)
    assert found["accuracy"] > frame["top1"][within].max() - 1e-3  # type: ignore[operator]
    (folder,) = (several_run / "devices").iterdir()
    kept = RunDirectory(folder, reading=True)
    assert list(further_costs(kept)) == ["params", "macs", "memory", "pixel"]
    columns = pd.read_parquet(kept.table)
    assert np.allclose(columns["pixel"], 1 + CELLS @ PIXEL)  # measured, not predicted
    assert np.allclose(columns["cost"], phone.predict(tokens))


def test_mistakes_are_told(several_run: Path, recipe: Path) -> None:
    done = call("generate", several_run, "--budget", "pixel=0.001")
    assert done.exit_code == 2 and "no architecture is within the budget pixel" in done.stderr
    done = call("generate", several_run, "--budget", "30", "--budget", "pixels=3")
    assert done.exit_code == 2 and "there is no cost 'pixels'" in done.stderr
    assert "ms, pixel, params" in done.stderr
    table = several_run.parent / "t.csv"
    given = ("run", "--table", table, "--accuracy", "top1", "--out", several_run.parent / "other")
    done = call(*given, "--cost", "ms", "--cost", "ms")
    assert done.exit_code == 2 and "'ms' is named twice" in done.stderr
    done = call(*given, "--cost", "ms,watts")
    assert done.exit_code == 2 and "no column 'watts'" in done.stderr
    pd.read_csv(table).rename(columns={"pixel": "cost"}).to_csv(table.with_name("u.csv"))
    done = call("run", "--table", table.with_name("u.csv"), "--accuracy", "top1", "--cost",
                "ms,cost", "--out", several_run.parent / "other")  # fmt: skip
    assert done.exit_code == 2 and "cannot be called 'cost'" in done.stderr
