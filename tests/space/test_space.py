"""Architectures, their text form, and batches of tokens."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pnag
from pnag.space import ABSENT, SearchSpace
from pnag.space.search_space import Token

SPACE = pnag.SearchSpace()
GOOD = "2,3,2,4,2:3,5,0,0,7,5,3,0,3,3,0,0,5,5,5,5,7,7,0,0:3,4,0,0,6,6,6,0,3,4,0,0,3,3,3,3,6,4,0,0"


def test_size_is_that_of_the_paper() -> None:
    assert SPACE.size == 7371**5  # 3 depths: 9^2 + 9^3 + 9^4 variants a unit, 5 units


def test_text_form_round_trips() -> None:
    tokens = SPACE.sample(500, np.random.default_rng(0))
    assert (SPACE.encode(SPACE.text(tokens)) == tokens).all()
    assert str(pnag.Architecture.parse(GOOD)) == GOOD
    assert len({pnag.Architecture.parse(GOOD), pnag.Architecture.parse(f" {GOOD}\n")}) == 1


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", "part"),
        ("1:2", "must have 3 parts"),
        (GOOD.replace("2,3,2,4,2:", "5,3,2,4,2:"), "depth of unit 1 must be one of 2, 3, 4, not 5"),
        (
            GOOD.replace(":3,5,0,0", ":3,4,0,0", 1),
            "kernel of unit 1 layer 2 must be one of 3, 5, 7, not 4",
        ),
        (GOOD.replace(":3,5,0,0", ":3,5,3,0", 1), "unit 1 layer 3 is 3, but the unit has depth 2"),
        (GOOD.replace("2,3,2,4,2:", "2,3,2,4:"), "there must be 5 depths, not 4"),
        (GOOD.replace(":3,5", ":3,x", 1), "number 2 of the kernels"),
        (GOOD.replace(":3,5", ":3,-5", 1), "must be a whole"),
        (GOOD[:-1], "number 20 of the widths"),
    ],
)
def test_malformed_text_names_the_place(text: str, names: str) -> None:
    with pytest.raises(ValueError, match=names):
        pnag.Architecture.parse(text)


def test_choices_that_a_space_lacks_are_named() -> None:
    """A space of its own choices takes no other's for a layer that does not exist."""
    fewer = replace(
        SPACE,
        tokens=tuple(
            replace(token, choices=(3, 5)) if token.name.endswith("kernel") else token
            for token in SPACE.tokens
        ),
    )
    without_seven = "2,2,2,2,2:" + ",".join(["3,5,0,0"] * 5) + ":" + ",".join(["3,6,0,0"] * 5)
    assert fewer.text(fewer.encode([without_seven])) == [without_seven]
    with pytest.raises(ValueError, match=r"architecture 2: unit2\.layer1\.kernel is 7, .* 3, 5"):
        fewer.encode([without_seven, GOOD])
    shallow = replace(SPACE, tokens=tuple(
        replace(token, choices=(2, 3)) if token.name == "unit4.depth" else token
        for token in SPACE.tokens
    ))  # fmt: skip
    with pytest.raises(ValueError, match=r"unit4\.depth is 4, and this search space has 2, 3"):
        shallow.encode([GOOD])


def test_sampling_is_uniform_over_settings() -> None:
    tokens = SPACE.sample(30_000, np.random.default_rng(1))
    for column in range(len(SPACE.tokens)):
        present = tokens[tokens[:, column] != ABSENT, column]
        share = np.bincount(present, minlength=3) / len(present)
        assert np.abs(share - 1 / 3).max() < 0.02


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), rate=st.floats(0, 1))
def test_children_are_architectures(seed: int, rate: float) -> None:
    rng = np.random.default_rng(seed)
    a, b = SPACE.sample(64, rng), SPACE.sample(64, rng)
    SPACE.check(SPACE.mutate(a, rate, rng))
    child = SPACE.crossover(a, b, rng)
    SPACE.check(child)
    # every setting of a child comes from a parent
    assert ((child == ABSENT) | (child == a) | (child == b)).all()


def test_no_mutation_at_rate_zero() -> None:
    rng = np.random.default_rng(0)
    tokens = SPACE.sample(100, rng)
    assert (SPACE.mutate(tokens, 0.0, rng) == tokens).all()


def test_features_are_one_hot_of_what_exists() -> None:
    tokens = SPACE.sample(200, np.random.default_rng(0))
    features = SPACE.features(tokens)
    assert features.shape == (200, 135)
    assert (features.sum(1) == (tokens != ABSENT).sum(1)).all()
    assert (features.reshape(200, 45, 3).argmax(2)[tokens >= 0] == tokens[tokens >= 0]).all()


def test_check_refuses_a_token_that_cannot_exist() -> None:
    tokens = SPACE.encode([GOOD])
    tokens[0, 5] = 1  # third layer of a unit of depth 2
    with pytest.raises(ValueError, match=r"unit1\.layer3\.width"):
        SPACE.check(tokens)


def test_everything_of_a_small_space_is_listed_once() -> None:
    small = SearchSpace(
        (Token("depth", (1, 2, 3)), Token("a", (0, 1), 0, 1), Token("b", (0, 1, 2), 0, 2))
    )
    listed = small.everything()
    assert listed.shape == (small.size, 3) == (1 + 2 + 6, 3) and listed.dtype == np.int8
    assert len(np.unique(listed, axis=0)) == len(listed)
    assert ((listed >= 0) == small.exists(listed)).all()
    assert set(map(bytes, small.sample(200, np.random.default_rng(0)))) == set(map(bytes, listed))
