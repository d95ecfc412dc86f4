"""The part of a budget that answers leave free."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from small_runs import SPACE, call

from pnag.cost.latency_model import error_quantile
from pnag.errors import PnagError
from pnag.files import write_json
from pnag.run.margin import answer_with_margin, margin_of
from pnag.run.recipe import make_recipe
from pnag.run.run_directory import RunDirectory
from pnag.search.front import Front

FRONT = Front(
    SPACE.sample_unique(4, np.random.default_rng(0)),
    np.array([0.7, 0.72, 0.74, 0.76]),
    np.array([5.0, 6.0, 7.0, 8.0]),
)


def cost(budget: float, margin: float) -> float:
    return answer_with_margin(FRONT, SPACE, budget, margin, " ms").cost


def test_answers_hold_their_budget_if_they_take_longer_by_the_margin() -> None:
    assert cost(7.0, 0.0) == 7.0 and cost(7.0, 0.01) == 6.0
    assert cost(7.07, 0.01) == 7.0
    for budget in np.linspace(5.2, 9, 50):
        assert cost(budget, 0.03) * 1.03 <= budget
    assert answer_with_margin(FRONT, SPACE, 7.0, 0.01).budget == 7.0


def test_the_cheapest_answers_what_holds_without_the_margin_only() -> None:
    answer = answer_with_margin(FRONT, SPACE, 5.05, 0.02, " ms")
    assert answer.cost == 5.0 and "less than 2.0% above the cheapest" in answer.note
    assert not answer_with_margin(FRONT, SPACE, 5.2, 0.02, " ms").note
    with pytest.raises(PnagError, match=r"cheapest costs 5 ms; ask for at least 5"):
        answer_with_margin(FRONT, SPACE, 4.9, 0.02, " ms")


def test_a_budget_beyond_the_dearest_is_told() -> None:
    assert "no larger one is predicted" in answer_with_margin(FRONT, SPACE, 9, 0.02).note
    # the answer is not the dearest: a larger one is better
    assert not answer_with_margin(FRONT, SPACE, 8.2, 0.05).note


def test_the_margin_is_the_models_own_error_or_what_was_asked_for(tmp_path: Path) -> None:
    predicted = np.full(11, 10.0)
    measured = predicted * (1 + np.linspace(-0.05, 0.05, 11))
    assert error_quantile(list(predicted), list(measured), 0.9) == pytest.approx(0.05)
    assert error_quantile(list(predicted), list(measured), 0.5) == pytest.approx(0.03)
    run = RunDirectory(tmp_path)
    assert margin_of(run, None) == 0
    write_json(
        run.latency_error, {"predicted_ms": predicted.tolist(), "measured_ms": measured.tolist()}
    )
    assert margin_of(run, None) == 0  # of a run that measured before it took a table's costs
    write_json(run.latency_model, {})
    assert margin_of(run, None) == pytest.approx(0.05)
    assert margin_of(run, 0.01) == 0.01
    for wrong in (-0.1, 1.0):
        with pytest.raises(PnagError, match="margin is"):
            make_recipe({"margin": wrong})


def test_generate_keeps_the_margin_of_its_run(table_run: Path, recipe: Path) -> None:
    table = table_run.parent / "t.csv"
    out = table_run.parent / "with-margin"
    done = call("run", "--table", table, "--accuracy", "top1", "--cost", "ms", "--out", out,
                "--recipe", recipe, "--margin", 0.1)  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert "answers leave 10.0% for the prediction's error" in done.stdout
    for answer in json.loads(RunDirectory(out, reading=True).answers.read_text()):
        assert answer["cost"] * 1.1 <= answer["budget"]
        again = call("generate", out, "--budget", answer["budget"], "--json")
        assert json.loads(again.stdout)["arch"] == answer["arch"]
