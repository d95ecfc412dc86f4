"""Architectures as other programs write them, read into the three lists of `Architecture`.

- `{"ks": 20 numbers, "e": 20 numbers, "d": 5 numbers}`, as JSON or as Python prints it
  (Once-for-All, DyNAS-T). Numbers of layers beyond a unit's depth count for nothing there.
- The same with numbers of existing layers only (NSGANetV2), or one number for all layers.
- The description of one network that Once-for-All writes (`net.config`), read layer by layer.
- Any of these, or our own text, under the name `arch`, as `pnag generate --json` writes.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from pnag.errors import BadValueError
from pnag.space.architecture import MAX_DEPTH, UNITS

NAMES = {
    "depths": ("d", "depth", "depths"),
    "kernels": ("ks", "k", "kernel", "kernels", "kernel_size", "kernel_sizes"),
    "widths": ("e", "expand", "expand_ratio", "expand_ratios", "width", "widths"),
}
"""What each list is called elsewhere, and here."""
SIZES = {
    "resolution": ("r", "resolution", "image_size"),
    "width_mult": ("w", "wid", "width_mult"),
}
"""Names under which some programs write the network's size beside its architecture."""
WANTED = (
    'an architecture is \'d:k:e\', or {"ks": [20 numbers], "e": [20 numbers], "d": [5 numbers]}'
)


def parts_of(text: str) -> Mapping[str, Any]:
    """The mapping that a text spells, as JSON or as Python prints it.

    Raises:
        BadValueError: (a ValueError) if it spells none.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        try:
            value = ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            value = None
    if not isinstance(value, Mapping):
        raise BadValueError(f"cannot read {_short(text)} as an architecture; {WANTED}")
    return value


def spelled_out(parts: Mapping[str, Any]) -> tuple[tuple[int, ...], ...]:
    """Depths (5), kernels (20) and widths (20) of a mapping; 0 where a layer does not exist.

    Raises:
        BadValueError: (a ValueError) names what is missing or wrong.
    """
    if isinstance(parts.get("blocks"), Sequence):
        parts = _of_network(parts["blocks"])
    found = {name: _value(parts, others) for name, others in NAMES.items()}
    missing = [NAMES[name][0] for name, value in found.items() if value is None]
    if missing:
        raise BadValueError(
            f"an architecture with {', '.join(map(repr, parts)) or 'nothing in it'} lacks "
            f"{' and '.join(map(repr, missing))}; {WANTED}"
        )
    depths = _numbers("depths", found["depths"])
    if len(depths) == 1:
        depths *= UNITS
    if len(depths) != UNITS:
        raise BadValueError(f"there must be {UNITS} depths, not {len(depths)}")
    if any(depth > MAX_DEPTH for depth in depths):
        return depths, (0,) * UNITS * MAX_DEPTH, (0,) * UNITS * MAX_DEPTH  # which is refused
    exists = [layer < depth for depth in depths for layer in range(MAX_DEPTH)]
    return depths, *(_of_layers(name, found[name], exists) for name in ("kernels", "widths"))


def sizes_besides(parts: Mapping[str, Any]) -> dict[str, float]:
    """The network's size in a mapping: `resolution` and `width_mult`, each if it is there."""
    found = {name: _value(parts, others) for name, others in SIZES.items()}
    sizes = {}
    for name, value in found.items():
        if hasattr(value, "tolist"):  # numpy's
            value = value.tolist()
        one = value[0] if isinstance(value, Sequence) and len(value) == 1 else value
        if isinstance(one, int | float) and not isinstance(one, bool):
            sizes[name] = float(one)
    return sizes


def _value(parts: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((parts[name] for name in names if parts.get(name) is not None), None)


def _of_layers(name: str, value: Any, exists: list[bool]) -> tuple[int, ...]:
    """A number for each of the 20 positions, 0 where there is no layer."""
    numbers = list(_numbers(name, value))
    if len(numbers) == 1:
        numbers *= len(exists)
    if len(numbers) == len(exists):
        return tuple(n if there else 0 for n, there in zip(numbers, exists, strict=True))
    if len(numbers) != sum(exists):
        raise BadValueError(
            f"there must be {len(exists)} {name}, or {sum(exists)}, one for each layer that "
            f"exists, not {len(numbers)}"
        )
    rest = iter(numbers)
    return tuple(next(rest) if there else 0 for there in exists)


def _numbers(name: str, value: Any) -> tuple[int, ...]:
    """Whole numbers of a list, of its text (`[3, 5]`, `3 5`), or of one number; 0 for nothing."""
    if isinstance(value, str):
        value = [part for part in re.split(r"[\s,;]+", value.strip().strip("[]()")) if part]
    elif hasattr(value, "tolist"):  # an array of numpy
        value = value.tolist()
    numbers = []
    for place, item in enumerate(value if isinstance(value, Sequence) else [value]):
        try:
            number = math.nan if isinstance(item, bool) else float(item)
        except (TypeError, ValueError):
            number = 0.0 if item is None else math.nan
        if isinstance(item, float) and math.isnan(item):  # an empty cell, of no layer
            number = 0.0
        if not number.is_integer():
            raise BadValueError(
                f"number {place + 1} of the {name} must be a whole number, not {item!r}"
            )
        numbers.append(int(number))
    return tuple(numbers)


def _of_network(blocks: Sequence[Any]) -> dict[str, list[int]]:
    """The lists of a network that is described block by block, existing layers only."""
    try:
        # The first block is no layer of a unit. Units differ in their channels.
        layers = [block.get("mobile_inverted_conv") or block["conv"] for block in blocks[1:]]
        units = [list(unit) for _, unit in groupby(layers, key=lambda one: one["out_channels"])]
        return {
            "d": [len(unit) for unit in units],
            "ks": [layer["kernel_size"] for layer in layers],
            "e": [layer["expand_ratio"] for layer in layers],
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise BadValueError(
            "the 'blocks' of an architecture are not those of Once-for-All's MobileNetV3 "
            f"({type(error).__name__}: {error}); {WANTED}"
        ) from error


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
