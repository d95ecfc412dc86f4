"""A run's search: the one that the method `pnag` does, kept in the run's directory."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import pnag
from pnag.commands.bodies.search import problem_of
from pnag.cost.latency_model import LatencyModel
from pnag.cost.latency_table import LatencyTable
from pnag.cost.timing import Drift
from pnag.errors import PnagError
from pnag.files import read_json
from pnag.run.display import Display
from pnag.run.recipe import make_recipe, search_settings
from pnag.run.run_directory import RunDirectory
from pnag.run.search_stages import search_stages
from pnag.run.size import Size
from pnag.run.table_stages import imagenet_table_stage
from pnag.run.trained import load_evaluator, load_generator, load_labels
from pnag.search.methods.pnag_method import pnag as pnag_method
from pnag.search.pnag import NoStore, train_and_search

SPACE = pnag.SearchSpace()
RECIPE = make_recipe(
    {
        "architectures": 200,
        "resolutions": [224],
        "seed": 3,
        "trained_budgets": 4,
        "evaluator": {"steps": 8, "hidden": 24, "embedding": 8},
        "generator": {"iterations": 12, "samples": 8, "refine_every": 4, "refine_steps": 2,
                      "hidden": 16},
        "front": {"budgets": 8, "draws": 8, "rounds": 3, "children": 64},
    }
)  # fmt: skip
SETTINGS = search_settings(RECIPE)


def with_table(path: Path) -> RunDirectory:
    """A run that has come to its search, on made-up latencies."""
    run, size = RunDirectory(path), Size()
    LatencyTable(asdict(size), drift=Drift([1.0])).save(run.latency_table)
    LatencyModel(3.0, np.random.default_rng(0).uniform(0.05, 0.5, 90)).save(run.latency_model)
    imagenet_table_stage(run, size, RECIPE.architectures, RECIPE.seed, Display())
    return run


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    run = with_table(tmp_path_factory.mktemp("search") / "run")
    search_stages(run, SPACE, SETTINGS, RECIPE.seed, Display())
    return run


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    mine, yours = one.state_dict(), other.state_dict()
    return mine.keys() == yours.keys() and all(torch.equal(mine[k], yours[k]) for k in mine)


def test_a_run_and_the_method_are_one_search(searched: RunDirectory) -> None:
    problem = problem_of(pd.read_parquet(searched.table), load_labels(searched, SPACE))
    front = pd.read_parquet(searched.front)
    by_method = pnag_method(problem, RECIPE.seed, settings=SETTINGS)
    assert SPACE.text(by_method.front.tokens) == front["arch"].tolist()
    assert (by_method.front.accuracy == front["accuracy"]).all()
    seen: list[tuple[int, int]] = []
    taught, found = train_and_search(
        problem.tokens, problem.accuracy, problem.cost, problem.labels, SETTINGS,
        NoStore(SETTINGS, lambda done, total: seen.append((done, total))), RECIPE.seed,
    )  # fmt: skip
    assert seen == [(i + 1, 8 + 12 + 3) for i in range(8 + 12 + 3)]
    own = pd.read_parquet(searched.own_front)
    assert SPACE.text(found.own.tokens) == own["arch"].tolist()
    assert same(load_generator(searched.generator, SPACE), taught.generator)
    # The refined evaluator, which taught the generator, is what is kept.
    assert same(load_evaluator(searched.evaluator, SPACE), taught.evaluator)
    pretrained = load_evaluator(searched.pretrained_evaluator, SPACE)
    assert not same(pretrained, taught.evaluator)
    curve = read_json(searched.generator_curve)["accuracy_within_budget"]
    assert curve == [None if np.isnan(a) else a for a in taught.accuracies]


@pytest.mark.parametrize("part", ["train_evaluator", "train_generator", "find_front"])
def test_stopped_in_any_part_it_goes_on_to_the_same(
    part: str, searched: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = with_table(tmp_path / "run")

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(f"pnag.search.pnag.{part}", stop)
        with pytest.raises(KeyboardInterrupt):
            search_stages(run, SPACE, SETTINGS, RECIPE.seed, Display())
    done = {"train_evaluator": 0, "train_generator": 1, "find_front": 2}[part]
    kept = (run.pretrained_evaluator, run.generator, run.front)
    assert [path.exists() for path in kept] == [i < done for i in range(3)]
    search_stages(run, SPACE, SETTINGS, RECIPE.seed, Display())
    for name in ("pretrained_evaluator", "evaluator", "generator", "front", "own_front"):
        assert getattr(run, name).read_bytes() == getattr(searched, name).read_bytes()


def test_what_is_no_evaluator_is_refused(searched: RunDirectory) -> None:
    with pytest.raises(
        PnagError, match="does not hold the weights of this search space's evaluator"
    ):
        load_evaluator(searched.generator, SPACE)
