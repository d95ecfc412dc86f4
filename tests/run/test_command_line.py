"""`pnag` as a user runs it on a table: reuse, and every mistake we can think of."""

from __future__ import annotations

import errno
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import typer
import yaml
from small_runs import SPACE, call, own_table, table_arguments
from stopped_runs import with_a_full_disk

import pnag
import pnag.__main__
from pnag.commands.bodies.run import default_out
from pnag.commands.main import mistakes_are_messages
from pnag.errors import PnagError
from pnag.families import count_batch, family
from pnag.files import write_text
from pnag.run import table_stages
from pnag.run.recipe import Recipe, save_recipe
from pnag.run.run_directory import RunDirectory
from pnag.search import rounds as search_rounds
from pnag.search.evaluator import EvaluatorSettings
from pnag.search.front import FrontSettings
from pnag.search.methods import METHODS
from pnag.search.methods.pnag_method import pnag as pnag_method
from pnag.search.pnag import PnagSettings
from pnag.search.policy_gradient import GeneratorSettings

ARCH = "2,2,2,2,2:" + ",".join(["3,3,0,0"] * 5) + ":" + ",".join(["3,3,0,0"] * 5)


def test_brackets_in_names_are_shown(tmp_path: Path, recipe: Path) -> None:
    own_table(100).rename(columns={"ms": "cost [/s]"}).to_csv(tmp_path / "t.csv", index=False)
    out = tmp_path / "[old] x"
    done = call("run", "--table", tmp_path / "t.csv", "--accuracy", "top1", "--cost", "cost [/s]",
                "--out", out, "--recipe", recipe)  # fmt: skip
    assert done.exit_code == 0, done.output
    text = done.stdout.replace("\n", "")
    assert "(cost [/s])" in text and str(out / "report.html") in text


def test_own_table_in_a_format_for_scripts(table_run: Path) -> None:
    answers = json.loads((table_run / "architectures.json").read_text())
    assert len(answers) == 5
    for a in answers:
        assert {"budget", "arch", "accuracy", "cost"} <= set(a)
        assert a["cost"] <= a["budget"]
        true = count_batch(family(), SPACE.encode([a["arch"]]), resolution=64).macs[0] / 1e6
        assert a["cost"] == pytest.approx(true, rel=0.05)


def test_any_other_budget(table_run: Path) -> None:
    front = pd.read_parquet(table_run / "front.parquet")
    budget = front["cost"].mean()
    done = call("generate", table_run, "--budget", budget, "--json")
    result = json.loads(done.stdout)
    assert result["cost"] <= budget
    above = json.loads(call("generate", table_run, "--budget", 1e6, "--json").stdout)
    assert "no larger one" in above["note"]
    below = call("generate", table_run, "--budget", 0.001)
    assert below.exit_code == 2
    assert f"the cheapest costs {front['cost'].iloc[0]:.4g}" in below.stderr
    assert call("generate", table_run, "--budget", budget, "--greedy").exit_code == 0


def test_a_changed_option_redoes_only_what_depends_on_it(table_run: Path, recipe: Path) -> None:
    table = table_run.parent / "t.csv"
    arguments = table_arguments(table, table_run, recipe)
    assert call(*arguments).stdout.count("reused") == 4
    front = pd.read_parquet(table_run / "front.parquet")
    changed = call(*arguments, "--budgets", f"{front['cost'].iloc[-1]:.6f},1e9")
    assert changed.stdout.count("reused") == 4
    assert len(json.loads((table_run / "architectures.json").read_text())) == 2
    (table_run / "generator.safetensors").write_bytes(b"half a file")
    mended = call(*arguments)
    assert mended.exit_code == 0
    assert mended.stdout.count("reused") == 3  # the generator anew gives the same front
    assert pd.read_parquet(table_run / "front.parquet").equals(front)


def test_a_table_has_no_times_to_take_again(table_run: Path, recipe: Path) -> None:
    table = table_run.parent / "t.csv"
    done = call(*table_arguments(table, table_run, recipe), "--time-again")
    assert done.exit_code == 0, done.stderr
    assert "--time-again: nothing to time again" in " ".join(done.stdout.split())


def test_a_rerun_that_is_stopped_is_no_finished_run(
    tmp_path: Path, table_run: Path, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = Path(shutil.copytree(table_run, tmp_path / "run"))
    arguments = [*table_arguments(table_run.parent / "t.csv", out, recipe), "--seed", 1]
    # Its evaluator and generator are new, its front and answers are not.
    is_unfinished_where_stopped("pnag.search.pnag.find_front", out, arguments, monkeypatch)
    assert call(*arguments).exit_code == 0
    assert call("generate", out, "--budget", 1e6).exit_code == 0


def test_answers_to_other_budgets_are_of_no_finished_run_until_all_is_done(
    tmp_path: Path, table_run: Path, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = Path(shutil.copytree(table_run, tmp_path / "run"))
    arguments = [*table_arguments(table_run.parent / "t.csv", out, recipe), "--budgets", 25]
    is_unfinished_where_stopped("pnag.run.run._finish", out, arguments, monkeypatch)
    assert len(json.loads((out / "architectures.json").read_text())) == 1


def is_unfinished_where_stopped(
    at: str, out: Path, arguments: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(at, stop)
        assert call(*arguments).exit_code == 130
    done = call("generate", out, "--budget", 1e6)
    assert done.exit_code == 2 and "is not a finished run" in " ".join(done.stderr.split())


def test_a_device_of_another_run_in_the_directory_is_not_taken_for_the_table_s_cost(
    tmp_path: Path, table_run: Path, recipe: Path
) -> None:
    out = Path(shutil.copytree(table_run, tmp_path / "run"))
    left = RunDirectory(out).latency_model  # as a run on images that was stopped leaves it
    write_text(left, "{}")
    done = call(*table_arguments(table_run.parent / "t.csv", out, recipe))
    assert done.exit_code == 0, done.stderr
    assert not left.exists()
    assert answers_of(out) == answers_of(table_run)


def answers_of(run: Path) -> object:
    return json.loads((run / "architectures.json").read_text())


def stop(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_the_command_that_a_run_prints_can_be_given(
    table_run: Path, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(table_run, tmp_path / "my run")
    monkeypatch.chdir(tmp_path)
    done = call(*table_arguments(table_run.parent / "t.csv", Path("my run"), recipe))
    command = shlex.split(done.stdout.partition("any other budget: ")[2])
    assert command[:3] == ["pnag", "generate", "my run"]
    assert call(*command[1:]).exit_code == 0


def rows_with(column: str, value: object) -> pd.DataFrame:
    table = own_table(80).astype({column: object})
    table.loc[6, column] = value
    return table


def conflicting() -> pd.DataFrame:
    table = own_table(80)
    table.loc[3, "arch"] = table.loc[9, "arch"]
    return table


def test_it_says_how_well_a_table_is_predicted(table_run: Path) -> None:
    """Of these rows both are sums over layers, so that the order of unseen ones is nearly right."""
    metrics = json.loads((table_run / "metrics.json").read_text())
    accuracy, cost = metrics["predictors"]["accuracy"], metrics["predictors"]["cost"]
    assert accuracy["rows"] == cost["rows"] == 600
    assert accuracy["tau"] > 0.9 and cost["tau"] > 0.95
    assert cost["mean_error"] < 0.1 * cost["deviation"]
    report = (table_run / "report.html").read_text()
    assert f"Kendall&#x27;s tau {cost['tau']:.2f}" in report and "a rough guess" not in report


def test_no_budget_of_a_cost_that_is_not_told(tmp_path: Path, recipe: Path) -> None:
    """Costs in the wrong rows got a confident answer; of accuracies there is a warning."""
    rows, rng = own_table(300), np.random.default_rng(1)
    rows.assign(ms=rng.permutation(rows["ms"])).to_csv(tmp_path / "cost.csv", index=False)
    arguments = table_arguments(tmp_path / "cost.csv", tmp_path / "cost", recipe)
    done = call(*arguments)
    said = " ".join(done.stderr.split())
    assert done.exit_code == 2 and "cost.csv: ms cannot be predicted from the arch" in said
    assert not (tmp_path / "cost" / "architectures.json").exists()
    assert call(*arguments).exit_code == 2  # what is reused tells it again
    searched = call("search", *arguments[1:7], "--budgets", 25)
    assert searched.exit_code == 2 and "ms cannot be predicted" in " ".join(searched.stderr.split())

    rows.assign(top1=rng.permutation(rows["top1"])).to_csv(tmp_path / "a.csv", index=False)
    done = call(*table_arguments(tmp_path / "a.csv", tmp_path / "a", recipe))
    assert done.exit_code == 0 and "top1 is predicted badly (tau" in " ".join(done.stdout.split())
    assert "a rough guess" in (tmp_path / "a" / "report.html").read_text()


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (rows_with("top1", float("nan")), "row 7: top1 must be a finite number, not nan"),
        (rows_with("ms", float("inf")), "row 7: ms must be a positive finite number, not inf"),
        (rows_with("ms", "fast"), "row 7: ms must be a positive finite number, not fast"),
        (rows_with("ms", -1.0), "must be a positive finite number"),
        (rows_with("arch", "2,2:3:3"), "row 7: architecture"),
        (conflicting(), "several rows with different values"),
        (own_table(80).rename(columns={"ms": "latency"}), "has no column 'ms'"),
        (own_table(80).rename(columns={"arch": "a"}), "has no column 'arch'"),
        (own_table(80).drop(columns="arch"), "name its columns: pnag run --choices"),
        (own_table(10), "too few"),
        (own_table(80).assign(ms=3.0), "in every row"),
        (own_table(80).iloc[:0], "no rows"),
        (None, "is empty"),
    ],
)
def test_bad_tables(tmp_path: Path, recipe: Path, table: pd.DataFrame | None, says: str) -> None:
    path = tmp_path / "t.csv"
    if table is None:
        path.write_text("")
    else:
        table.to_csv(path, index=False)
    done = call(*table_arguments(path, tmp_path / "run", recipe))
    assert done.exit_code == 2
    assert says in done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["count", "2,2"], "must have 3 parts"),
        (["count", "2,2,2,2,9:" + ",".join("3" * 20) + ":" + ",".join("3" * 20)], "unit 1 layer 3"),
        (["count", "x", "--width-mult", "nan"], "value for '--width-mult'"),
        (["export", "x:y:z", "--width-mult", "inf"], "inf is not a finite number"),
        (["run", "--images", "x", "--width-mult", "inf"], "inf is not a finite number"),
        (["measure", "--out", "t.json", "--width-mult", "inf"], "inf is not a finite number"),
        (["run", "--images", "/"], "/ has no name to call the run by"),
        (["export", "nonsense"], "neither an architecture"),
        (["export", "nonsense" * 40], "neither an architecture"),
        (["export", "2:2:2," * 99], "must have 3 parts"),
        (["export", "x", "--to", "tflite"], "must be one of onnx"),
        (["generate", "/no/such/run", "--budget", "3"], "no run directory"),
        (["run", "--budgets", "3,x", "--out", "unused"], "must be positive numbers"),
        (["run", "--budgets", "30.00001,30.00002", "--out", "unused"], "both would be called pnag"),
        (["run", "--table", "nothing.csv", "--out", "unused"], "give --accuracy COLUMN"),
        (
            ["run", "--table", "t.csv", "--accuracy", "a", "--cost", "c", "--threads", "4"],
            "--threads is for measuring a device",
        ),
        (
            ["run", "--table", "t.csv", "--accuracy", "a", "--cost", "c", "--architectures", "400"],
            "--architectures is how many a table gets that is made",
        ),
        (
            ["run", "--images", "x", "--resolution", "64", "--resolutions", "64,96"],
            "resolution (64) and resolutions ([64, 96]) exclude each other",
        ),
        (["run", "--accuracy", "a", "--out", "unused"], "not given"),
        (["run", "--rounds", "2", "--out", "unused"], "neither is given"),
        (
            ["run", "--images", "nothing", "--runtime", "tvm", "--out", "unused"],
            "no runtime 'tvm'",
        ),
        (["measure", "--out", "t.json", "--runtime", "tvm"], "no runtime 'tvm'"),
        (["measure", "--out", "t.json", "--runtime", "torch,onnxruntime"], "must be a folder"),
        (["run", "--seed", "-1", "--out", "unused"], "greater than or equal to 0"),
        (
            [
                "search",
                "--table",
                "t.csv",
                "--accuracy",
                "a",
                "--cost",
                "c",
                "--budgets",
                "3",
                "--method",
                "luck",
            ],
            "no search method is called 'luck'",
        ),
        (["run", "--out", "/proc/nothing"], "cannot make the run directory"),
    ],
)
def test_bad_arguments(
    arguments: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = call(*arguments)
    assert done.exit_code == 2
    assert says in " ".join(done.stderr.split())


def test_only_a_users_mistakes_are_messages() -> None:
    for wrong in (
        lambda: pnag.count("x"),
        lambda: pnag.build("2,2,2,2,x:3:3"),
        lambda: pnag.build(ARCH, num_classes=0),
        lambda: pnag.count(ARCH, resolution=0),
        lambda: pnag.Supernet(-1.0),
    ):
        with pytest.raises(ValueError, match="must") as error:
            wrong()
        assert isinstance(error.value, PnagError)
        with pytest.raises(typer.Exit):
            mistakes_are_messages(wrong)()

    def broken() -> None:
        raise ValueError("architecture of a bug, which needs a traceback")

    with pytest.raises(ValueError, match="of a bug"):
        mistakes_are_messages(broken)()


def test_what_the_system_refuses_is_a_message_and_other_faults_are_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def raises(number: int) -> None:
        raise OSError(number, os.strerror(number), "cost/table[1].json")

    for number in (errno.EACCES, errno.EROFS, errno.ENOSPC, errno.ENAMETOOLONG):
        with pytest.raises(typer.Exit) as code:
            mistakes_are_messages(raises)(number)
        assert code.value.exit_code == 2
        assert f"cannot use cost/table[1].json: {os.strerror(number)}" in capsys.readouterr().err
    with pytest.raises(FileNotFoundError):  # we look whether files are there
        mistakes_are_messages(raises)(errno.ENOENT)


def test_a_run_is_called_after_its_table_or_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "flowers").mkdir()
    monkeypatch.chdir(tmp_path / "flowers")
    assert default_out(None) == Path("runs/this-machine")
    for source in (".", "../flowers", "user/flowers", Path("flowers.csv")):
        assert default_out(source) == Path("runs/flowers")
    (tmp_path / "imgs-1.0").mkdir()
    (tmp_path / "x.parquet").mkdir()
    for source in ("../imgs-1.0", "user/imgs-1.5", "../x.parquet"):
        assert default_out(source) == Path("runs") / Path(source).name


def test_runs_whose_directory_is_not_given_do_not_replace_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[Path] = []

    def run_pipeline(recipe: Recipe, out: Path, *_: object, **__: object) -> None:
        ran.append(out)
        save_recipe(recipe, out / "recipe.yaml")
        raise PnagError("enough")

    monkeypatch.setattr("pnag.commands.bodies.run.run_pipeline", run_pipeline)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "imgs").mkdir()  # one that is not there is refused at once
    a = ["run", "--table", "a/table.csv", "--accuracy", "top1", "--cost", "ms"]
    b = ["run", "--table", "b/table.csv", "--accuracy", "top1", "--cost", "ms"]
    one = ["run", "--images", "imgs"]
    for command in ([*a[:2], tmp_path / "a/table.csv", *a[3:]], a, a, one, one, ["run"]):
        assert "enough" in call(*command).stderr
    before = len(ran)
    for command, there, here in (
        (b, "runs/table has the results of the table a/table.csv", "the table b/table.csv"),
        (["run", "--images", "table"], "of the table a/table.csv", "of the images table"),
        (["run", "--images", "other/imgs"], "of the images imgs", "the images other/imgs"),
        ([*a[:2], "this-machine.csv", *a[3:]], "of this machine with ImageNet", "table this-mach"),
    ):
        done = call(*command)
        said = " ".join(done.stderr.split())
        assert done.exit_code == 2 and there in said and here in said and "--out" in said
    assert len(ran) == before
    assert "enough" in call(*b, "--out", "runs/table").stderr  # who names it means it


def test_a_recipe_names_the_directory_as_the_options_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[Path] = []

    def run_pipeline(recipe: Recipe, out: Path, *_: object, **__: object) -> None:
        ran.append(out)
        raise PnagError("enough")

    monkeypatch.setattr("pnag.commands.bodies.run.run_pipeline", run_pipeline)
    monkeypatch.chdir(tmp_path)
    table = {"path": "mine.csv", "accuracy": "top1", "cost": "ms"}
    for values in (
        {"source": "images", "images": {"source": "photos"}},
        {"source": "table", "table": table},
        {"seed": 3},
    ):
        Path("recipe.yaml").write_text(yaml.safe_dump(values))
        assert "enough" in call("run", "--recipe", "recipe.yaml").stderr
    assert ran == [Path("runs/photos"), Path("runs/mine"), Path("runs/this-machine")]


def test_duplicate_rows_count_once(tmp_path: Path, recipe: Path) -> None:
    table = own_table(200)
    pd.concat([table, table.iloc[:5]]).to_csv(tmp_path / "t.csv", index=False)
    done = call(*table_arguments(tmp_path / "t.csv", tmp_path / "run", recipe))
    assert done.exit_code == 0
    assert "5 row(s)" in done.stdout
    assert len(pd.read_parquet(tmp_path / "run" / "table.parquet")) == 200


def heed_ctrl_c() -> None:
    """In a new process: shells let those that they start in the background ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize(
    "swallowed",
    [
        # by Python, in a weak reference's callback
        "lock = Lock(); watch = weakref.ref(lock, lambda _: signal.raise_signal(signal.SIGINT)); "
        "del lock; time.sleep(30)",
        # by C code that raises an error of its own
        "class Path(pydantic.BaseModel):\n"
        "        path: object\n"
        "        @pydantic.field_serializer('path')\n"
        "        def text(self, path): signal.raise_signal(signal.SIGINT)\n"
        "    Path(path=1).model_dump_json()",
    ],
)
def test_ctrl_c_that_becomes_something_else_still_stops(swallowed: str) -> None:
    script = f"""
import signal, time, weakref
import pydantic
from pnag.commands.ctrl_c import heed_ctrl_c
from pnag.commands.main import mistakes_are_messages
class Lock: pass
@mistakes_are_messages
def command():
    {swallowed}
heed_ctrl_c()
try:
    command()
except Exception as error:
    print(repr(error), error.exit_code)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, preexec_fn=heed_ctrl_c
    )
    assert done.stdout.endswith(" 130\n") and done.stderr.startswith("stopped;"), done
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("limit", [5_000, 60_000])
def test_a_full_disk_is_a_message_and_loses_nothing(
    tmp_path: Path, table_run: Path, recipe: Path, limit: int
) -> None:
    arguments = table_arguments(table_run.parent / "t.csv", tmp_path / "run", recipe)
    said = tmp_path / "said"
    assert with_a_full_disk(arguments, limit, said) == 2
    assert "cannot write" in said.read_text() and "Traceback" not in said.read_text()
    assert call(*arguments).exit_code == 0
    front = pd.read_parquet(tmp_path / "run" / "front.parquet")
    assert front.equals(pd.read_parquet(table_run / "front.parquet"))


def test_rounds_ask_in_files_and_go_on(
    tmp_path: Path, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_table().to_csv(tmp_path / "t.csv", index=False)
    arguments = [*table_arguments(tmp_path / "t.csv", tmp_path / "run", recipe),
                 "--rounds", 1, "--per-round", 20]  # fmt: skip
    first = call(*arguments)
    asked = tmp_path / "run" / "rounds" / "round-1.csv"
    assert "round 1 of 1: fill in top1 and ms in" in " ".join(first.stdout.split())
    rows = pd.read_csv(asked)
    assert len(rows) == 20 and not set(rows["arch"]) & set(own_table()["arch"])
    unanswered = call(*arguments)  # asks again, and loses nothing
    assert unanswered.stdout.count("reused") == 4
    assert pd.read_csv(asked).equals(rows)

    rows["top1"] = 0.9
    rows.to_csv(asked, index=False)
    half = call(*arguments)
    assert (
        half.exit_code == 2 and "row 1: ms must be a positive finite number, not nan" in half.stderr
    )
    tokens = SPACE.encode(rows["arch"])
    rows["ms"] = count_batch(family(), tokens, resolution=64).macs / 1e6
    rows.to_csv(asked, index=False)
    done = call(*arguments)
    assert done.exit_code == 0 and "fill in" not in done.stdout
    assert len(pd.read_parquet(tmp_path / "run" / "table.parquet")) == 620
    without = call(*arguments[:-4], "--budgets", 40)  # what was learnt stays learnt
    assert "with 20 rows from 1 round(s)" in without.stdout
    assert len(pd.read_parquet(tmp_path / "run" / "table.parquet")) == 620
    own_table().to_csv(tmp_path / "other.csv", index=False)
    other = call(*table_arguments(tmp_path / "other.csv", tmp_path / "run", recipe))
    assert other.exit_code == 2 and "belong to another table" in " ".join(other.stderr.split())
    front = pd.read_parquet(tmp_path / "run" / "front.parquet")
    assert front["accuracy"].max() > 0.8  # what the round has told is believed

    told: list[int] = []

    def promising(*table: Any, from_rounds: int, **how: Any) -> Any:
        told.append(from_rounds)
        return search_rounds.promising(*table, from_rounds=from_rounds, **how)

    monkeypatch.setattr(table_stages, "promising", promising)
    second = call(*arguments[:-4], "--rounds", 2, "--per-round", 20)
    assert second.exit_code == 0 and "round 2 of 2: fill in" in " ".join(second.stdout.split())
    assert told == [20]


@pytest.mark.parametrize("method", ["random", "evo", "pnag"])
def test_search_methods_on_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    quick = PnagSettings(
        evaluator=EvaluatorSettings(steps=10, hidden=32),
        generator=GeneratorSettings(iterations=40, samples=16, refine_steps=2, hidden=16),
        front=FrontSettings(budgets=16, draws=16, rounds=8, children=256),
    )
    monkeypatch.setitem(METHODS, "pnag", partial(pnag_method, settings=quick))
    table = own_table()
    table.to_csv(tmp_path / "t.csv", index=False)
    budget = table["ms"].median()
    done = call("search", "--table", tmp_path / "t.csv", "--accuracy", "top1", "--cost", "ms",
                "--budgets", budget, "--method", method, "--json")  # fmt: skip
    assert done.exit_code == 0, done.stderr
    (result,) = json.loads(done.stdout)
    assert result["cost"] <= budget * 1.02
    assert result["accuracy"] > table["top1"][table["ms"] <= budget].max() - 0.005


def test_count_and_export(tmp_path: Path) -> None:
    counts = json.loads(call("count", ARCH, "--json").stdout)
    assert counts["params"] == pnag.count(ARCH).params
    out = tmp_path / "n.onnx"
    done = call("export", ARCH, "--out", out, "--resolution", 64, "--num-classes", 10)
    assert done.exit_code == 0, done.stderr
    assert onnxruntime.InferenceSession(out).get_outputs()[0].shape == [1, 10]


def test_a_mistyped_table_is_told_its_likely_name(tmp_path: Path) -> None:
    own_table(20).to_csv(tmp_path / "times.csv", index=False)
    columns = ("--accuracy", "top1", "--cost", "ms", "--out", tmp_path / "run")
    near = call("run", "--table", tmp_path / "time.csv", *columns)
    far = call("run", "--table", tmp_path / "quite_another", *columns)
    assert (near.exit_code, far.exit_code) == (2, 2)
    assert f"time.csv; there is {tmp_path / 'times.csv'}" in near.stderr
    assert "quite_another; check its path" in far.stderr


def test_a_column_of_texts_is_not_an_accuracy(tmp_path: Path) -> None:
    own_table(20).assign(act="relu").to_csv(tmp_path / "t.csv", index=False)
    done = call("run", "--table", tmp_path / "t.csv", "--accuracy", "act", "--cost", "ms",
                "--out", tmp_path / "run")  # fmt: skip
    assert done.exit_code == 2
    assert "act must be a finite number, not relu (20 such row(s)); name another" in done.stderr


def test_the_version_is_printed() -> None:
    done = call("--version")
    assert (done.exit_code, done.stdout) == (0, f"pnag {pnag.__version__}\n")


def test_help_tells_the_defaults() -> None:
    text = " ".join(call("run", "--help").stdout.replace("│", " ").split())
    for default in ("[default: 120]", "[default: sandwich]", "[default: onnxruntime]"):
        assert default in text


def test_ctrl_c_while_importing_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pnag.commands.main.main", interrupted)
    with pytest.raises(SystemExit) as stopped:
        pnag.__main__.main()
    assert stopped.value.code == 130 and capsys.readouterr().err == "stopped\n"
