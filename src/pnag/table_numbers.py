"""Numbers as people and spreadsheets write them: 76.5, 76,5, 1,234.5, 1.234,5, 72.1 %, 6 ms."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

MISSING = frozenset({"na", "n/a", "nan", "null", "none", "<na>", "#n/a"})
INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)
UNIT = re.compile(r"\s*(%|ms)$")
_GAP = "[ '\u2019\u00a0\u202f]"  # between thousands, besides the sign that the other way has there
_PATTERNS = {
    sign: re.compile(
        rf"(?=[+-]?[.,]?\d)[+-]?(?:\d+|[1-9]\d{{0,2}}(?:(?:\{other}|{_GAP})\d{{3}})+)?"
        rf"(?:\{sign}\d*)?(?:[eE][+-]?\d+)?"
    )
    for sign, other in ((".", ","), (",", "."))
}


def readings(cell: str) -> dict[str, float]:
    """What a cell can be, by the sign before its fraction; empty if it is no number."""
    bare = UNIT.sub("", cell)
    if INFINITE.fullmatch(bare):
        return {".": float(bare), ",": float(bare)}
    found = {}
    for sign, other in ((".", ","), (",", ".")):
        if _PATTERNS[sign].fullmatch(bare):
            found[sign] = float(re.sub(_GAP, "", bare.replace(other, "")).replace(",", "."))
    return found


def is_missing(cell: str) -> bool:
    """Whether a cell stands for no value."""
    return not cell or cell.lower() in MISSING


def signs_of(columns: Mapping[str, Sequence[str]], separator: str) -> dict[str, str | None]:
    """The sign before the fraction in each column.

    A column that can be read in two ways is read as the others of its file are. Where these do not
    tell, a dot is one, and a comma only if the columns are not separated by commas either.

    Returns:
        By the column's name; None where nothing says so, and the numbers differ.
    """
    found = {name: [readings(cell) for cell in cells] for name, cells in columns.items()}
    fits = {
        name: {sign for sign in ".," if all(sign in one for one in ways if one)}
        for name, ways in found.items()
    }
    sure = {sign for name, signs in fits.items() if len(signs) == 1 for sign in signs}
    signs: dict[str, str | None] = {}
    for name, ways in found.items():
        if len(fits[name]) == 1:
            (signs[name],) = fits[name]
        elif not any(one["."] != one[","] for one in ways if len(one) == 2):
            signs[name] = "."
        elif len(sure) == 1:
            (only,) = sure
            commas = any("," in cell for cell in columns[name])
            # A dot that sets thousands apart is rare in files, and one before a fraction is not.
            signs[name] = only if commas or only == "." else None
        elif any("," in cell for cell in columns[name]):
            signs[name] = "," if separator == ";" else None
        else:
            signs[name] = "."
    return signs
