"""Any cost by a name or a file: one way in for all that predicts what architectures cost."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
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
from pnag.families.registry import family, of_width
from pnag.files import exists, expand_home, read_json

Cost = CountedCost | LatencyModel
"""Predicts (N,) costs of (N, T) tokens."""

KINDS = (
    f"{', '.join(COUNTED)}, a latency table of `pnag measure`, or a table of operators or blocks "
    "(JSON, YAML or CSV)"
)
MEASURED = {"identity", "blocks", "calibration"}  # of our own tables and models
# of `pnag measure`, where an option is not given
UNLESS_GIVEN = {"width_mult": 1.0, "resolution": 224, "num_classes": 1000}


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
    raw = measured_content(path)
    if raw is not None:
        return _measured(path, raw, of, resolution, num_classes)
    try:
        operators = read_operators(path)
    except PnagError as error:
        raise PnagError(f"{error}; a cost can be {KINDS}") from error
    default = BLOCKS if operators.of_column else NOTE10
    naming = next((one for one in (BLOCKS, NOTE10, NSGANET) if operators.has(one)), default)
    return operators.model(path, naming, of, resolution, num_classes)


def measured_content(path: Path) -> dict[str, Any] | None:
    """What a file holds if it is a latency table of ours or a model fitted to one, else None.

    The content decides that, not the name.
    """
    try:
        raw = read_json(path)
    except PnagError:
        return None
    return raw if isinstance(raw, dict) and not MEASURED.isdisjoint(raw) else None


def _measured(
    path: Path, raw: dict[str, Any], of: Family, resolution: int, num_classes: int
) -> LatencyModel:
    """The model of a latency table, or a run's that lies beside its table.

    Args:
        raw: the content of `path`.
        of, resolution, num_classes: the networks that it is to be of.
    """
    is_model = "fixed" in raw
    table_file = path.with_name("latency_table.json") if is_model else path
    if not table_file.exists():
        raise PnagError(
            f"{path} does not say what size of networks it is for; give the latency table that it "
            f"was fitted to, or put that next to it as {table_file.name}"
        )
    table = LatencyTable.load(table_file)
    # Where architectures choose their resolution, this one changes nothing that is measured.
    pixels = {} if of.elastic else {"resolution": resolution}
    size = {**of.identity(), **pixels, "num_classes": num_classes}
    _refuse_another_size(table_file, table.identity, of, size)
    if is_model:
        return LatencyModel.load(path)
    try:
        return fit_latency_model(table)
    except PnagError as error:
        raise PnagError(f"{path}: {error}") from error


def _refuse_another_size(
    file: Path, measured: Mapping[str, Any], of: Family, size: Mapping[str, Any]
) -> None:
    """Refuse a table of other networks; name all that differs, because measuring takes long.

    Args:
        measured: the identity of the table. of, size: of the networks.
    """
    differing = [name for name, value in size.items() if measured.get(name) != value]
    if not differing:
        return
    found = ", ".join(_difference(name, measured, of, size) for name in differing)
    options = " ".join(
        f"--{name.replace('_', '-')} {shlex.quote(_shown(value))}"
        for name, value in size.items()
        if name in differing or value != UNLESS_GIVEN.get(name)  # else it is measured at these
    )
    raise PnagError(
        f"{file} was measured with {found}; measure the device at that size "
        f"(pnag measure {options} --out FILE)"
    )


def _difference(name: str, measured: Mapping[str, Any], of: Family, size: Mapping[str, Any]) -> str:
    """What a table has of `name`, and the networks: `resolution 96 (the networks have 64)`.

    A family that is known by its width is called by name beside one that is not.
    """
    if name == "family" or (name == "width_mult" and "family" in measured):
        there = measured.get("family", of_width(measured.get("width_mult", 1.0)))
        return f"family {there} (the networks are of {of.name})"
    there = f"{name} {_shown(measured[name])}" if name in measured else f"no {name}"
    return f"{there} (the networks have {_shown(size[name])})"


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
