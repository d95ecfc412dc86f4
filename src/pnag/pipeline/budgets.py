"""A budget as it is written, and the unit that a cost has."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pnag.cost.counted import COUNTED
from pnag.cost.runtimes import RUNTIMES
from pnag.errors import PnagError


@dataclass(frozen=True)
class Budget:
    """A positive amount of a cost, in the unit that it was written with.

    Attributes:
        unit: ms, B, or empty where none was written.
    """

    amount: float
    unit: str = ""


def check_units(budgets: Mapping[str, Budget], column: str | None) -> None:
    """Whether each budget has its cost's unit, or none.

    Args:
        budgets: by the cost's name: a count, or milliseconds of a device.
        column: the name that is of a table's column, whose unit only this name may tell.

    Raises:
        PnagError: names the budget and what its unit can be.
    """
    for name, budget in budgets.items():
        if name in COUNTED:
            units = {COUNTED[name]}
        elif name == column:
            units = {"ms", "B"} & set(re.split(r"[^A-Za-z]+", column))
        else:
            units = {"ms"}
        if budget.unit not in {"", *units}:
            needs = "".join(units) or "none: a number alone"
            raise PnagError(
                f"the budget {budget.amount:g} of {name} has the unit {budget.unit}, needs {needs}"
            )


def device_name(runtime: str) -> str:
    """What networks of a runtime run on, in a word: cpu, gpu, phone, npu."""
    name, _, device = runtime.partition(":")
    if name in RUNTIMES and RUNTIMES[name].phone:
        return "phone"
    if name.startswith("cuda"):
        return "gpu"
    word = re.match("[A-Za-z]+", device)  # of OpenVINO's GPU.1 and so on
    return word[0].lower() if word else "cpu"
