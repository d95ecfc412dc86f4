"""A search of anything that has choices, an accuracy and costs: no networks, no text form."""

from __future__ import annotations

import itertools
import json
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.text import Text
from small_runs import QUICK, call

from pnag.report.terminal import architecture_lines
from pnag.run.recipe import make_recipe, search_settings
from pnag.search.methods import METHODS
from pnag.search.methods.pnag_method import pnag as pnag_method

ACTS = ("relu", "gelu", "swish")


def table(rows: int) -> pd.DataFrame:
    """Layers of which the third has a width only where there is one; an activation; a rate."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "layers": rng.integers(1, 4, rows),
            "first": rng.choice([16, 32, 64], rows),
            "act": rng.choice(ACTS, rows),
            "dropout": rng.choice([0.0, 0.1, 0.25, 0.5], rows),
            "groups": rng.choice([1, 2, 4], rows),
        }
    )
    frame["second"] = np.where(frame["layers"] > 1, rng.choice([8, 16, 48], rows), np.nan)
    frame["third"] = np.where(frame["layers"] > 2, rng.choice([8, 24], rows), np.nan)
    frame = frame.drop_duplicates(
        ["layers", "first", "act", "dropout", "groups", "second", "third"]
    )
    width = frame["first"] + frame["second"].fillna(0) + frame["third"].fillna(0)
    gain = frame["act"].map({"relu": 0.0, "gelu": 0.03, "swish": 0.02}) - frame["dropout"] / 10
    frame["score"] = 0.6 + 0.05 * np.log(width) + gain - 0.005 * frame["groups"]
    frame["watts"] = 1 + width / 20 + frame["act"].map({"relu": 0.0, "gelu": 0.5, "swish": 0.2})
    frame["mb"] = 2 + width / 30 / frame["groups"]
    return frame


COLUMNS = "layers,first,second,third,act,dropout,groups"


def test_answers_are_rows_of_choices(tmp_path: Path, recipe: Path) -> None:
    frame = table(500)
    frame.to_csv(tmp_path / "t.csv", index=False)
    out = tmp_path / "run"
    given = ("run", "--table", tmp_path / "t.csv", "--accuracy", "score", "--cost", "watts,mb",
             "--choices", COLUMNS, "--out", out, "--recipe", recipe, "--rounds", 1, "--per-round",
             5)  # fmt: skip
    done = call(*given)
    assert done.exit_code == 0, done.stderr
    assert "fill in score, watts and mb in" in " ".join((done.stdout + done.stderr).split())
    answers = json.loads((out / "architectures.json").read_text())
    assert len(answers) == 5
    for answer in answers:
        row = answer["choices"]
        assert list(row) == COLUMNS.split(",") and "arch" not in answer
        assert row["act"] in ACTS and row["first"] in (16, 32, 64)
        assert (row["second"] is None) == (row["layers"] < 2)
        assert (row["third"] is None) == (row["layers"] < 3)
        assert answer["cost"] <= answer["budget"]
    assert "report " in done.stdout and "Answers" in (out / "report.html").read_text()
    written = call("report", out, "--out", tmp_path / "again.html", "--figures", tmp_path / "figs")
    assert written.exit_code == 0, written.stderr
    assert (tmp_path / "again.html").read_text() == (out / "report.html").read_text()
    assert {path.stem for path in (tmp_path / "figs").glob("*.svg")} == {
        "accuracy_over_cost", "training"
    }  # fmt: skip
    compared = call("compare", out)
    assert compared.exit_code == 2 and "own choices" in " ".join(compared.stderr.split())
    found = call("generate", out, "--budget", 5, "--budget", "mb=3.5", "--json")
    assert found.exit_code == 0, found.stderr
    both = json.loads(found.stdout)
    assert both["costs"]["watts"] <= 5 and both["costs"]["mb"] <= 3.5
    held = frame[(frame["watts"] <= 5) & (frame["mb"] <= 3.5)]
    assert both["accuracy"] >= held["score"].max() - 0.03
    asked = pd.read_csv(out / "rounds" / "round-1.csv")
    assert list(asked.columns) == [*COLUMNS.split(","), "score", "watts", "mb"]
    assert len(asked) == 5 and asked["score"].isna().all() and set(asked["act"]) <= set(ACTS)
    done = call("generate", out, "--budget", 5, "--budget", "params=3M")
    assert done.exit_code == 2 and "its costs are watts, mb" in " ".join(done.stderr.split())


def test_a_small_budget_of_a_cost_that_is_a_product_is_held_or_refused(
    tmp_path: Path, recipe: Path
) -> None:
    """A plain fit predicts negative costs of such a table."""
    choices = itertools.product([1, 2, 4, 8], [8, 16, 32, 64], [16, 24, 32], [3, 5, 7])
    frame = pd.DataFrame(list(choices), columns=["depth", "width", "pixels", "kernel"])

    def milliseconds(rows: pd.DataFrame) -> pd.Series[float]:
        return rows["depth"] * rows["width"] ** 2 * rows["pixels"] * rows["kernel"] / 1e4

    frame["ms"] = milliseconds(frame)
    frame["score"] = 0.5 + 0.03 * np.log(frame["ms"]) + 0.01 * frame["kernel"]
    seen = frame.sample(90, random_state=0)
    seen.to_csv(tmp_path / "t.csv", index=False)
    out, lowest = tmp_path / "run", frame["ms"].min()
    done = call("run", "--table", tmp_path / "t.csv", "--accuracy", "score", "--cost", "ms",
                "--choices", "depth,width,pixels,kernel", "--out", out, "--recipe",
                recipe)  # fmt: skip
    assert done.exit_code == 0, done.stderr
    found = call("generate", out, "--budget", 3 * lowest, "--json")
    assert found.exit_code == 0, found.stderr
    answer = json.loads(found.stdout)
    assert 0 < answer["cost"] <= 3 * lowest
    assert milliseconds(pd.DataFrame([answer["choices"]])).item() <= 1.1 * 3 * lowest
    refused = call("generate", out, "--budget", 0.5 * lowest)
    assert refused.exit_code == 2 and "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("choices", "says"),
    [
        ("layers,colour", "has no column 'colour'"),
        ("layers,score", "'score' is named twice"),
        ("layers,act,act", "'act' is named twice"),
        ("layers,one", "'one' is the same in every row"),
    ],
)
def test_mistakes_are_told(tmp_path: Path, recipe: Path, choices: str, says: str) -> None:
    table(80).assign(one=1).to_csv(tmp_path / "t.csv", index=False)
    table_of = ("--table", tmp_path / "t.csv", "--accuracy", "score", "--cost", "watts",
                "--choices", choices)  # fmt: skip
    done = call("run", *table_of, "--out", tmp_path / "run", "--recipe", recipe)
    assert done.exit_code == 2 and says in " ".join(done.stderr.split())
    searched = call("search", *table_of, "--budgets", 4)
    assert searched.exit_code == 2 and searched.stderr.split()[1:] == done.stderr.split()[1:]


@pytest.mark.parametrize("method", ["random", "evo", "pnag", "nas-mo", "ofa-mo", "nsga2"])
def test_methods_search_rows_of_choices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    if method == "nsga2":
        pytest.importorskip("pymoo")
    quick = make_recipe({name: QUICK[name] for name in ("evaluator", "generator", "front")})
    settings = search_settings(quick)
    monkeypatch.setitem(METHODS, "pnag", partial(pnag_method, settings=settings))
    frame = table(300).replace({"act": {"swish": "[red]"}})
    frame.to_csv(tmp_path / "t.csv", index=False)
    command = ("search", "--table", tmp_path / "t.csv", "--accuracy", "score", "--cost", "watts",
               "--choices", COLUMNS, "--budgets", "4,5", "--method", method)  # fmt: skip
    done = call(*command, "--json")
    assert done.exit_code == 0, done.stderr
    answers = json.loads(done.stdout)
    assert [answer["budget"] for answer in answers] == [4, 5]
    for answer in answers:
        row = answer["choices"]
        assert list(row) == COLUMNS.split(",") and "arch" not in answer
        assert row["act"] in ("relu", "gelu", "[red]") and row["first"] in (16, 32, 64)
        assert (row["second"] is None) == (row["layers"] < 2)
        assert (row["third"] is None) == (row["layers"] < 3)
        assert answer["cost"] <= answer["budget"] or "more than the budget" in answer["note"]


def test_brackets_in_values_are_shown() -> None:
    arch = '{"act": "[/relu]", "pool": "[max]"}'
    (line,) = architecture_lines({"answers": [{"budget": 4.0, "arch": arch}]})
    assert Text.from_markup(line).plain == f"4  {arch}"


def test_what_search_prints_of_rows_of_choices(tmp_path: Path) -> None:
    """A name that looks like markup is shown, and `pnag compare` says what it cannot draw."""
    frame = table(300)
    frame.assign(act="[red]" + frame["act"]).to_csv(tmp_path / "t.csv", index=False)
    command = ("search", "--table", tmp_path / "t.csv", "--accuracy", "score", "--cost", "watts",
               "--choices", COLUMNS, "--budgets", 5, "--method", "random")  # fmt: skip
    printed = call(*command)
    assert printed.exit_code == 0 and '"act": "[red]' in " ".join(printed.stdout.split())
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text(call(*command, "--json").stdout)
    compared = call("compare", tmp_path / "a.json", tmp_path / "b.json")
    assert compared.exit_code == 2 and "own choices" in " ".join(compared.stderr.split())
    family = call(*command, "--family", "ofa-mobilenetv3")
    assert family.exit_code == 2 and "belong to no family" in " ".join(family.stderr.split())


@pytest.mark.parametrize("width", [4, 13])
def test_a_table_that_has_all_asks_for_nothing(tmp_path: Path, recipe: Path, width: int) -> None:
    """Listed where rows are few; with more than 1,000, what mutants of the front there are."""
    axes = [range(1, width), range(1, width), range(1, 8)]
    frame = pd.DataFrame(list(itertools.product(*axes)), columns=list("abc"))
    frame["score"] = 0.5 + np.log(frame["a"] * frame["b"]) / 20 + frame["c"] / 100
    frame["watts"] = frame.sum(axis=1)
    frame.to_csv(tmp_path / "t.csv", index=False)
    given = ("run", "--table", tmp_path / "t.csv", "--accuracy", "score", "--cost", "watts",
             "--choices", "a,b,c", "--out", tmp_path / "run", "--recipe", recipe, "--rounds", 2,
             "--per-round", 3)  # fmt: skip
    done = call(*given)
    assert done.exit_code == 0, done.stderr
    assert "round 1 of 2 asks for nothing" in " ".join((done.stdout + done.stderr).split())
    assert not list((tmp_path / "run" / "rounds").glob("*.csv"))
