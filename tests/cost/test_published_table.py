"""Published operator tables: the sum of a network's operators, and every way to be wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

import pnag
from pnag.cost.latency_model import LatencyModel
from pnag.cost.operators import read_operators
from pnag.cost.published_table import NOTE10
from pnag.errors import PnagError
from pnag.families.ofa_mobilenetv3 import ofa

SPACE = pnag.SearchSpace()
FACTS = Path(__file__).resolve().parents[2].parent / "shared" / "facts"


def load_note10(path: Path, width_mult: float = 1.0) -> LatencyModel:
    return read_operators(path).model(path, NOTE10, ofa(width_mult), 224, 1000)


@pytest.mark.skipif(not FACTS.exists(), reason=f"the published figures are not at {FACTS}")
def test_the_published_latency_of_a_published_network() -> None:
    model = load_note10(FACTS / "note10_latency_ms" / "224_lookup_table.yaml", 1.2)
    networks = json.loads((FACTS / "ofa_specialized_architectures.json").read_text())
    (arch,) = [n["arch"] for n in networks if n["name"].startswith("note10_lat-30ms")]
    assert model.predict(SPACE.encode([arch]))[0] == pytest.approx(29.97, abs=0.005)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "cannot read"),
        ("[", "cannot read"),
        ("- 1", "not a mapping"),
        ("{}", "no operator 'Conv-input:224x224x3-output:112x112x16'"),
        (yaml.safe_dump({"Conv-input:224x224x3-output:112x112x16": {"mean": float("nan")}}),
         "must be a positive number"),
        (yaml.safe_dump({"Conv-input:224x224x3-output:112x112x16": "fast"}),
         "must be a positive number"),
    ],
)  # fmt: skip
def test_bad_tables_are_clear_errors(tmp_path: Path, text: str | None, says: str) -> None:
    path = tmp_path / "table.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(PnagError, match=says):
        load_note10(path)
