"""The paper's tables beside our numbers, from made-up answers and times."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from torch import nn

from pnag.cost.front_calibration import AS_PREDICTED, FrontCalibration
from pnag.cost.latency_model import LatencyModel
from pnag.cost.latency_table import LatencyTable
from pnag.cost.runtimes import RUNTIMES, Entry
from pnag.cost.timing import Drift, Open
from pnag.deploy.zoo import PRINTED, ZOO
from pnag.errors import PnagError
from pnag.families import build, family
from pnag.files import write_json
from pnag.run.display import Display
from pnag.run.recipe import make_recipe, save_recipe, search_settings
from pnag.run.run_directory import RunDirectory
from pnag.run.search_stages import search_stages
from pnag.run.size import Size
from pnag.run.table_stages import imagenet_table_stage
from pnag.search.labels import Labels
from pnag.search.methods import Problem
from pnag.search.methods.evo import Evo, EvoSettings
from pnag.search.methods.multi_objective import MultiObjectiveSettings, nas_mo, ofa_mo
from pnag.search.methods.problem import infeasible
from pnag.search.policy_gradient import GeneratorSettings
from pnag.space import SearchSpace
from pnag.studies.paper import answers as answers_of_methods
from pnag.studies.paper.devices import (
    DEVICES,
    papers_architectures,
    printed_table,
    zoo_networks,
)
from pnag.studies.paper.experiment import held_study, run_experiment
from pnag.studies.paper.rows import rows_of_table
from pnag.studies.paper.study import Study, open_study, scaled_budgets
from pnag.studies.paper.table import COLUMNS, experiment_cells, markdown_table

SPACE = SearchSpace()
COST = LatencyModel(1.0, np.linspace(0.2, 0.8, 90))


def made_up_study(path: Path, device: str) -> Study:
    labels = Labels(SPACE, COST, COST)
    tokens = SPACE.sample(20, np.random.default_rng(0))
    problem = Problem(SPACE, tokens, COST.predict(tokens), COST.predict(tokens), labels)
    budgets = scaled_budgets(DEVICES[device], device, labels, AS_PREDICTED)
    run = RunDirectory(path)
    return Study(device, run, make_recipe({}), problem, AS_PREDICTED, budgets, path / "experiment")


@pytest.mark.parametrize("device", DEVICES)
def test_budgets_leave_as_much_room_as_the_papers(device: str) -> None:
    budgets = scaled_budgets(DEVICES[device], device, Labels(SPACE, COST, COST), AS_PREDICTED)
    archs = papers_architectures(device)
    assert tuple(sorted(archs)) == DEVICES[device].budgets
    printed = {row.name: row.latency_ms for row in printed_table(DEVICES[device])}
    for theirs, ours in zip(DEVICES[device].budgets, budgets, strict=True):
        cost = float(COST.predict(SPACE.encode([archs[theirs]]))[0])
        took = printed.get(f"PNAG-{theirs:g}") or theirs
        assert ours / cost == pytest.approx(theirs / took, rel=0.006)


@pytest.mark.parametrize(
    ("device", "notes"),
    [
        ("cpu", ["1. neither timm nor pytorchcv has it", "6.9M params",
                 "not at 224x224; here timed and counted at 260x260"]),
        ("gpu", ["1. neither timm nor pytorchcv has it", "5.7M params", "counted at 240x240"]),
    ],
)  # fmt: skip
def test_every_printed_row_stands_there_with_our_numbers(
    device: str, notes: list[str], tmp_path: Path
) -> None:
    study = made_up_study(tmp_path, device)
    texts = SPACE.text(SPACE.sample(5, np.random.default_rng(1)))
    answers: dict[str, list[dict[str, Any]]] = {
        method: [
            {"budget": b, "arch": a, "accuracy": 0.7, "cost": b, "draws": [b, 2 * b]}
            for b, a in zip(study.budgets, texts, strict=True)
        ]
        for method in ("pnag", "evo", "nas-mo", "ofa-mo")
    }
    timed = {"milliseconds": 5.0, "spread": 0.01}
    times = {"networks": dict.fromkeys([*texts, *(n.key for n in zoo_networks(device))], timed)}
    rows = rows_of_table(study, answers, times)
    printed = [row for row in PRINTED if row.table == DEVICES[device].table]
    assert [row["name"] for row in rows if "printed" in row] == [row.name for row in printed]
    assert sum("found here" in row["name"] for row in rows) == 10
    names = [row["name"] for row in rows]
    for budget, ours, last in zip(study.paper.budgets, study.budgets, texts, strict=True):
        place = names.index(f"PNAG-{budget:g}")
        assert names[place + 1 : place + 3] == [
            f"{method}-{budget:g}, found here" for method in ("PNAG", "OFA-MO")
        ]
        assert {(row["arch"], row["budget"]) for row in rows[place + 1 : place + 3]} == {
            (last, ours)
        }
    for row in rows:
        cells = experiment_cells(row)
        assert len(cells) == len(COLUMNS)
        if row["group"] is None:
            assert row["note"] and "milliseconds" not in row
        else:
            assert row["milliseconds"] == 5.0 and row["params_m"] > 1
    evo = next(row for row in rows if row["name"].startswith("EVO-"))
    assert evo["budget"] == study.budgets[0] and evo["top1"] == 0.7
    text = markdown_table(rows)
    assert text.count("\n| ") == 1 + len(rows)  # the line below the header, and the rows
    for note in notes:
        assert note in text
    assert text.count("**PNAG-") == 5 and "**OFA-MO" not in text  # ours stand out


@dataclass(frozen=True)
class MadeUp:
    """A phone on which a network takes as long as it has parameters and its images pixels."""

    threads: int = 1
    adb: str = ""
    batch: int = 1
    version: ClassVar[str] = "1"
    used: ClassVar[list[str]] = []

    def identity(self) -> dict[str, str | int]:
        return {"device": "made up", "runtime": "made-up", "version": self.version,
                "threads": self.threads, "batch": self.batch}  # fmt: skip

    def prepare(self, network: nn.Module, input_shape: tuple[int, ...]) -> Open:
        self.used.append(self.adb)
        return lambda: lambda runs: [milliseconds(network, input_shape[-1])] * runs


def milliseconds(network: nn.Module, resolution: int) -> float:
    return sum(p.numel() for p in network.parameters()) * resolution**2 / 1e10


@pytest.fixture
def small_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run on the made-up phone, and methods that search for a moment."""
    entry = Entry(__name__, "MadeUp", "", phone=True)
    monkeypatch.setitem(RUNTIMES, "made-up", entry)
    monkeypatch.setattr(MadeUp, "used", [])
    generator = {"iterations": 3, "samples": 8, "refine_steps": 1, "hidden": 8}
    moment = MultiObjectiveSettings(generator=GeneratorSettings(**generator))  # type: ignore[arg-type]
    methods = {
        "evo": partial(Evo, settings=EvoSettings(population=8, generations=2)),
        "nas-mo": partial(nas_mo, settings=moment),
        "ofa-mo": partial(ofa_mo, settings=moment),
    }
    monkeypatch.setattr("pnag.studies.paper.answers.get_method", methods.__getitem__)
    recipe = make_recipe(
        {
            "architectures": 200,
            "resolutions": [224],
            "latency": {"runtime": "made-up", "adb": "R58N", "rounds": 3},
            "evaluator": {"steps": 3, "hidden": 8},
            "generator": generator,
            "front": {"budgets": 8, "draws": 8, "rounds": 4, "children": 64},
        }
    )
    run = RunDirectory(tmp_path / "run")
    identity = MadeUp().identity() | Size().identity()
    LatencyTable(identity, drift=Drift([4.0])).save(run.latency_table)
    COST.save(run.latency_model)
    imagenet_table_stage(run, Size(), recipe.architectures, recipe.seed, Display())
    search_stages(run, SPACE, search_settings(recipe), recipe.seed, Display())
    save_recipe(recipe, run.recipe)
    write_json(run.metrics, {})
    return run.path


def test_an_experiment_from_a_small_run(
    small_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with held_study(small_run, "cpu", []) as study:
        found = run_experiment(study, Display())
        with pytest.raises(PnagError, match="in use by"), held_study(small_run, "gpu", []):
            pass
    rows = {row["name"]: row for row in found["rows"]}
    assert len(rows) == 26 + 2 * 5
    reference = milliseconds(build(family().middling), 224)
    for name, key in (("PNAG-50", "pnag-cpu-50"), ("OFA*", "ofa-note10-64")):
        network = ZOO[key]
        took = 4.0 * milliseconds(network.build(), network.resolution) / reference
        assert rows[name]["milliseconds"] == pytest.approx(took)
        assert rows[name]["macs_m"] == network.counts().conv_macs / 1e6
    assert rows["OFA*"]["note"].endswith("here timed and counted at 260x260")
    for method in ("EVO-40", "NAS-MO-40", "PNAG-40, found here", "OFA-MO-40, found here"):
        assert rows[method]["budget"] == study.budgets[2]
        took = 4.0 * milliseconds(build(rows[method]["arch"]), 224) / reference
        assert rows[method]["milliseconds"] == pytest.approx(took)
    assert set(MadeUp.used) == {"R58N"}  # the phone that the run was told
    assert json.loads((study.folder / "experiment.json").read_text())["rows"] == found["rows"]
    text = (study.folder / "table.md").read_text()
    assert "made-up 1, 1 thread(s), batch 1, 224x224 where no note says otherwise" in text
    assert len(list((study.folder / "figures").glob("*.svg"))) == 7
    assert "OFA-MO-40, found here" in study.page.read_text()

    timed = len(MadeUp.used)
    capsys.readouterr()
    run_experiment(open_study(small_run, "cpu", []), Display())
    assert capsys.readouterr().out.count("reused") == 5 and len(MadeUp.used) == timed

    # Times of another runtime do not compare with the run's, and it says so before it searches.
    monkeypatch.setattr(MadeUp, "version", "2")
    with pytest.raises(PnagError, match=r"another version \(1, not 2\)"):
        open_study(small_run, "cpu", [])
    monkeypatch.setattr(MadeUp, "version", "1")
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "pytorchcv" else find_spec(name)
    )
    with pytest.raises(PnagError, match=r"proxylessnas-cpu cannot be built: .*pnag\[zoo\]"):
        open_study(small_run, "cpu", [])


def test_any_budgets_come_after_the_papers_rows(tmp_path: Path) -> None:
    study = replace(made_up_study(tmp_path, "cpu"), budgets=(4.0, 5.0))
    archs = SPACE.text(SPACE.sample(2, np.random.default_rng(1)))
    answers: dict[str, list[dict[str, Any]]] = {
        method: [
            {"budget": budget, "arch": arch, "accuracy": 0.7}
            for budget, arch in zip(study.budgets, archs, strict=True)
        ]
        for method in ("pnag", "evo", "nas-mo", "ofa-mo")
    }
    timed = {"milliseconds": 5.0, "spread": 0.01}
    times = {"networks": dict.fromkeys([*archs, *(n.key for n in zoo_networks("cpu"))], timed)}
    rows = rows_of_table(study, answers, times)
    assert [row["name"] for row in rows[26:]] == [
        f"{method}-{budget}, found here"
        for budget in (4, 5)
        for method in ("PNAG", "EVO", "NAS-MO", "OFA-MO")
    ]
    evo = next(row for row in rows if row["name"] == "EVO-30")
    assert evo["group"] is None and "its architecture is not published" in evo["note"]


def test_a_budget_that_a_method_cannot_hold_is_named_as_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Helpless:
        def answer(self, budget: float) -> None:
            raise infeasible(budget, 2.0)

    study = replace(
        made_up_study(tmp_path, "cpu"), budgets=(7.5,),
        calibration=FrontCalibration(1.0, 2.0, [], []),
    )  # fmt: skip
    monkeypatch.setattr(answers_of_methods, "get_method", lambda name: lambda *_: Helpless())
    with pytest.raises(PnagError, match=r"EVO finds nothing within 7\.5 ms; ask for larger --budg"):
        answers_of_methods._searched(study, "evo", lambda done, total: None)


def test_what_is_no_finished_run_is_refused(tmp_path: Path) -> None:
    for device, path, message in (
        ("tpu", tmp_path, "cpu, gpu, mobile"),
        ("cpu", tmp_path / "none", "no run directory"),
        ("cpu", tmp_path, "not a run directory"),
    ):
        with pytest.raises(PnagError, match=message):
            open_study(path, device, [])
