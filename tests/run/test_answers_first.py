"""Answers first, then f; where each comes from; counted costs for f of a run of a device."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_search_stages import RECIPE, SETTINGS, SPACE, with_table

from pnag.commands.bodies.several import LoadedRun
from pnag.cost.counted import COUNTED
from pnag.files import read_json
from pnag.run.display import Display
from pnag.run.further_costs import counted_costs_stage
from pnag.run.recipe import search_settings
from pnag.run.run import search_and_answer
from pnag.run.run_directory import RunDirectory
from pnag.run.search_stages import first_front_stage, search_stages
from pnag.run.size import Size
from pnag.run.trained import load_generator
from pnag.search.sources import SOURCES, sources_of


def test_there_are_answers_before_f(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = with_table(tmp_path / "run")

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("pnag.search.pnag.train_evaluator", stop)
        with pytest.raises(KeyboardInterrupt):
            search_and_answer(run, RECIPE, None, Display())
    first = read_json(run.answers)
    assert len(first) == 5 and {a["from"] for a in first} <= {"table", "local search"}
    assert all(a["cost"] <= a["budget"] for a in first)
    answers = search_and_answer(run, RECIPE, None, Display())
    assert not first_front_stage(run, SPACE, SETTINGS, RECIPE.seed, Display())  # it is there
    assert {a.source for a in answers} <= set(SOURCES)


def test_with_the_papers_front_all_answers_are_those_of_f(tmp_path: Path) -> None:
    settings = replace(SETTINGS, front=replace(SETTINGS.front, rounds=0, table=False))
    run = with_table(tmp_path / "run")
    assert not first_front_stage(run, SPACE, settings, RECIPE.seed, Display())
    search_stages(run, SPACE, settings, RECIPE.seed, Display())
    assert set(pd.read_parquet(run.front)["from"]) == {"f"}


def test_f_of_a_device_takes_budgets_of_what_is_counted(tmp_path: Path) -> None:
    run = with_table(tmp_path / "run")
    vectors = replace(RECIPE.vectors, vectors=64, rounds=2, children=64)
    recipe = RECIPE.model_copy(update={"vectors": vectors})
    counted_costs_stage(run, Size(), Display())
    search_stages(run, SPACE, search_settings(recipe), recipe.seed, Display())
    assert load_generator(run.generator, SPACE).embedding.budgets.shape == (4, 4)
    known = pd.read_parquet(run.vector_front)
    assert list(known.columns) == ["arch", "accuracy", "cost", *COUNTED, "from"]
    loaded = LoadedRun.of(RunDirectory(run.path, reading=True), recipe, "latency")
    row = known.iloc[len(known) // 2]
    answer = loaded.quick({"latency": 1.02 * row["cost"], "params": row["params"]})
    assert answer is not None and answer.accuracy >= row["accuracy"] - 1e-6
    assert answer.costs["latency"] <= 1.02 * row["cost"] and answer.costs["params"] <= row["params"]
    assert loaded.quick({"params": 1.0}) is None


def test_where_architectures_come_from() -> None:
    tokens = SPACE.sample_unique(4, np.random.default_rng(0))
    places = sources_of(tokens, tokens[[0, 1]], tokens[[1, 2]])
    assert [SOURCES[place] for place in places] == ["table", "table", "f", "local search"]
