"""The range of every number of a recipe, written where the number is declared.

`steps: Annotated[int, Interval(ge=1, le=1_000_000)]` is read twice: pydantic checks a recipe by it,
and `check_ranges` what Python code makes. Upper ends keep a typing mistake from asking for more
memory or time than there is.
"""

from __future__ import annotations

import math
from typing import Any, get_args, get_type_hints

from annotated_types import Interval
from pydantic import AfterValidator

__all__ = ["AS_WRITTEN", "Interval", "check_ranges"]


def _as_written(number: float) -> float:
    return int(number) if number.is_integer() else number


# For a `float` of a recipe that may have parts: pydantic would make 3 to 3.0, which is another
# setting for what compares texts.
AS_WRITTEN = AfterValidator(_as_written)


def check_ranges(settings: object) -> None:
    """Refuse settings, for the end of a dataclass' `__post_init__`.

    Raises:
        ValueError: names the number, its value and its range.
    """
    for name, hint in get_type_hints(type(settings), include_extras=True).items():
        value = getattr(settings, name)
        if isinstance(value, tuple):
            for one, its_hint in zip(value, get_args(hint), strict=True):
                _check(name, one, its_hint)
        elif value is not None:
            # of `Annotated[float, ...] | None` the part that is no None
            for part in (hint, *get_args(hint)):
                _check(name, value, part)


def _check(name: str, value: Any, hint: Any) -> None:
    for interval in getattr(hint, "__metadata__", ()):
        if isinstance(interval, Interval) and not _holds(interval, value):
            raise ValueError(f"{name} must be {_text(interval)}, not {value}")


def _holds(interval: Interval, value: Any) -> bool:
    return (
        math.isfinite(value)
        and (interval.gt is None or value > interval.gt)
        and (interval.ge is None or value >= interval.ge)
        and (interval.lt is None or value < interval.lt)
        and (interval.le is None or value <= interval.le)
    )


def _text(interval: Interval) -> str:
    ends = [
        f"{words} {end:,}"
        for words, end in (
            ("more than", interval.gt),
            ("at least", interval.ge),
            ("less than", interval.lt),
            ("at most", interval.le),
        )
        if isinstance(end, (int, float))
    ]
    return " and ".join(ends)
