"""From Python: the same answers as by the command line, and a public API that stays as it is."""

from __future__ import annotations

import inspect
import json
import re
import warnings
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from small_runs import SPACE, call, own_table

import pnag
from pnag import api
from pnag.api import Options
from pnag.commands.bodies import exportable
from pnag.commands.run import run as run_command
from pnag.cost.front_calibration import FrontCalibration
from pnag.run.recipe import Recipe
from pnag.run.run_directory import RunDirectory

API = Path(__file__).with_name("public_api.txt")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, recipe: Path) -> pnag.Run:
    folder = tmp_path_factory.mktemp("found")
    table = own_table()
    table["pixel"] = 1 + SPACE.features(SPACE.encode(table["arch"])) @ np.linspace(
        1, 0, SPACE.num_features
    )
    table.to_csv(folder / "t.csv", index=False)
    budgets = table["ms"].quantile([0.3, 0.6]).to_numpy()
    return pnag.find(
        folder / "run", table=folder / "t.csv", accuracy="top1", cost=["ms", "pixel"],
        budgets=budgets, recipe=recipe, seed=None, show=False,
    )  # fmt: skip


def test_a_run_is_found_and_opened(found: pnag.Run, capfd: pytest.CaptureFixture[str]) -> None:
    assert pnag.open_run(str(found.path)) == found
    assert [a.budget for a in found.answers] == [a["budget"] for a in found.metrics["answers"]]
    assert all(a.cost <= a.budget for a in found.answers)
    assert (found.front["cost"].diff()[1:] > 0).all()
    assert capfd.readouterr().out == ""


def test_answers_are_those_of_the_command(found: pnag.Run) -> None:
    ms, pixel = found.answers[1].budget, float(found.front["cost"].max())
    for asked, given in (({}, [f"{ms}"]), ({"pixel": pixel}, [f"{ms}", f"pixel={pixel}"])):
        options = [part for text in given for part in ("--budget", text)]
        said = json.loads(call("generate", found.path, *options, "--json").stdout)
        assert found.answer(ms, **asked).as_json() == said
    with pytest.raises(pnag.PnagError, match="no budget to answer"):
        found.answer()
    with pytest.raises(pnag.PnagError, match="no cost 'speed'"):
        found.answer(speed=3)
    with pytest.raises(pnag.PnagError, match="no run directory"):
        pnag.open_run(found.path / "nowhere")


def test_an_export_says_which_files_it_wrote(found: pnag.Run, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="fresh weights: it predicts nothing.*\n.*`weights`"):
        (file,) = found.export("timm", budget=found.answers[0].budget, out=tmp_path)
    assert file.exists() and file.parent == tmp_path


ARCH = "2,2,2,2,2:" + ",".join(["3,3,0,0"] * 5) + ":" + ",".join(["3,3,0,0"] * 5)


@pytest.fixture
def of_imagenet(tmp_path: Path) -> pnag.Run:
    """What a finished run leaves behind, as far as is read of it here."""
    run = RunDirectory(tmp_path / "run")
    run.recipe.write_text("source: imagenet")
    run.answers.write_text(
        json.dumps([{"budget": 2, "arch": f"{ARCH}@128", "accuracy": 0.7, "cost": 1.5}])
    )
    run.metrics.write_text("{}")
    pd.DataFrame({"arch": [ARCH] * 2, "accuracy": [0.6, 0.7], "cost": [1, 2]}).to_parquet(run.front)
    return pnag.open_run(run.path)


def test_an_export_has_the_weights_that_are_given_and_tells_of_fresh_ones(
    of_imagenet: pnag.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(3)
    supernet = pnag.Supernet(1.0, 1000).eval()
    monkeypatch.setattr(exportable, "load_published", lambda width: supernet)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (file,) = of_imagenet.export("timm", weights="published")
    expected = supernet.subnet(f"{ARCH}@128").state_dict()
    found = load_file(file)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    how = json.loads(file.with_name(f"{file.name}.preprocessing.json").read_text())
    assert how["resolution"] == 128
    with pytest.warns(UserWarning, match="pnag-2ms: fresh weights"):
        assert of_imagenet.export("timm", budget=1.6) == [file]


def test_the_fronts_costs_are_corrected_as_those_of_answers(of_imagenet: pnag.Run) -> None:
    assert of_imagenet.front["cost"].tolist() == [1, 2]
    file = RunDirectory(of_imagenet.path).front_calibration
    FrontCalibration(0.5, 2.0, [1.0, 2.0], [2.5, 4.5]).save(file)
    assert of_imagenet.front["cost"].tolist() == [2.5, 4.5]
    assert of_imagenet.front["accuracy"].tolist() == [0.6, 0.7]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"to": "tflite"}, "--to must be one of onnx"),
        ({"budget": "params=6M"}, "must be a number of the run's own cost, without ="),
        ({"batch": 0}, "batch must be a whole number from 1, not 0"),
        ({"batch": "2"}, "from 1, not '2'"),
        ({"images": "../nowhere"}, "there is no folder or file ../nowhere"),
        ({"images": "digits"}, "--images measures batch norms of --weights"),
        ({"weights": Path("nowhere.safetensors")}, "cannot read"),
    ],
)
def test_an_export_that_cannot_be_is_refused(
    of_imagenet: pnag.Run, asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(pnag.PnagError, match=re.escape(message)):
        of_imagenet.export(**asked)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": 7.5}, "there is no option 'budget' of find; there is budgets"),
        ({"as_json": True}, "there is no option 'as_json' of find; `pnag run --help` lists all"),
        ({"ray_address": "local"}, "--ray-address is for --images"),
        ({"images": Path("../nowhere")}, "there is no folder or file ../nowhere"),
        ({"table": pd.DataFrame()}, "table must be a path or a name, not of type DataFrame"),
        ({"cost": 5, "choices": 3}, "--accuracy, --cost and --choices name columns of --table"),
        ({"budgets": "7.5,x"}, "6ms,8ms, not 'x'"),
    ],
)
def test_a_run_that_cannot_be_is_refused_before_it_begins(
    options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(pnag.PnagError, match=re.escape(message)):
        pnag.find(tmp_path / "run", show=False, **options)
    assert not (tmp_path / "run").exists()


def test_paths_and_single_numbers_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Recipe] = []
    again: list[bool] = []

    def run_pipeline(recipe: Recipe, *_: object, time_again: bool) -> None:
        asked.append(recipe)
        again.append(time_again)

    monkeypatch.setattr(api, "run_pipeline", run_pipeline)
    pnag.find(
        tmp_path / "run", images=tmp_path, start=tmp_path / "s.safetensors", budgets=7.5,
        resolutions=64,
    )  # fmt: skip
    pnag.find(tmp_path / "run", budgets=np.array([2, 3.5]), compare=np.int64(5), time_again=True)
    of_images, of_imagenet = asked
    assert of_images.images is not None
    assert of_images.images.source == str(tmp_path)
    assert of_images.images.start == str(tmp_path / "s.safetensors")
    assert (of_images.budgets, of_images.images.resolutions) == ((7.5,), (64,))
    assert (of_imagenet.budgets, of_imagenet.compare) == ((2, 3.5), 5)
    assert again == [False, True]


def test_the_options_are_those_of_the_command() -> None:
    command = set(inspect.signature(run_command).parameters) - {"out", "as_json"}
    assert set(get_type_hints(Options)) == command


def test_the_public_api_changes_only_on_purpose() -> None:
    """Where this fails on purpose, `public_api.txt` and the changelog say what has changed."""
    assert described() == API.read_text("utf-8").splitlines()


def described() -> list[str]:
    """A line for everything that `import pnag` gives, and all of its own that classes have."""
    lines = []
    things = {name: getattr(pnag, name) for name in pnag.__all__}
    for name, thing in sorted((things | {"family()": type(pnag.family())}).items()):
        assert isinstance(thing, str) or inspect.getdoc(thing), f"pnag.{name} has no docstring"
        lines.append(name + _called(thing))
        if inspect.isclass(thing):
            ours = [c for c in thing.__mro__ if c.__module__.startswith("pnag")]
            own = {n for c in ours for n in (*vars(c), *c.__annotations__) if n[0] != "_"}
            lines += [f"{name}.{n}{_called(getattr(thing, n, None))}" for n in sorted(own)]
    return lines


def _called(thing: object) -> str:
    """The parameters' names; those with a default end in "=". Empty where it is not called."""
    if not callable(thing) or (inspect.isclass(thing) and issubclass(thing, Exception)):
        return ""
    marks = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    names = [
        marks.get(p.kind, "") + p.name + ("" if p.default is p.empty else "=")
        for p in inspect.signature(thing).parameters.values()
    ]
    return f"({', '.join(names)})"
