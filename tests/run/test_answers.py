"""Budgets that a run chooses by itself, and what its answers are."""

from __future__ import annotations

import numpy as np
import pytest

import pnag
from pnag.run.answer_stage import spread_budgets
from pnag.search.front import Front

SPACE = pnag.SearchSpace()


@pytest.mark.parametrize(
    ("low", "high"), [(1.234, 9.876), (0.01, 0.0345), (2312345.0, 7654321.0), (3e9, 4e9)]
)
def test_budgets_are_round_and_hold_the_whole_front(low: float, high: float) -> None:
    tokens = SPACE.sample(2, np.random.default_rng(0))
    budgets = spread_budgets(Front(tokens, np.array([0.1, 0.2]), np.array([low, high])))
    assert len(budgets) == 5 and budgets == sorted(budgets)
    assert low < budgets[0] and high <= budgets[-1] < high + 0.02 * (high - low)
    for budget in budgets:  # as a table shows it, it can be given again
        assert float(f"{budget:g}") == budget
