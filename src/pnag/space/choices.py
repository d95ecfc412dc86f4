"""Any search space: rows of choices, one column of a table each.

A column's choices are the numbers or names that stand in it. Where cells are empty a choice does
not exist: if another column says where, as a depth does of its layers, the token exists under that
condition; else "none" is one of the column's choices.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pnag.errors import BadValueError
from pnag.space.search_space import ABSENT, SearchSpace, Token, Tokens

MOST = 127  # choices of a token, which is a byte

Value = str | float | None
"""What a cell says; None where it is empty."""


@dataclass(frozen=True)
class ChoiceSpace(SearchSpace):
    """Rows of choices, whose text form is JSON: a value by each column's name.

    Attributes:
        names: of the T columns, in the order of the tokens.
        values_of: of each token's choices.
        order: of the names as the user gave them, in which rows are written.
    """

    names: tuple[str, ...] = ()
    values_of: tuple[tuple[Value, ...], ...] = ()
    order: tuple[str, ...] = ()

    def decode(self, tokens: Tokens) -> list[Any]:
        """The N rows of (N, T) tokens, a value by each name; None where there is none."""
        rows = []
        for row in tokens.tolist():
            found = {
                name: None if index == ABSENT else values[index]
                for name, values, index in zip(self.names, self.values_of, row, strict=True)
            }
            rows.append({name: found[name] for name in self.order})
        return rows

    def text(self, tokens: Tokens) -> list[str]:
        """The N rows as JSON."""
        return [json.dumps(row) for row in self.decode(tokens)]

    def encode(self, architectures: Iterable[Any]) -> Tokens:
        """(N, T) tokens of rows, given as mappings or as JSON.

        Raises:
            BadValueError: (a ValueError) for a value that its column does not have, or one that is
                missing or too many: names the row, the column and its choices.
        """
        places = [{value: index for index, value in enumerate(values)} for values in self.values_of]
        tokens = np.full((0, len(self.names)), ABSENT, np.int8)
        rows = []
        for number, item in enumerate(architectures, 1):
            row = json.loads(item) if isinstance(item, str) else item
            indices = []
            for name, known in zip(self.names, places, strict=True):
                value = cell(row.get(name))
                if str(value) in known:  # a file of digits alone is read as numbers
                    value = str(value)
                if value is not None and value not in known:
                    allowed = ", ".join(str(one) for one in known)
                    raise BadValueError(
                        f"row {number}: {name} is {value}, but can only be {allowed}"
                    )
                indices.append(known.get(value, ABSENT))  # "none" can be a choice of its own
            rows.append(indices)
        if rows:
            tokens = np.array(rows, np.int8)
        wrong = (tokens >= 0) != self.exists(tokens)
        if wrong.any():
            number, column = (int(i) for i in np.argwhere(wrong)[0])
            token = self.tokens[column]
            says = f"row {number + 1}: {self.names[column]} is "
            if token.parent < 0:
                raise BadValueError(f"{says}empty, and every architecture has one")
            says += "given" if tokens[number, column] >= 0 else "empty"
            raise BadValueError(f"{says} where {self.names[token.parent]} does not go with that")
        return tokens

    def as_json(self) -> dict[str, Any]:
        """What a file keeps of the space."""
        return {
            "names": self.names, "values": self.values_of, "order": self.order,
            "parents": [token.parent for token in self.tokens],
            "needs": [token.needs for token in self.tokens],
        }  # fmt: skip

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> ChoiceSpace:
        """The inverse of `as_json`.

        Raises:
            KeyError, TypeError, ValueError: if it is not one.
        """
        values = tuple(tuple(map(cell, column)) for column in raw["values"])
        parts = zip(raw["names"], values, raw["parents"], raw["needs"], strict=True)
        tokens = tuple(
            Token(name, tuple(range(len(column))), int(parent), int(needs))
            for name, column, parent, needs in parts
        )
        return cls(tokens, names=tuple(raw["names"]), values_of=values, order=tuple(raw["order"]))


def cell(value: Any) -> Value:
    """A cell as it is compared: a number as a float, anything else as a text, None if empty."""
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return None
    if isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool):
        if isinstance(value, float) and not np.isfinite(value):  # JSON has no such number
            return str(value)
        return int(value) if float(value).is_integer() else float(value)
    text = str(value).strip()
    return text or None


def rows_of(frame: pd.DataFrame, columns: Sequence[str]) -> list[dict[str, Value]]:
    """The M rows' choices."""
    cells = {name: [cell(value) for value in frame[name].tolist()] for name in columns}
    return [{name: cells[name][row] for name in columns} for row in range(len(frame))]


def space_of_rows(rows: Sequence[dict[str, Value]], columns: Sequence[str]) -> ChoiceSpace:
    """The space that M rows of choices are drawn from.

    Raises:
        ValueError: for a column with a single choice or with too many: names it.
    """
    choices = {name: _sorted({row[name] for row in rows} - {None}) for name in columns}
    partly = [name for name in columns if any(row[name] is None for row in rows)]
    always = [name for name in columns if name not in partly]
    for name in columns:
        if len(choices[name]) + (name in partly) < 2:
            raise ValueError(f"column {name!r} is the same in every row; leave it out of --choices")
        if len(choices[name]) >= MOST:
            raise ValueError(
                f"column {name!r} has {len(choices[name])} different values, and a choice can have "
                f"{MOST - 1}; leave it out of --choices"
            )
    present = {
        (parent, child): found
        for parent in always
        for child in partly
        if (found := _presence(rows, parent, child)) is not None
    }
    for parent in always:  # names get the order in which more and more exists
        if not all(isinstance(value, int | float) for value in choices[parent]):
            counts = {
                value: sum(found[value] for (p, _), found in present.items() if p == parent)
                for value in choices[parent]
            }
            choices[parent] = sorted(choices[parent], key=counts.__getitem__)
    names, tokens, values = list(always), [], []
    conditions = {child: _condition(child, always, choices, present) for child in partly}
    names += partly
    for name in names:
        place, needs = conditions.get(name) or (-1, 0)
        own: list[Value] = list(choices[name])
        if name in partly and place < 0:
            own.insert(0, None)
        tokens.append(Token(name, tuple(range(len(own))), place, needs))
        values.append(tuple(own))
    return ChoiceSpace(
        tuple(tokens), names=tuple(names), values_of=tuple(values), order=tuple(columns)
    )


def _sorted(values: Iterable[Value]) -> list[Any]:
    """Numbers by size, before names by the alphabet."""
    return sorted(values, key=lambda v: (isinstance(v, str), v))


def _presence(
    rows: Sequence[dict[str, Value]], parent: str, child: str
) -> dict[Value, bool] | None:
    """For each value of a column whether another has a choice there; None if it depends on more."""
    found: dict[Value, bool] = {}
    for row in rows:
        there = row[child] is not None
        if found.setdefault(row[parent], there) != there:
            return None
    return found


def _condition(
    child: str,
    always: Sequence[str],
    choices: dict[str, list[Any]],
    present: dict[tuple[str, str], dict[Value, bool]],
) -> tuple[int, int] | None:
    """The column whose choices from one on let `child` exist, and the index of that one."""
    for place, parent in enumerate(always):
        found = present.get((parent, child))
        if found is None:
            continue
        flags = [found[value] for value in choices[parent]]
        if flags == sorted(flags):
            return place, flags.index(True)
    return None
