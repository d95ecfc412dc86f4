"""From Python: the same answers as by the command line, and a public API that stays as it is."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pytest
from small_runs import SPACE, call, own_table

import pnag
from pnag.api import Options
from pnag.commands.run import run as run_command

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
    (file,) = found.export("timm", budget=found.answers[0].budget, out=tmp_path)
    assert file.exists() and file.parent == tmp_path


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
