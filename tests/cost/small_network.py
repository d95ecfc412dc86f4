"""What tests of several runtimes share: a network that is soon converted, and what calls do."""

from __future__ import annotations

import torch

import pnag
from pnag.cost.timing import Open

SHAPE = (1, 3, 48, 48)
ARCH = "2,2,2,2,2:" + ",".join(["5,3,0,0"] * 5) + ":" + ",".join(["3,4,0,0"] * 5)


def small_network() -> torch.nn.Module:
    torch.manual_seed(0)
    return pnag.build(ARCH, 0.25, 10).eval()


def assert_each_run_is_timed(opened: Open) -> None:
    """Two of one network may be open at once, and each call tells as many times as it was asked."""
    first, second = opened(), opened()
    for call in (first, second, first):
        times = call(3)
        assert len(times) == 3 and min(times) > 0
