"""Costs by name or file: what each means, and every way in which a file can be wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

import pnag
from pnag.cost.block_csv import write_block_csv
from pnag.cost.counted import CountedCost
from pnag.cost.latency_model import LatencyModel, fit_latency_model
from pnag.cost.latency_table import LatencyTable
from pnag.cost.load import load_cost
from pnag.cost.timing import Drift
from pnag.errors import PnagError
from pnag.families import family
from pnag.families.ofa_mobilenetv3 import ofa

SPACE = pnag.SearchSpace()
SIZE: dict[str, Any] = {"resolution": 64, "num_classes": 10}
WIDTH = 0.5
TOKENS = SPACE.sample_stretched(40, np.random.default_rng(0))
FACTS = Path(__file__).resolve().parents[2].parent / "shared" / "facts"


def made_up_model() -> LatencyModel:
    return LatencyModel(1.5, 0.1 + np.random.default_rng(0).random(90), ofa(WIDTH))


def measured_table(**changed: object) -> LatencyTable:
    model = made_up_model()
    table = LatencyTable({"width_mult": WIDTH, **SIZE, **changed}, drift=Drift([1.0]))
    width, resolution = table.identity["width_mult"], table.identity["resolution"]
    specs = ofa(width).blocks(resolution)
    table.blocks = {s.key: [t] for s, t in zip(specs, model.blocks.tolist(), strict=True)}
    times = model.predict(TOKENS).tolist()
    table.calibration = {a: [t] for a, t in zip(SPACE.text(TOKENS), times, strict=True)}
    return table


@pytest.mark.parametrize("name", ["params", "macs", "memory"])
def test_counted_costs_are_the_counts(name: str, tmp_path: Path) -> None:
    cost = load_cost(name, ofa(WIDTH), **SIZE)
    expected = [getattr(pnag.count(a, WIDTH, **SIZE), name) for a in SPACE.text(TOKENS)]
    assert cost.predict(TOKENS).tolist() == expected
    cost.save(tmp_path / "cost.json")
    assert CountedCost.load(tmp_path / "cost.json") == cost


def test_a_measured_table_is_fitted_and_a_runs_model_taken_as_it_is(tmp_path: Path) -> None:
    table = measured_table()
    table.save(tmp_path / "latency_table.json")
    fitted = fit_latency_model(table)
    loaded = load_cost(str(tmp_path / "latency_table.json"), ofa(WIDTH), **SIZE)
    assert loaded.predict(TOKENS) == pytest.approx(fitted.predict(TOKENS), rel=1e-12)
    made_up_model().save(tmp_path / "latency_model.json")
    loaded = load_cost(str(tmp_path / "latency_model.json"), ofa(WIDTH), **SIZE)
    assert (loaded.predict(TOKENS) == made_up_model().predict(TOKENS)).all()
    (tmp_path / "latency_table.json").unlink()
    with pytest.raises(PnagError, match="does not say what size"):
        load_cost(str(tmp_path / "latency_model.json"), ofa(WIDTH), **SIZE)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"resolution": 96}, r"resolution 96 \(the networks have 64\); .*--resolution 64"),
        ({"width_mult": 1.0}, r"width_mult 1 \(the networks have 0.5\); .*--width-mult 0.5"),
        ({"num_classes": 1000}, r"num_classes 1000 \(the networks have 10\); .*--num-classes 10"),
    ],
)
def test_tables_of_another_size_are_refused(
    tmp_path: Path, changed: dict[str, object], says: str
) -> None:
    path = tmp_path / "table.json"
    measured_table(**changed).save(path)
    with pytest.raises(PnagError, match=says):
        load_cost(str(path), ofa(WIDTH), **SIZE)


def test_all_that_a_table_differs_in_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    measured_table(resolution=96, width_mult=1.0).save(path)
    with pytest.raises(PnagError) as caught:
        load_cost(str(path), ofa(WIDTH), **SIZE)
    said = str(caught.value)
    assert "width_mult 1 (the networks have 0.5), resolution 96 (the networks have 64);" in said
    # The classes agree, but without the option it would be measured with 1000.
    assert "(pnag measure --width-mult 0.5 --resolution 64 --num-classes 10 --out FILE)" in said


def test_where_architectures_choose_their_resolution_no_other_counts(tmp_path: Path) -> None:
    path, of = tmp_path / "table.json", ofa().with_resolutions((64, 96))
    LatencyTable({"width_mult": 1.0, "resolution": 224, "num_classes": 1000}).save(path)
    with pytest.raises(PnagError) as caught:
        load_cost(str(path), of, resolution=96)
    said = str(caught.value)
    assert "family ofa-mobilenetv3 (the networks are of ofa-mobilenetv3@64,96);" in said
    assert "(pnag measure --family ofa-mobilenetv3@64,96 --out FILE)" in said
    LatencyTable({**of.identity(), "resolution": 224, "num_classes": 1000}).save(path)
    with pytest.raises(PnagError, match=r"lacks 180 blocks"):  # it is of these networks
        load_cost(str(path), of, resolution=96)
    with pytest.raises(PnagError, match=r"@64,96 \(the networks are of ofa-mobilenetv3-w0\.5\);"):
        load_cost(str(path), ofa(WIDTH))


def test_a_table_with_a_nan_or_without_a_block_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    table = measured_table()
    first = next(iter(table.blocks))
    table.blocks[first] = [float("nan")]
    path.write_text(json.dumps({"version": 2, **vars(table), "drift": vars(table.drift)}))
    with pytest.raises(PnagError, match="not a positive number"):
        load_cost(str(path), ofa(WIDTH), **SIZE)
    del table.blocks[first]
    table.save(path)
    with pytest.raises(PnagError, match="lacks 1 blocks"):
        load_cost(str(path), ofa(WIDTH), **SIZE)


def test_a_half_measured_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    table = measured_table()
    table.identity["calibration"] = len(table.calibration) + 1
    table.save(path)
    with pytest.raises(
        PnagError, match=r"table.json: .* too few calibration networks \(\d+ of \d+\); finish it"
    ):
        load_cost(str(path), ofa(WIDTH), **SIZE)
    table.drift.levels.clear()
    table.save(path)
    with pytest.raises(PnagError, match="no time of the reference network"):
        load_cost(str(path), ofa(WIDTH), **SIZE)


def test_resolutions_that_share_blocks_have_one_row_for_them(tmp_path: Path) -> None:
    of = family("ofa-mobilenetv3@208,224")  # both end in maps of 7 by 7
    rng = np.random.default_rng(0)
    model = LatencyModel(np.array([1.0, 1.2]), 0.1 + rng.random(len(of.blocks())), of)
    write_block_csv(tmp_path / "phone.csv", model, num_classes=10)
    loaded = load_cost(str(tmp_path / "phone.csv"), of, **SIZE | {"resolution": 224})
    keys = [block.key for block in of.blocks()]
    assert len(set(keys)) < len(keys)
    found = dict(zip(keys, loaded.blocks, strict=True))
    for key in set(keys):
        alike = [t for name, t in zip(keys, model.blocks, strict=True) if name == key]
        assert found[key] == pytest.approx(np.mean(alike))


def test_a_csv_says_what_the_model_says(tmp_path: Path) -> None:
    path = tmp_path / "phone.csv"
    write_block_csv(path, made_up_model(), **SIZE)
    frame = pd.read_csv(path)
    assert list(frame) == ["operator", "ms"] and len(frame) == 91
    assert frame["operator"][0] == "fixed-64x64x3-classes10"
    loaded = load_cost(str(path), ofa(WIDTH), **SIZE)
    assert loaded.predict(TOKENS) == pytest.approx(made_up_model().predict(TOKENS), rel=1e-12)
    for name, value, missing in (
        ("resolution", 96, "fixed-96x96x3"),
        ("width_mult", 1.0, "no operator '32x32x16-expand48"),
        ("num_classes", 11, "classes11"),
    ):
        with pytest.raises(PnagError, match=missing):
            asked = {"width_mult": WIDTH, **SIZE, name: value}
            load_cost(str(path), ofa(asked.pop("width_mult")), **asked)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("nan", "ms of '.*' must be a positive number, not 'nan'"),
        ("-1", "not '-1'"),
        ("0", "not '0'"),
        ("inf", "not 'inf'"),
        ("", "not ''"),
        ("fast", "not 'fast'"),
        (None, "no operator"),
    ],
)
def test_a_csv_with_a_bad_time_names_the_operator(
    tmp_path: Path, value: str | None, says: str
) -> None:
    path = tmp_path / "phone.csv"
    write_block_csv(path, made_up_model(), **SIZE)
    frame = pd.read_csv(path, dtype=str)
    operator = frame["operator"][7]
    frame.loc[7, "ms"] = value
    (frame if value is not None else frame.drop(7)).to_csv(path, index=False)
    with pytest.raises(PnagError, match=says) as caught:
        load_cost(str(path), ofa(WIDTH), **SIZE)
    assert operator in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "cannot read"),
        ("operator\na\n", "no column 'ms'"),
        ("ms\n3\n", "no column 'operator'"),
        ("operator,ms\na,1\na,2\n", "'a' in several rows"),
        ("operator,ms\na,1\n", "no operator 'fixed-64x64x3-classes10'"),
    ],
)
def test_bad_csv_files(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "phone.csv"
    path.write_text(text)
    with pytest.raises(PnagError, match=says):
        load_cost(str(path), ofa(WIDTH), **SIZE)


def test_a_time_that_no_device_takes_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(PnagError, match=r"-0\.1 ms for fixed-224x224x3"):
        write_block_csv(tmp_path / "x.csv", LatencyModel(-0.1, np.ones(90)))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("parms", "no cost 'parms'; it can be params, macs, memory, a latency table"),
        ("no/such/file.json", "no cost 'no/such/file.json'"),
        ("table.txt", "no column 'operator'.*a cost can be params"),
        ("broken.json", "cannot read"),
        ("list.json", "not a latency table"),
        ("wrong.yaml", "no operator 'Conv-input:64x64x3"),
    ],
)
def test_specifications_that_are_no_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("table.txt").write_text("x")
    Path("broken.json").write_text("{")
    Path("list.json").write_text("[]")
    Path("wrong.yaml").write_text(yaml.safe_dump({"Conv-input:224x224x3": {"mean": 1.0}}))
    with pytest.raises(PnagError, match=says):
        load_cost(name, ofa(WIDTH), **SIZE)


@pytest.mark.skipif(not FACTS.exists(), reason=f"the published figures are not at {FACTS}")
def test_the_note10_table_is_a_cost_of_its_size_only() -> None:
    path = str(FACTS / "note10_latency_ms" / "224_lookup_table.yaml")
    networks = json.loads((FACTS / "ofa_specialized_architectures.json").read_text())
    (arch,) = [n["arch"] for n in networks if n["name"].startswith("note10_lat-30ms")]
    cost = load_cost(path, ofa(1.2))
    assert cost.predict(SPACE.encode([arch]))[0] == pytest.approx(29.97, abs=0.005)
    with pytest.raises(PnagError, match=r"Conv-input:192x192x3.*another width or resolution"):
        load_cost(path, ofa(1.2), resolution=192)
    with pytest.raises(PnagError, match="another width or resolution"):
        load_cost(path)
