"""The report page: what it says, and how it behaves in a real browser."""

from __future__ import annotations

import html
import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium import Chromium

import pnag
from pnag.commands.bodies.report import load_results, save_report
from pnag.report.markup import embedded
from pnag.run.margin import answer_with_margin
from pnag.run.run_directory import RunDirectory
from pnag.run.tables import read_table
from pnag.run.trained import answer, load_calibrated_front

SPACE = pnag.SearchSpace()
RIGHT, END = ("ArrowRight", 39), ("End", 35)


@pytest.mark.parametrize("name", ["cpu", "mine", "own", "several", "choices"])
def test_one_file_without_addresses(runs: Path, name: str) -> None:
    path = runs / name / "report.html"
    page = path.read_text()
    assert path.stat().st_size < 5_000_000
    outside = re.findall(r"(?:src|href)\s*=|@import|url\(|fetch\(|https?://[^\"' ]+", page)
    assert set(outside) <= {"http://www.w3.org/2000/svg"}
    assert "$" not in re.sub(r"<script.*?</script>", "", page, flags=re.S)  # all filled in
    assert page.count("<script") == 2 and page.count("</script>") == 2
    if name in ("cpu", "mine"):
        assert "A &lt;processor&gt; &amp; more" in page and "<processor>" not in page


def test_the_command_in_its_footer_can_be_given_anywhere(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(runs / "own", tmp_path / "my own")
    monkeypatch.chdir(tmp_path)
    page = save_report(load_results(Path("my own"))).read_text()
    command = re.search("<code>(pnag generate .*)</code>", page)
    assert command is not None
    words = shlex.split(html.unescape(command[1]))
    assert words == ["pnag", "generate", str(tmp_path / "my own"), "--budget", "B"]


def data_of(page: Path) -> dict[str, Any]:
    """What the page's script gets."""
    found = re.search('<script[^>]*id="data"[^>]*>(.*?)</script>', page.read_text(), re.S)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


def test_the_best_for_vectors_of_budgets_come_best_first(runs: Path) -> None:
    vectors = data_of(runs / "several" / "report.html")["vectors"]
    known = read_table(RunDirectory(runs / "several").vector_front)
    known = known.sort_values("accuracy", ascending=False, kind="stable")
    assert vectors["arch"] == known["arch"].tolist()
    assert vectors["cost"] == known["cost"].tolist() and vectors["from"] == known["from"].tolist()
    assert list(vectors["further"]) == ["params", "joules"]
    for name, costs in vectors["further"].items():
        assert costs == known[name].tolist()
    assert "vectors" not in data_of(runs / "own" / "report.html")
    assert 'id="further"' not in (runs / "own" / "report.html").read_text().replace("'", '"')


def test_data_cannot_end_its_script() -> None:
    text = embedded({"unit": "</script><script>alert(1)"})
    assert "<" not in text and json.loads(text)["unit"].startswith("</script>")


def shown(browser: Chromium) -> dict[str, str]:
    """The explorer's numbers by their names, and its command."""
    pairs = browser.run(
        "[...document.querySelectorAll('#numbers dl div')].map(d => [d.children[0].textContent,"
        " d.children[1].textContent])"
    )
    command = browser.run("document.querySelector('#numbers code').textContent")
    return dict(pairs) | {"command": command}


def type_budget(browser: Chromium, budget: float, field: str = "budget") -> None:
    browser.run(
        "(field => { field.value = " + repr(float(budget)) + "; field.dispatchEvent("
        f"new Event('input')); }})(document.getElementById('{field}'))"
    )


@pytest.mark.parametrize("width", [375, 1280])
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("name", ["cpu", "mine", "own"])
def test_the_slider_moves_everything(
    runs: Path, browser: Chromium, name: str, width: int, dark: bool
) -> None:
    page = runs / name / "report.html"
    browser.errors.clear()
    browser.asked.clear()
    browser.open(page, width=width, dark=dark)
    assert browser.run("innerWidth") == width
    assert browser.run("document.documentElement.scrollWidth") <= width  # never sideways
    background = browser.run("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background)[:3])) < 200) == dark

    before = shown(browser)
    unit = load_results(runs / name).metrics["unit"]
    browser.run("document.getElementById('slider').focus()")
    for _ in range(60):
        browser.press(*RIGHT)
    moved = shown(browser)
    # Two answers may have been found by the same.
    assert all(moved[key] != before[key] for key in before if key != "Found by")
    assert float(browser.run("document.getElementById('budget').value")) > 0
    heard = browser.run("document.getElementById('slider').getAttribute('aria-valuetext')")
    assert heard.endswith(unit)
    browser.press(*END)
    front = load_calibrated_front(RunDirectory(runs / name), SPACE)
    (dearest,) = SPACE.text(front.tokens[-1:])
    assert shown(browser)["command"].split()[2] == dearest
    if name == "mine":  # not of the published supernet
        supernet = runs / name / "supernet.safetensors"
        assert f"--to onnx --weights {supernet} --images " in shown(browser)["command"]
    else:
        of_imagenet = " --weights published" if name == "cpu" else ""
        assert shown(browser)["command"].endswith(f"--to onnx{of_imagenet}")

    browser.run("document.getElementById('theme').click()")
    changed = browser.run("getComputedStyle(document.body).backgroundColor")
    assert changed != background
    browser.run("localStorage.clear()")
    assert browser.errors == []
    assert browser.asked == [page.resolve().as_uri()]


def test_any_budget_gets_the_answer_of_generate(runs: Path, browser: Chromium) -> None:
    browser.open(runs / "cpu" / "report.html", width=1280)
    front = load_calibrated_front(RunDirectory(runs / "cpu"), SPACE)
    budgets = np.random.default_rng(0).uniform(front.cost[0], front.cost[-1] * 1.1, 20).tolist()
    margin = load_results(runs / "cpu").metrics["margin"]
    assert margin > 0.01
    for budget in [*budgets, *front.cost[:5].tolist()]:  # and exactly what one costs
        type_budget(browser, budget)
        expected = answer_with_margin(front, SPACE, budget, margin)
        now = shown(browser)
        assert now["command"].split()[2] == expected.arch
        assert now["Top-1 predicted"] == f"{expected.accuracy:.2%}"
        counts = pnag.count(expected.arch)
        assert now["Parameters"] == f"{float(f'{counts.params / 1e6:.3g}'):g}M"
        assert now["MAdds"] == f"{float(f'{counts.macs / 1e6:.3g}'):g}M"
        depths = pnag.Architecture.parse(expected.arch).depths
        drawn = browser.run(
            "[...document.querySelectorAll('#picture .unit')].map(unit => "
            "unit.querySelectorAll('.block').length)"
        )
        assert drawn == list(depths)
        assert browser.run("document.querySelectorAll('#picture .slot').length") == 20

    type_budget(browser, front.cost[0] * 0.9)
    assert "the cheapest costs" in browser.run("document.getElementById('note').textContent")
    assert shown(browser)["Parameters"] == "–"
    type_budget(browser, front.cost[-1] * 2)
    assert "no larger one" in browser.run("document.getElementById('note').textContent")


def test_each_cost_has_a_slider_and_the_answer_is_within_all(runs: Path, browser: Chromium) -> None:
    browser.errors.clear()
    browser.open(runs / "several" / "report.html", width=375)
    assert browser.run("document.documentElement.scrollWidth") <= 375
    known = read_table(RunDirectory(runs / "several").vector_front)
    front = load_calibrated_front(RunDirectory(runs / "several"), SPACE)
    middle = float(known["cost"].median())
    type_budget(browser, middle)  # nothing else is limited: as in a run of one cost
    assert shown(browser)["command"].split()[2] == answer(front, SPACE, middle).arch
    for shares in ((0.4, 0.9, 0.9), (0.7, 0.5, 0.6), (0.9, 0.3, 0.8)):
        cost, params, joules = (
            float(known[name].quantile(share))
            for name, share in zip(("cost", "params", "joules"), shares, strict=True)
        )
        type_budget(browser, cost)
        type_budget(browser, params, "budget-0")
        type_budget(browser, joules, "budget-1")
        within = known[
            (known["cost"] <= cost) & (known["params"] <= params) & (known["joules"] <= joules)
        ]
        best = within.loc[within["accuracy"].idxmax()]
        now = shown(browser)
        assert (now["command"].split()[2], now["Found by"]) == (best["arch"], best["from"])
    browser.run("document.getElementById('slider-1').focus()")
    browser.press("Home", 36)
    type_budget(browser, float(known["params"].min()), "budget-0")
    note = browser.run("document.getElementById('note').textContent")
    assert note.startswith("Nothing known is within") and "params and" in note
    assert shown(browser)["Parameters"] == "–"
    assert browser.errors == []


def test_rows_of_choices_are_listed_for_any_budgets(runs: Path, browser: Chromium) -> None:
    browser.errors.clear()
    browser.open(runs / "choices" / "report.html", width=375)
    assert browser.run("document.documentElement.scrollWidth") <= 375
    run = RunDirectory(runs / "choices")
    front, known = read_table(run.front), read_table(run.vector_front)
    joules = known["joules"]

    def listed(where: str = "picture") -> dict[str, str]:
        names, values = (
            f"[...document.querySelectorAll('#{where} {part}')].map(x => x.textContent)"
            for part in ("dt", "dd")
        )
        return dict(zip(browser.run(names), browser.run(values), strict=True))

    def as_shown(arch: str) -> dict[str, str]:
        return {k: "–" if v is None else str(v) for k, v in json.loads(arch).items()}

    for budget in (front["cost"].min(), 24.0, 41.9, front["cost"].max()):
        type_budget(browser, float(budget))
        best = front[front["cost"] <= budget].iloc[-1]
        assert listed() == as_shown(best["arch"])
    type_budget(browser, 40.0)
    type_budget(browser, 24.5, "budget-0")
    within = known[(known["cost"] <= 40) & (joules <= 24.5)]
    best = within.loc[within["accuracy"].idxmax()]
    assert listed() == as_shown(best["arch"])
    assert listed("numbers")["Found by"] == best["from"]
    assert not {"Parameters", "MAdds"} & set(listed("numbers"))
    type_budget(browser, float(joules.min()) * 0.9, "budget-0")
    assert browser.run("document.querySelector('#picture > div').hidden")  # nothing is within
    browser.run("document.getElementById('chart').focus()")
    browser.press("Home", 36)
    assert listed("point-picture") == as_shown(front["arch"][0])
    assert browser.run("[...document.querySelectorAll('.command')].every(x => x.hidden)")
    assert browser.run("document.getElementById('gallery')") is None
    assert browser.errors == []


def test_the_answers_of_choices_are_a_row_each(runs: Path) -> None:
    page = (runs / "choices" / "report.html").read_text()
    cells = re.search("aria-label='Answers'>(.*?)</table>", page, re.S)
    assert cells is not None
    header = re.findall("<th scope='col'>(.*?)</th>", cells[1])
    assert header[-3:] == ["layers", "act", "second &lt;width&gt;"]
    rows = [re.findall("<t[dh][^>]*>(.*?)</t[dh]>", row) for row in cells[1].split("<tr>")[2:]]
    for row, one in zip(rows, load_results(runs / "choices").metrics["answers"], strict=True):
        values = one["choices"].values()
        assert row[-3:] == ["–" if v is None else html.escape(str(v)) for v in values]
    assert "Parameters and MAdds" not in page and "The best choice for your budget" in page


def test_the_charts_picker_begins_at_the_answer_with_the_margin(
    runs: Path, browser: Chromium
) -> None:
    browser.open(runs / "cpu" / "report.html", width=1280)
    metrics = load_results(runs / "cpu").metrics
    front = load_calibrated_front(RunDirectory(runs / "cpu"), SPACE)
    budget = metrics["answers"][len(metrics["answers"]) // 2]["budget"]
    expected = answer_with_margin(front, SPACE, budget, metrics["margin"]).arch
    command = browser.run("document.querySelector('#point-numbers code').textContent")
    assert command.split()[2] == expected != answer(front, SPACE, budget).arch


def test_a_run_on_images_answers_its_own_budgets_as_it_did(
    runs: Path, browser: Chromium, tmp_path: Path
) -> None:
    """Its answers are tuned, and do not follow from the front alone."""
    path = tmp_path / "mine"
    shutil.copytree(runs / "mine", path)
    metrics = json.loads((path / "metrics.json").read_text())
    first, own = metrics["answers"][0], metrics["answers"][-1]
    own |= {name: first[name] for name in ("arch", "accuracy", "cost", "params", "macs")}
    (path / "metrics.json").write_text(json.dumps(metrics))
    save_report(load_results(path))
    browser.open(path / "report.html", width=1280)
    type_budget(browser, own["budget"])
    now = shown(browser)
    assert now["command"] == f"pnag export {path.resolve()} --to onnx --budget {own['budget']!r}"
    assert now["Top-1 predicted"] == f"{own['accuracy']:.2%}"
    type_budget(browser, own["budget"] - 1e-3)  # what the front says
    assert f"--weights {path.resolve()}/supernet.safetensors" in shown(browser)["command"]
    assert shown(browser)["Top-1 predicted"] != f"{own['accuracy']:.2%}"


def test_points_of_the_front_by_keyboard_and_pointer(runs: Path, browser: Chromium) -> None:
    browser.errors.clear()
    browser.open(runs / "cpu" / "report.html", width=1280)
    command = "document.querySelector('#point-numbers code').textContent"
    front = load_calibrated_front(RunDirectory(runs / "cpu"), SPACE)
    texts = SPACE.text(front.tokens)
    browser.run("document.getElementById('chart').focus()")
    browser.press("Home", 36)
    assert browser.run(command) == f"pnag export {texts[0]} --to onnx --weights published"
    browser.press(*RIGHT)
    assert browser.run(command) == f"pnag export {texts[1]} --to onnx --weights published"

    browser.run("document.getElementById('chart').scrollIntoView({block: 'center'})")
    place = "document.querySelector('#chart .picked').getBoundingClientRect()"
    browser.press(*END)
    x, y = browser.run(f"(b => [b.x + b.width / 2, b.y + b.height / 2])({place})")
    browser.press("Home", 36)
    browser.move(x, y)
    assert browser.run(command) == f"pnag export {texts[-1]} --to onnx --weights published"
    browser.move(x, y + 150)  # on the way to the button the choice stays
    assert browser.run(command) == f"pnag export {texts[-1]} --to onnx --weights published"

    copied = browser.run(
        "new Promise(done => { Object.defineProperty(navigator, 'clipboard', {configurable: true,"
        " value: {writeText: async text => done(text)}});"
        " document.querySelector('#point-numbers button').click(); })"
    )
    assert copied == f"pnag export {texts[-1]} --to onnx --weights published"
    assert browser.errors == []


CONTRASTS = """
(() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgb = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = (c) => c.slice(0, 3).map((v) => v / 255).map((v) => (
    v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4
  )).reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const under = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const colour = rgb(getComputedStyle(at).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255, 255];
  };
  document.querySelectorAll('details').forEach((node) => { node.open = true; });
  return [...document.querySelectorAll('body *')].filter((node) => (
    node.getClientRects().length && !['SCRIPT', 'NOSCRIPT'].includes(node.tagName)
    && [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim())
  )).map((node) => {
    const style = getComputedStyle(node);
    const ink = rgb(node.namespaceURI.endsWith('svg') ? style.fill : style.color);
    const [a, b] = [light(ink), light(under(node))].sort((x, y) => y - x);
    return [Math.round(100 * (a + 0.05) / (b + 0.05)) / 100, node.textContent.trim().slice(0, 60)];
  });
})()
"""


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("name", ["cpu", "mine"])
def test_all_text_can_be_read_against_its_background(
    runs: Path, browser: Chromium, name: str, dark: bool
) -> None:
    browser.open(runs / name / "report.html", width=1280, dark=dark)
    contrasts = browser.run(CONTRASTS)
    assert len(contrasts) > 100
    assert [pair for pair in contrasts if pair[0] < 4.5] == []  # as WCAG 2.2 asks for, level AA


def test_the_tab_key_reaches_every_control_in_the_order_of_the_page(
    runs: Path, browser: Chromium
) -> None:
    browser.open(runs / "several" / "report.html", width=375)
    everything = (
        "[...document.querySelectorAll('button, input, summary, [tabindex=\"0\"]')]"
        ".filter(node => node.checkVisibility())"
    )
    expected = browser.run(f"{everything}.length")
    reached = []
    for _ in range(expected):
        browser.press("Tab", 9)
        reached.append(browser.run(f"{everything}.indexOf(document.activeElement)"))
        outline = browser.run(
            "(s => [s.outlineStyle, parseFloat(s.outlineWidth)])"
            "(getComputedStyle(document.activeElement))"
        )
        assert outline[0] == "solid" and outline[1] >= 2, reached
    assert reached == list(range(expected)) and expected > 10


def test_what_was_predicted_and_what_was_measured_look_different(
    runs: Path, browser: Chromium
) -> None:
    browser.open(runs / "mine" / "report.html", width=1280)
    header = "[...document.querySelectorAll('[aria-label=Answers] thead th')]"
    marks = browser.run(f"{header}.map(th => th.querySelector('.kind')?.textContent ?? '')")
    assert marks[:5] == ["", "predicted", "test", "predicted", "measured"]
    styles = browser.run(
        "[...document.querySelectorAll('[aria-label=Answers] tbody tr:first-child td')]"
        ".map(td => getComputedStyle(td).fontStyle)"
    )
    assert styles[:4] == ["italic", "normal", "italic", "normal"]
    assert browser.run("document.querySelectorAll('#chart .dot.hollow').length") > 0
    assert browser.run("document.querySelectorAll('#chart .dot.c-known:not(.hollow)').length") > 0


def test_commands_in_a_table_have_room_on_a_phone(runs: Path, browser: Chromium) -> None:
    browser.open(runs / "cpu" / "report.html", width=375)
    heights = browser.run(
        "[...document.querySelectorAll('td .long')].map(node => node.clientHeight)"
    )
    assert len(heights) > 3 and max(heights) < 120
    predicted = browser.run(
        "[...document.querySelectorAll('[aria-label^=Best] tbody tr td:nth-child(2) em')].length"
    )
    assert predicted == len(heights)


def test_the_page_says_what_found_each_answer(runs: Path, browser: Chromium) -> None:
    browser.open(runs / "several" / "report.html", width=1280)
    answers = load_results(runs / "several").metrics["answers"]
    found = browser.run(
        "[...document.querySelectorAll('[aria-label=Answers] tbody td:last-child')]"
        ".map(td => td.textContent)"
    )
    assert found == [answer["from"] for answer in answers]
    assert "Found by: the table" in browser.run("document.querySelector('main').textContent")


def test_nothing_is_outside_the_landmarks_and_their_names_differ(
    runs: Path, browser: Chromium
) -> None:
    browser.open(runs / "mine" / "report.html", width=375)
    outside = browser.run(
        "[...document.body.children].map(node => node.tagName).filter(name => "
        "!['HEADER', 'MAIN', 'FOOTER', 'SCRIPT'].includes(name))"
    )
    assert outside == []
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    names = [n["name"]["value"] for n in nodes if n.get("role", {}).get("value") == "region"]
    assert len(names) > 4 and len(set(names)) == len(names)


def test_every_control_has_a_name(runs: Path, browser: Chromium) -> None:
    browser.open(runs / "mine" / "report.html", width=375)
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    controls = [
        node for node in nodes
        if node.get("role", {}).get("value") in ("button", "slider", "spinbutton", "image")
        and not node["ignored"]
    ]  # fmt: skip
    assert len(controls) > 10
    assert all(node["name"]["value"].strip() for node in controls), controls
