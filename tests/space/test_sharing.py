"""Samples that share first units: who shares, and that nobody's own distribution changes."""

from __future__ import annotations

import numpy as np
import pytest

from pnag.space import SearchSpace, sample_shared

SPACE = SearchSpace()


def test_groups_share_their_first_units() -> None:
    tokens = sample_shared(SPACE, 22, np.random.default_rng(0), shared=4, units=2)
    assert tokens.shape == (22, 45) and len(np.unique(tokens, axis=0)) == 22
    SPACE.check(tokens)
    for first in range(0, 22, 4):
        group = tokens[first : first + 4]
        assert (group[:, :18] == group[:1, :18]).all()
        assert len(np.unique(group[:, 18:], axis=0)) == len(group)
    assert len(np.unique(tokens[:, :18], axis=0)) == 6


@pytest.mark.parametrize(("shared", "units"), [(1, 2), (4, 2), (8, 1), (4, 0), (3, 4)])
def test_marginals(shared: int, units: int) -> None:
    """Each token's choices are as often as `sample` draws them, the first units' too."""
    n = 40_000
    tokens = sample_shared(SPACE, n, np.random.default_rng(1), shared=shared, units=units)
    for column, token in enumerate(SPACE.tokens):
        exists = 1.0
        if token.parent >= 0:
            exists = 1 - token.needs / len(SPACE.tokens[token.parent].choices)
        for choice in range(len(token.choices)):
            expected = exists / len(token.choices)
            # Only whole groups are independent of each other.
            spread = np.sqrt(expected * (1 - expected) / (n / shared))
            assert abs((tokens[:, column] == choice).mean() - expected) < 5 * spread


def test_wrong_numbers() -> None:
    rng = np.random.default_rng(0)
    for wrong in ({"shared": 0}, {"units": 5}, {"units": -1}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
            sample_shared(SPACE, 4, rng, **wrong)
