"""Costs and budgets as people write them, never rounded down."""

from __future__ import annotations

import math

UNITS = (("G", 1e9), ("M", 1e6), ("K", 1e3))


def amount(value: float) -> str:
    """A positive cost or budget as one would write it, rounded up to four digits: 12.35, 5.981M."""
    suffix, unit = next(((s, u) for s, u in UNITS if value >= u), ("", 1.0))
    return f"{rounded_up(value, unit):g}{suffix}"


def rounded_up(value: float, unit: float = 1.0) -> float:
    """The least number of four digits that, times `unit`, is not below a positive value.

    A budget that is suggested for a network must hold it, by a hair too.
    """
    digits = 3 - math.floor(math.log10(value / unit))
    # Round first, as 12.35 times 100 may be a hair more than 1235, then see that it is enough.
    whole = math.ceil(round(value / unit * 10.0**digits, 6))
    rounded = float(f"{whole}e{-digits}")
    return rounded if rounded * unit >= value else float(f"{whole + 1}e{-digits}")
