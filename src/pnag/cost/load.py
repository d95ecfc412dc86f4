"""Any cost by a name or a file: one way in for all that predicts what architectures cost."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pnag.cost.block_csv import BLOCKS
from pnag.cost.counted import COUNTED, CountedCost
from pnag.cost.latency_model import LatencyModel, fit_latency_model
from pnag.cost.latency_table import LatencyTable
from pnag.cost.operators import read_operators
from pnag.cost.published_table import NOTE10, NSGANET
from pnag.errors import PnagError
from pnag.families.base import Family
from pnag.families.registry import family
from pnag.files import exists, expand_home, read_json

Cost = CountedCost | LatencyModel
"""Predicts (N,) costs of (N, T) tokens."""

KINDS = (
    f"{', '.join(COUNTED)}, a latency table of `pnag measure`, or a table of operators or blocks "
    "(JSON, YAML or CSV)"
)
MEASURED = {"identity", "blocks", "calibration"}  # of our own tables and models


def split_name(text: str) -> tuple[str, str] | None:
    """The name and the specification of `NAME=SPEC`; None if it is not of that form."""
    match = re.fullmatch(r"([A-Za-z][\w-]*)=(.+)", text)
    return (match[1], match[2]) if match else None


def load_cost(
    spec: str, of: Family | None = None, *, resolution: int = 224, num_classes: int = 1000
) -> Cost:
    """A cost of networks of one size.

    Args:
        spec: params, macs or memory, or a file, whose content says what it is: a latency table of
            `pnag measure` or a run, a published table of operators (`published_table.py`), or one
            of blocks (`block_csv.py`).
        of, resolution, num_classes: the networks; Once-for-All's family if None.

    Raises:
        PnagError: if there is no such cost, or the file is unsound or of another size.
    """
    of = of or family()
    if spec in COUNTED:
        return CountedCost(spec, of.name, resolution, num_classes)
    path = expand_home(spec)
    if not exists(path) or not path.is_file():
        raise PnagError(f"there is no cost {spec!r}; it can be {KINDS}")
    size = {**of.identity(), "resolution": resolution, "num_classes": num_classes}
    raw = _json_of(path)
    if isinstance(raw, dict) and not MEASURED.isdisjoint(raw):
        return _measured(path, raw, size)
    try:
        operators = read_operators(path)
    except PnagError as error:
        raise PnagError(f"{error}; a cost can be {KINDS}") from error
    default = BLOCKS if operators.of_column else NOTE10
    naming = next((one for one in (BLOCKS, NOTE10, NSGANET) if operators.has(one)), default)
    return operators.model(path, naming, of, resolution, num_classes)


def _json_of(path: Path) -> Any:
    """What a file holds if it is JSON, else None: that is asked of the content, not of the name."""
    try:
        return read_json(path)
    except PnagError:
        return None


def _measured(path: Path, raw: dict[str, Any], size: dict[str, Any]) -> LatencyModel:
    """The model of a latency table, or a run's that lies beside its table.

    Args:
        raw: the content of `path`.
    """
    is_model = "fixed" in raw
    table_file = path.with_name("latency_table.json") if is_model else path
    if not table_file.exists():
        raise PnagError(
            f"{path} does not say what size of networks it is for; give the latency table that it "
            f"was fitted to, or put that beside it as {table_file.name}"
        )
    table = LatencyTable.load(table_file)
    differing = [name for name, value in size.items() if table.identity.get(name) != value]
    if differing:
        name = differing[0]
        raise PnagError(
            f"{table_file} was measured with {name} {table.identity.get(name)}, the networks have "
            f"{_shown(size[name])}; measure the device at that size "
            f"(pnag measure --{name.replace('_', '-')} {_shown(size[name])})"
        )
    if is_model:
        return LatencyModel.load(path)
    try:
        return fit_latency_model(table)
    except PnagError as error:
        raise PnagError(f"{path}: {error}") from error


def _shown(value: Any) -> str:
    return str(value) if isinstance(value, str) else f"{value:g}"
