"""Pictures of architectures: what is drawn is what the family's layer table has."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from chromium import Chromium

import pnag
from pnag.families import Family
from pnag.files import write_json, write_text
from pnag.report.drawing import drawing, legend
from pnag.report.figures import architecture_columns, save_figure
from pnag.report.page import write_report
from pnag.report.results import Results
from pnag.space import BaseArchitecture

FAMILIES = ["ofa-mobilenetv3", "ofa-mobilenetv3@128,192", "timm/mobilenetv3_large_100",
            "timm/efficientnet_lite0@96,160"]  # fmt: skip


def bars(family: Family, arch: str) -> list[list[tuple[int, int]]]:
    """Kernel and width of each existing layer, unit by unit, as the text form has them."""
    parsed: BaseArchitecture = family.parse(arch)
    found, start = [], 0
    for unit, depth in enumerate(parsed.depths):
        places = slice(start, start + depth)
        found.append(list(zip(parsed.kernels[places], parsed.widths[places], strict=True)))
        start += sum(layer.unit == unit for layer in family.table)
    return found


@pytest.mark.parametrize("name", FAMILIES)
def test_every_layer_is_drawn_as_the_table_has_it(name: str) -> None:
    family = pnag.family(name)
    for arch in [*family.sample(10, np.random.default_rng(0)), str(family.largest)]:
        drawn = drawing(family, arch)
        assert [[(b.kernel, b.width) for b in unit if b] for unit in drawn.units] == bars(
            family, arch
        )
        layers = family.layers(arch)
        assert drawn.resolution == (layers[0].input_size if family.elastic else 0)
        largest = [layer for layer in family.layers(family.largest) if layer.unit >= 0]
        assert sum(map(len, drawn.units)) == len(largest)
        expanded = {layer.name: layer.expanded for layer in layers}
        places = [bar for unit in drawn.units for bar in unit]
        for bar, layer in zip(places, largest, strict=True):
            assert (bar is None) == (layer.name not in expanded)
            if bar is not None:
                assert bar.share == pytest.approx(expanded[layer.name] / layer.expanded, abs=1e-3)
    meaning = legend(family)
    assert max(meaning.widths.values()) == 1
    assert set(meaning.widths) == {layer.width for layer in family.blocks()}


def page_of(folder: Path, family: Family) -> tuple[dict[str, Any], Path]:
    """The data of a page of five architectures, and the page."""
    archs = family.sample(5, np.random.default_rng(1))
    rows = [
        {
            "arch": arch,
            "accuracy": 0.7 + 0.01 * n,
            "cost": 1.0 + n,
            "params": 10,
            "macs": 20,
            "from": "table",
        }
        for n, arch in enumerate(archs)
    ]
    error = {"rows": 5, "mean_error": 0.01, "deviation": 0.02, "tau": 0.9, "rough": False}
    device = {"device": "a CPU", "runtime": "onnxruntime", "version": "1", "threads": 1}
    metrics = {
        "source": "table",
        "unit": "mJ",
        "table": {"architectures": 5},
        "predictors": {"accuracy": error},
        "device": device | family.identity() | {"resolution": 160},
        "answers": [row | {"budget": row["cost"]} for row in rows[1::2]],
    }
    write_json(folder / "logs" / "evaluator.json", {"ranking_loss": [1.0]})
    write_json(folder / "logs" / "generator.json", {"accuracy_within_budget": [0.7]})
    front = pd.DataFrame(rows)
    page = folder / "report.html"
    write_text(page, write_report(Results(folder, metrics, front, front, "", family)))
    return json.loads(
        re.findall(r'<script[^>]*id="data"[^>]*>(.*?)</script>', page.read_text())[0]
    ), page


@pytest.mark.parametrize("name", FAMILIES)
def test_the_page_has_a_picture_of_every_architecture(name: str, tmp_path: Path) -> None:
    family = pnag.family(name)
    data, page = page_of(tmp_path, family)
    rows = list(zip(data["front"]["arch"], data["front"]["drawing"], strict=True))
    for arch, drawn in [*rows, *((a["arch"], a["drawing"]) for a in data["answers"])]:
        shown = [[tuple(bar[:2]) for bar in unit if bar] for unit in drawn["units"]]
        assert shown == bars(family, arch)
        assert drawn.get("resolution", 0) == family.parse(arch).resolution
    assert len(data["answers"]) == 2 and data["legend"] == json.loads(
        json.dumps(legend(family).as_json())
    )
    sizes = "96×96, 160×160" if "@96" in name else "128×128, 192×192" if "@" in name else "160×160"
    assert f" {sizes} pixels." in page.read_text()


@pytest.mark.parametrize("name", FAMILIES)
def test_the_figure_has_a_bar_for_every_layer(name: str, tmp_path: Path) -> None:
    family = pnag.family(name)
    archs = family.sample(3, np.random.default_rng(2))
    figure = architecture_columns([(f"{n} ms", drawing(family, arch)) for n, arch in
                                   enumerate(archs)], legend(family))  # fmt: skip
    text = save_figure(figure, tmp_path / "archs")[0].read_text()
    layers = [layer for arch in archs for unit in bars(family, arch) for layer in unit]
    for kernel, width in set(layers):
        assert text.count(f">{kernel}×{kernel} e{width}<") == layers.count((kernel, width))
    assert text.count(">unit ") == len(bars(family, archs[0]))
    for arch in archs:
        pixels = family.parse(arch).resolution
        assert not pixels or f"ms, {pixels}×{pixels}<" in text


@pytest.mark.parametrize("name", FAMILIES)
def test_a_browser_draws_it(name: str, browser: Chromium, tmp_path: Path) -> None:
    family = pnag.family(name)
    data, page = page_of(tmp_path, family)
    browser.errors.clear()
    browser.open(page, width=1280)
    command = "document.querySelector('#numbers code').textContent"
    arch = browser.run(command).split()[2]
    assert arch in data["front"]["arch"]
    drawn = browser.run(
        "[...document.querySelectorAll('#picture .unit')].map(unit => "
        "[...unit.querySelectorAll('.block')].map(block => "
        "[...block.children].map(span => span.textContent).join(' ')))"
    )
    assert drawn == [[f"{k}×{k} e{w}" for k, w in unit] for unit in bars(family, arch)]
    assert browser.errors == []
