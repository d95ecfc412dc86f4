"""`pnag report` and `pnag compare` as a user gives them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from chromium import Chromium
from made_runs import unfinished_run
from typer.testing import CliRunner, Result

import pnag
from pnag.commands.main import app
from pnag.run.margin import answer_with_margin
from pnag.run.run_directory import RunDirectory
from pnag.run.trained import Answer, load_calibrated_front

SPACE = pnag.SearchSpace()


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_report_writes_the_page_anew(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "mine", tmp_path / "mine")
    (tmp_path / "mine" / "report.html").unlink()
    done = call("report", tmp_path / "mine", "--figures", tmp_path / "figures")
    assert done.exit_code == 0, done.output
    assert done.output.split()[0] == str(tmp_path / "mine" / "report.html")
    page = (tmp_path / "mine" / "report.html").read_text()
    assert len(page) > 10_000
    elsewhere = tmp_path / "new" / "r.html"  # of a run that cannot be written to
    done = call("report", tmp_path / "mine", "--out", elsewhere)
    assert done.output.split() == [str(elsewhere)] and elsewhere.read_text() == page
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert {"architectures.svg", "architectures.png", "accuracy_over_cost.svg"} <= names
    assert len(names) == 10
    drawing = (tmp_path / "figures" / "architectures.svg").read_text()
    answers = json.loads((runs / "mine" / "metrics.json").read_text())["answers"]
    depths = sum(sum(pnag.Architecture.parse(a["arch"]).depths) for a in answers)
    assert sum(drawing.count(f"{k}×{k} e{w}<") for k in (3, 5, 7) for w in (3, 4, 6)) == depths


def test_same_budgets_where_ranges_meet(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "both.html"
    done = call("compare", runs / "cpu", runs / "slower", "--out", out, "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.output)
    assert told["aligned_by"] == "budget" and told["unit"] == "ms"
    assert [run["name"] for run in told["runs"]] == ["cpu", "slower"]
    budgets = [row["budget"] for row in told["rows"]]
    assert budgets == sorted(budgets) and len(budgets) == 10
    for name in ("cpu", "slower"):
        front = load_calibrated_front(RunDirectory(runs / name), SPACE)
        margin = json.loads((runs / name / "metrics.json").read_text())["margin"]
        for row in told["rows"]:
            got = row["answers"][name]
            if row["budget"] < front.cost[0]:
                assert got is None
            else:
                expected = answer_with_margin(front, SPACE, row["budget"], margin)
                assert got["arch"] == expected.arch
    assert told["rows"][0]["answers"]["slower"] is None
    table = call("compare", runs / "cpu", runs / "slower", "--out", out)
    assert "cpu" in table.output and str(out) in table.output.replace("\n", "")


def test_same_place_where_ranges_do_not_meet(runs: Path, tmp_path: Path) -> None:
    done = call("compare", runs / "cpu", runs / "gpu", "--out", tmp_path / "p.html", "--json")
    told = json.loads(done.output)
    assert told["aligned_by"] == "place"
    assert [row["place"] for row in told["rows"]] == [0.2, 0.4, 0.6, 0.8, 1.0]
    for run in told["runs"]:
        assert told["rows"][-1]["answers"][run["name"]]["cost"] == run["dearest"]


def test_other_methods_come_as_files(runs: Path, tmp_path: Path) -> None:
    answers = json.loads((runs / "cpu" / "metrics.json").read_text())["answers"]
    worse = [
        {"budget": a["budget"], "arch": a["arch"], "accuracy": a["accuracy"] - 0.01,
         "cost": a["budget"]}  # all of it: the file's answers leave no margin
        for a in answers
    ]  # fmt: skip
    (tmp_path / "evo.json").write_text(json.dumps(worse))
    out = tmp_path / "p.html"
    done = call("compare", runs / "cpu", tmp_path / "evo.json", "--out", out, "--json")
    told = json.loads(done.output)
    assert told["unit"] == "ms" and len(told["rows"]) == 5
    for row in told["rows"]:
        gap = row["answers"]["cpu"]["accuracy"] - row["answers"]["evo"]["accuracy"]
        assert gap == pytest.approx(0.01)


def test_units_that_differ_or_are_unknown_are_said(runs: Path, tmp_path: Path) -> None:
    answers = json.loads((runs / "cpu" / "metrics.json").read_text())["answers"]
    for name, scale in (("evo", 1), ("percent", 100)):
        rows = [
            a | {"accuracy": scale * (a["accuracy"] - 0.01), "cost": a["budget"]} for a in answers
        ]
        (tmp_path / f"{name}.json").write_text(json.dumps(rows))
    out = tmp_path / "p.html"

    def told(*others: object) -> list[str]:
        done = call("compare", *others, "--out", out)
        assert done.exit_code == 0, done.output
        return [" ".join(text.split()) for text in (done.output, out.read_text())]

    for text in told(runs / "cpu", tmp_path / "evo.json"):
        assert "costs of evo is not known: compare them only if it is ms, too" in text
        assert f"{answers[0]['accuracy']:.2%}" in text and "units differ" not in text
    for text in told(runs / "cpu", tmp_path / "percent.json"):
        assert "Accuracies of percent are above 1" in text and "units differ" in text
        assert f"{answers[0]['accuracy']:.2%}" not in text
        assert f"{100 * (answers[0]['accuracy'] - 0.01):.5g}" in text
    assert "class='yes'" not in out.read_text() and "Bold: the best" not in out.read_text()
    for text in told(tmp_path / "evo.json", tmp_path / "percent.json"):
        assert "costs of evo, percent is not known" in text and "units differ" in text
    for text in told(runs / "cpu", runs / "slower"):
        assert "is not known" not in text and "units differ" not in text


def test_what_cannot_be_compared_without_care_is_said(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "in [ms]").mkdir()
    shutil.copytree(runs / "own", tmp_path / "in [ms]" / "[own]")
    metrics = tmp_path / "in [ms]" / "[own]" / "metrics.json"
    metrics.write_text(metrics.read_text().replace("energy (mJ)", "ms"))
    done = call("compare", runs / "cpu", metrics.parent, "--out", tmp_path / "p.html")
    assert done.exit_code == 0, done.output
    assert "[own]" in done.output  # no markup of the terminal's
    assert "tables of yours" in " ".join(done.output.split())
    assert "tables of yours" in (tmp_path / "p.html").read_text()


def test_mistakes_are_messages(runs: Path, tmp_path: Path) -> None:
    unfinished_run(tmp_path / "stopped")
    unfinished_run(tmp_path / "stopped too")
    (tmp_path / "empty").mkdir()
    (tmp_path / "some.json").write_text('[{"budget": 3}]')
    shutil.copytree(runs / "own", tmp_path / "damaged")
    (tmp_path / "damaged" / "metrics.json").write_text("[]")
    out = tmp_path / "no.html"
    for arguments, says in (
        (["report", tmp_path / "none"], "there is no run directory"),
        (["report", tmp_path / "empty"], "is not a run directory"),
        (["report", tmp_path / "stopped"], "is not a finished run"),
        (["report", tmp_path / "stopped too"], f"`pnag run --out '{tmp_path}/stopped too'`"),
        (["report", tmp_path / "damaged"], "does not hold a run's metrics"),
        (["compare", runs / "cpu"], "at least two"),
        (["compare", runs / "cpu", runs / "cpu"], "given twice"),
        (["compare", runs / "cpu", runs / "own"], "different units"),
        (["compare", runs / "cpu", tmp_path / "stopped"], "is not a finished run"),
        (["compare", runs / "cpu", tmp_path / "some.json"], "pnag search --json"),
        (["compare", runs / "cpu", tmp_path / "none"], "there is no run directory"),
    ):
        if arguments[0] == "compare":
            arguments += ["--out", out]
        done = call(*arguments)
        assert done.exit_code == 2 and isinstance(done.exception, SystemExit), done.exception
        assert says in " ".join(done.output.split())
    assert not out.exists()
    assert sorted(path.name for path in (tmp_path / "empty").iterdir()) == []


@pytest.mark.parametrize(("names", "width"), [("cpu,slower", 375), ("cpu,gpu,slower", 1280)])
def test_one_slider_for_all_runs(
    runs: Path, browser: Chromium, tmp_path: Path, names: str, width: int
) -> None:
    page = tmp_path / "compare.html"
    paths = [runs / name for name in names.split(",")]
    assert call("compare", *paths, "--out", page).exit_code == 0
    browser.errors.clear()
    browser.asked.clear()
    browser.open(page, width=width, dark=width == 375)
    assert browser.run("document.documentElement.scrollWidth") <= width
    commands = "[...document.querySelectorAll('#runs code')].map(c => c.textContent)"
    before = browser.run(commands)
    assert len(before) == len(paths)
    browser.run("document.getElementById('slider').focus()")
    browser.press("End", 35)
    after = browser.run(commands)
    for path, old, new in zip(paths, before, after, strict=True):
        front = load_calibrated_front(RunDirectory(path), SPACE)
        assert new.split()[2] == SPACE.text(front.tokens[-1:])[0] != old.split()[2]
    browser.press("Home", 36)
    for path, now in zip(paths, browser.run(commands), strict=True):
        front = load_calibrated_front(RunDirectory(path), SPACE)
        if path.name == "cpu" or len(paths) == 3:
            assert now.split()[2] in SPACE.text(front.tokens[: max(2, len(front.cost) // 10)])
    assert browser.errors == [] and browser.asked == [page.resolve().as_uri()]


def test_answers_keep_each_run_s_margin(runs: Path, tmp_path: Path) -> None:
    metrics = json.loads((runs / "cpu" / "metrics.json").read_text())
    both = [tmp_path / name for name in ("plain", "careful")]
    for path, margin in zip(both, (0.0, 0.1), strict=True):
        shutil.copytree(runs / "cpu", path)
        (path / "metrics.json").write_text(json.dumps(metrics | {"margin": margin}))
    done = call("compare", *both, "--out", tmp_path / "p.html", "--json")
    assert done.exit_code == 0, done.output
    front = load_calibrated_front(RunDirectory(runs / "cpu"), SPACE)
    for row in json.loads(done.output)["rows"]:
        plain, careful = (row["answers"][path.name] for path in both)
        assert plain == careful or careful["cost"] < plain["cost"]
        expected = answer_with_margin(front, SPACE, row["budget"], 0.1)
        assert careful["arch"] == expected.arch
    assert '"margin":0.1' in (tmp_path / "p.html").read_text().replace(" ", "")


def test_runs_on_images_answer_their_own_budgets_as_they_did(runs: Path, tmp_path: Path) -> None:
    """What they answer does not follow from the front alone, and is what they tuned."""
    both = [tmp_path / name for name in ("photos", "others")]
    for path, source in zip(both, ("photos", "flowers"), strict=True):
        shutil.copytree(runs / "mine", path)
        recipe = yaml.safe_load((path / "recipe.yaml").read_text())
        recipe["images"]["source"] = source
        (path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
        metrics = json.loads((path / "metrics.json").read_text())
        own = metrics["answers"][-1]
        other = metrics["answers"][0]
        own |= {name: other[name] for name in ("arch", "accuracy", "cost", "params", "macs")}
        (path / "metrics.json").write_text(json.dumps(metrics))
    done = call("compare", *both, "--out", tmp_path / "p.html", "--json")
    assert done.exit_code == 0, done.output
    (row,) = (r for r in json.loads(done.output)["rows"] if r["budget"] == own["budget"])
    assert row["answers"]["photos"]["arch"] == own["arch"]
    assert "Accuracies are of different kinds" in (tmp_path / "p.html").read_text()
    recipe["images"]["source"] = "photos"
    (both[1] / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    call("compare", *both, "--out", tmp_path / "p.html")
    assert "Accuracies are of different kinds" not in (tmp_path / "p.html").read_text()


def test_answers_of_another_family_say_so(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "timm/mobilenetv3_small_100"
    of = pnag.family(name)
    small, large = of.sample(2, np.random.default_rng(0))
    found = [Answer(2.5, small, 0.5, 1.0), Answer(4.5, large, 0.6, 3.0)]
    monkeypatch.setattr("pnag.commands.bodies.search.search_table", lambda *_: found)
    columns = ("--table", tmp_path / "t.csv", "--accuracy", "top1", "--cost", "ms")
    done = call("search", *columns, "--budgets", "2.5,4.5", "--family", name, "--json")
    assert done.exit_code == 0, done.stderr
    for file in ("small.json", "again.json"):
        (tmp_path / file).write_text(done.stdout)
    out = tmp_path / "p.html"
    done = call("compare", tmp_path / "small.json", tmp_path / "again.json", "--out", out, "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.output)["rows"][1]["answers"]["small"]
    assert told["arch"] == large
    assert told["params"] == of.count(large, resolution=224, num_classes=1000).params
