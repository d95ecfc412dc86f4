"""A budget as it is written, and the unit that a cost has."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pnag.cost.counted import COUNTED
from pnag.cost.runtimes import ON_NVIDIA, RUNTIMES
from pnag.errors import PnagError
from pnag.run.amounts import UNITS, amount
from pnag.run.nested_tables import in_milliseconds


@dataclass(frozen=True)
class Budget:
    """A positive amount of a cost, in the unit that it was written with.

    Attributes:
        unit: ms, B, or empty where none was written.
    """

    amount: float
    unit: str = ""


_WRITTEN = re.compile(
    r"(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+)\s*(?:(ms)|([kKMG]i?)?(B)?)"
)  # a number, and milliseconds, or a multiple of bytes or of nothing
_MULTIPLES = {"": 1.0, "k": 1e3, "ki": 2.0**10, **dict(UNITS)} | {
    f"{name}i": 2.0 ** (10 * power) for power, name in enumerate("KMG", 1)
}


def read_budget(text: str) -> Budget | None:
    """`30`, `6.5ms`, `6M`, `2MB` or `1.5 MiB` as a budget; None for anything else.

    K, M and G are 10^3, 10^6 and 10^9; Ki, Mi and Gi are powers of 1024.
    """
    match = _WRITTEN.fullmatch(text.strip())
    if match is None:
        return None
    number, milliseconds, multiple, byte = match.groups()
    value = float(number) * _MULTIPLES[multiple or ""]
    return Budget(value, milliseconds or byte or "") if 0 < value < math.inf else None


def check_units(budgets: Mapping[str, Budget], columns: str | Sequence[str] | None) -> None:
    """Whether each budget has its cost's unit, or none.

    Args:
        budgets: by the cost's name: a count, or milliseconds of a device.
        columns: the name, or names, that are of a table's columns, whose units only these names
            may tell.

    Raises:
        PnagError: names the budget and what its unit can be.
    """
    of_table = {columns} if isinstance(columns, str) else set(columns or ())
    for name, budget in budgets.items():
        if name in COUNTED:
            units = {COUNTED[name]}
        elif name in of_table:
            units = {"ms", "B"} & set(re.split(r"[^A-Za-z]+", name))
            units |= {"ms"} if in_milliseconds(name) else set()
        else:
            units = {"ms"}
        if budget.unit not in {"", *units}:
            known = " or ".join(sorted(units - {""}))
            fix = f"give it in {known}" if known else "give the number alone"
            raise PnagError(
                f"the budget {amount(budget.amount)} of {name} has the unit {budget.unit}; {fix}"
            )


def device_name(runtime: str) -> str:
    """What networks of a runtime run on, in a word: cpu, gpu, phone, npu."""
    name, _, device = runtime.partition(":")
    if name in RUNTIMES and RUNTIMES[name].phone:
        return "phone"
    if name in ON_NVIDIA:
        return "gpu"
    word = re.match("[A-Za-z]+", device)  # of OpenVINO's GPU.1 and so on
    return word[0].lower() if word else "cpu"
