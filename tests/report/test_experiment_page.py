"""The experiment's page: what it says, and how it behaves in a real browser."""

from __future__ import annotations

import html
import json
import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from chromium import Chromium
from made_experiment import make_experiment
from typer.testing import CliRunner

from pnag.commands.main import app
from pnag.studies.paper.study import Study
from pnag.studies.paper.table import experiment_cells

Made = tuple[Study, dict[str, Any]]
RIGHT = ("ArrowRight", 39)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_experiment(tmp_path_factory.mktemp("experiment") / "run", "cpu")


def test_one_file_with_every_cell_of_the_table(made: Made) -> None:
    study, found = made
    page = study.page.read_text()
    assert study.page == study.run.path / "experiment-cpu" / "experiment.html"
    assert study.page.stat().st_size < 5_000_000
    outside = re.findall(r"(?:src|href)\s*=\s*['\"](?!#)|@import|url\((?!#)|fetch\(", page)
    outside += re.findall(r"https?://[^\"' ]+", page)
    assert set(outside) <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert "$" not in re.sub(r"<script.*?</script>", "", page, flags=re.S)  # all filled in
    assert page.count("<style") == 1  # none of the figure's, which would be for the whole page
    assert "A &lt;processor&gt; &amp; more" in page and "<processor>" not in page

    body = page.split("<tbody>")[1].split("</tbody>")[0].split("</tr>")[:-1]
    shown = [
        [re.sub(r"<sup>.*?</sup>|<[^>]+>", "", cell).strip()
         for cell in re.split(r"(?=<t[hd][ >])", row)[1:]]
        for row in body
    ]  # fmt: skip
    assert len(shown) == len(found["rows"])
    for row, cells in zip(found["rows"], shown, strict=True):
        if row["group"] is None:
            assert cells == [*experiment_cells(row)[:6], row["note"]]
        else:
            assert cells == experiment_cells(row)
    for row in found["rows"]:
        assert not row.get("note") or row["note"] in html.unescape(page)


def test_a_phone_has_no_table_but_a_page(tmp_path: Path) -> None:
    study, found = make_experiment(tmp_path, "mobile")
    page = study.page.read_text()
    assert "<h1>The architectures of Figure F" in page
    assert len(found["rows"]) == page.split("<tbody>")[1].count("<tr>")


def within(browser: Chromium) -> list[str]:
    text: list[str] = browser.run(
        "[...document.querySelectorAll('#within dl div')].map(div => div.textContent)"
    )
    return text


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_another_budget_changes_shares_and_histograms(
    made: Made, browser: Chromium, width: int, dark: bool
) -> None:
    study, found = made
    browser.errors.clear()
    browser.asked.clear()
    browser.open(study.page, width=width, dark=dark)
    assert browser.run("document.documentElement.scrollWidth") <= width  # never sideways
    background = browser.run("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background)[:3])) < 200) == dark

    areas = "[...document.querySelectorAll('#draws-chart .area')].map(a => a.getAttribute('d'))"
    line = "document.querySelector('#draws-chart .budget-line').getAttribute('d')"
    before = browser.run(areas), browser.run(line)
    browser.run("document.querySelector('#budgets input:checked').focus()")
    browser.press(*RIGHT)  # radio buttons move with the arrow keys
    shares = {method: found["within"][method][3] for method in ("pnag", "ofa-mo")}
    budget = f"{study.budgets[3]:.4g}"
    assert within(browser)[:2] == [
        f"PNAG, within {budget} ms{shares['pnag']['share']:.1%}",
        f"OFA-MO, within {budget} ms{shares['ofa-mo']['share']:.1%}",
    ]
    after = browser.run(areas), browser.run(line)
    assert after[0][0] == before[0][0]  # the table's own stays
    assert after[0][1] != before[0][1] and after[0][2] != before[0][2] and after[1] != before[1]
    assert browser.errors == []
    assert {address.split(":")[0] for address in browser.asked} == {"file"}


def test_networks_are_chosen_and_methods_switched_off(made: Made, browser: Chromium) -> None:
    study, found = made
    browser.errors.clear()
    browser.open(study.page, width=1280)
    name = "document.getElementById('point-name').textContent.trim()"
    command = "document.querySelector('#point-numbers code').textContent"
    hidden = (
        "['#point-numbers .command', '#point-picture > *', '#legend'].map(place => "
        "getComputedStyle(document.querySelector(place)).display).join() === 'none,none,none'"
    )
    rows = {row["name"]: row for row in found["rows"]}
    best = rows["PNAG-50, found here"]
    assert browser.run(name) == "PNAG-50, found here"
    assert browser.run(command) == f"pnag export {best['arch']} --to onnx"

    browser.run("document.getElementById('chart').focus()")
    seen = {}
    browser.press("Home", 36)
    for _ in range(60):
        if browser.run(name) in seen:
            break  # the arrow key came to the end
        seen[browser.run(name)] = (browser.run(hidden), browser.run(command))
        browser.press(*RIGHT)
    assert {f"OFA-MO-{budget:g}, found here" for budget in study.paper.budgets} <= set(seen)
    assert {row["name"] for row in rows.values() if row["group"]} <= set(seen)
    assert seen["ResNet-18"][0] and not seen["EVO-30"][0]
    assert seen["PNAG-40"][1] == (
        f"pnag export {rows['PNAG-40']['arch']} --to onnx --width-mult 1.2"
    )

    button = "[...document.querySelectorAll('.toggle')].find(b => b.textContent === 'EVO')"
    dots = "document.querySelectorAll('#chart .dot.c-run2').length"
    assert browser.run(dots) == 5
    browser.run(f"{button}.focus()")
    for kind in ("keyDown", "keyUp"):
        browser.call("Input.dispatchKeyEvent", type=kind, key=" ", code="Space", text=" ",
                     windowsVirtualKeyCode=32)  # fmt: skip
    assert browser.run(f"{button}.getAttribute('aria-pressed')") == "false"
    assert browser.run(dots) == 0
    browser.run("document.getElementById('chart').focus()")
    browser.press("Home", 36)
    without = set()
    while browser.run(name) not in without:
        without.add(browser.run(name))
        browser.press(*RIGHT)
    assert without == {one for one in seen if not one.startswith("EVO")}
    browser.run(f"{button}.click()")
    assert browser.run(dots) == 5
    assert browser.errors == []


def test_every_control_has_a_name(made: Made, browser: Chromium) -> None:
    browser.open(made[0].page, width=390)
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    roles = ("button", "slider", "radio", "image", "region")
    controls = [
        node for node in nodes
        if node.get("role", {}).get("value") in roles and not node["ignored"]
    ]  # fmt: skip
    assert len(controls) > 20
    assert all(node["name"]["value"].strip() for node in controls), controls


def test_the_command_tells_where_the_page_is(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    study, found = made
    monkeypatch.setattr("pnag.studies.paper.experiment.held_study", lambda *_: nullcontext(study))
    monkeypatch.setattr("pnag.studies.paper.experiment.run_experiment", lambda *_: found)
    done = CliRunner().invoke(app, ["experiment", "cpu"])
    assert done.exit_code == 0, done.output
    assert done.output.replace("\n", "").endswith(str(study.page))  # a long path is broken
    done = CliRunner().invoke(app, ["experiment", "cpu", "--json"])
    assert json.loads(done.output)["budgets"] == list(study.budgets)
