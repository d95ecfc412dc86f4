"""Spaces made of a table's columns."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from pnag.space import ABSENT
from pnag.space.choices import ChoiceSpace, rows_of, space_of_rows

FRAME = pd.DataFrame(
    {
        "second": [None, 3, 5, None, 3, 5],
        "layers": [1, 2, 2, 1, 2, 2],
        "act": ["relu", "gelu", "relu", "gelu", "relu", "gelu"],
        "pool": ["max", None, "max", None, "avg", None],
        "free": [None, "x", None, "x", "x", None],
    }
)
COLUMNS = ("second", "layers", "act", "pool", "free")
ROWS = rows_of(FRAME, COLUMNS)
SPACE = space_of_rows(ROWS, COLUMNS)


def test_columns_become_tokens_with_their_conditions() -> None:
    named = {token.name: token for token in SPACE.tokens}
    assert SPACE.names == ("layers", "act", "second", "pool", "free")
    assert (named["second"].parent, named["second"].needs) == (0, 1)  # of two layers
    # pool exists with relu only: which comes behind gelu, so that it is a threshold
    assert SPACE.values_of[1] == ("gelu", "relu")
    assert (named["pool"].parent, named["pool"].needs) == (1, 1)
    # nothing tells where `free` is: none is a choice of its own
    assert SPACE.values_of[4] == (None, "x") and named["free"].parent == -1
    assert SPACE.size == (1 + 2) * (1 + 2) * 2


def test_rows_are_what_their_tokens_spell() -> None:
    tokens = SPACE.encode(ROWS)
    assert (SPACE.check(tokens) == tokens).all()
    assert tokens[0].tolist() == [0, 1, ABSENT, 1, 0]
    assert SPACE.decode(tokens) == ROWS
    assert [json.loads(text) for text in SPACE.text(tokens)] == ROWS
    assert list(SPACE.decode(tokens)[0]) == list(COLUMNS)
    assert (SPACE.encode(SPACE.text(tokens)) == tokens).all()
    drawn = SPACE.sample(50, np.random.default_rng(0))
    assert (SPACE.encode(SPACE.text(drawn)) == drawn).all()


def test_a_file_keeps_the_space() -> None:
    again = ChoiceSpace.from_json(json.loads(json.dumps(SPACE.as_json())))
    assert again == SPACE


def test_what_is_not_in_the_space_is_told() -> None:
    with pytest.raises(ValueError, match="row 2: layers is 3, but can only be 1, 2"):
        SPACE.encode([ROWS[0], {**ROWS[1], "layers": 3}])
    with pytest.raises(ValueError, match="row 1: second is empty where layers"):
        SPACE.encode([{**ROWS[1], "second": None}])
    with pytest.raises(ValueError, match="row 1: act is empty, and every architecture has one"):
        SPACE.encode([{**ROWS[1], "act": None}])
    with pytest.raises(ValueError, match="'act' is the same in every row"):
        space_of_rows([{"act": "relu"}] * 3, ("act",))
    with pytest.raises(ValueError, match="'id' has 200 different values"):
        space_of_rows([{"id": float(i)} for i in range(200)], ("id",))


def test_digits_that_are_names_are_found_in_a_file_of_digits_alone() -> None:
    rows = rows_of(pd.DataFrame({"op": ["3", "5", "skip"], "n": [1, 2, 1]}), ("op", "n"))
    space = space_of_rows(rows, ("op", "n"))
    written = rows_of(pd.DataFrame({"op": [3, 5], "n": [1, 2]}), ("op", "n"))
    assert (space.encode(written) == space.encode(rows[:2])).all()


def test_infinity_is_a_name() -> None:
    rows = rows_of(pd.DataFrame({"clip": [1.0, float("inf")], "width": [3, 4]}), ["clip", "width"])
    space = space_of_rows(rows, ["clip", "width"])
    json.dumps(space.as_json(), allow_nan=False)
    assert space.decode(space.encode(rows)) == rows and rows[1]["clip"] == "inf"


def test_empty_cells_of_any_kind_are_empty() -> None:
    assert rows_of(FRAME.convert_dtypes(), COLUMNS) == ROWS
