"""A supernet's weights in the checkpoint of any training program.

Around them: `state_dict`, `model`, `ema` and so on, at any depth, beside an optimizer and settings,
or the whole pickled module. Before their names: `module.` and the like. No code of a file is run:
objects of classes that torch does not know as harmless are read as plain mappings.
"""

from __future__ import annotations

import importlib
import io
import pickle
import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pnag.errors import PnagError

MARK = "first_conv.conv.weight"  # in all published spellings
WRAPPERS = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
"""What torch puts between the names of modules."""
AVERAGES = re.compile("ema|averag|shadow|swa", re.IGNORECASE)
DEPTH = 4
EXPECTED = f"{MARK!r}, 'blocks.1....', 'classifier.linear.weight'"


@dataclass(frozen=True)
class Found:
    """Weights by their names in a supernet, in any published spelling.

    Attributes:
        note: which they are, where there were several; else empty.
    """

    weights: dict[str, Tensor]
    note: str = ""


def supernet_weights(content: Mapping[Any, Any]) -> Found:
    """The weights of a supernet in what a checkpoint file holds.

    Of several the first that is called an average (`ema`), else the first: an average is what
    training programs judge.

    Raises:
        PnagError: if there are none: says what was found and what was expected.
    """
    found = dict(_candidates(content, ""))
    if not found:
        raise PnagError(
            f"these weights are not of a supernet of this space: {_described(content)}, expected "
            f"names such as {EXPECTED}; use a published checkpoint or the weights of a "
            "pnag.Supernet"
        )
    taken = next((name for name in found if AVERAGES.search(name)), next(iter(found)))
    if len(found) == 1:
        return Found(found[taken])
    others = ", ".join(repr(name) for name in found if name != taken)
    return Found(found[taken], f"it holds several supernets: {taken!r} is used, not {others}")


def _candidates(value: Any, where: str, depth: int = DEPTH) -> Iterator[tuple[str, Any]]:
    """All supernets' weights in a value, each by the names on the way to it."""
    if not isinstance(value, Mapping):
        return
    own = {
        _without_wrappers(key): inner
        for key, inner in {**value, **_of_module(value)}.items()
        if isinstance(key, str) and isinstance(inner, Tensor)
    }
    for key in own:
        if key == MARK or key.endswith(f".{MARK}"):
            prefix = key[: -len(MARK)]
            weights = {k[len(prefix) :]: v for k, v in own.items() if k.startswith(prefix)}
            yield f"{where}.{prefix}".strip("."), weights
    if depth:
        for key, inner in value.items():
            yield from _candidates(inner, f"{where}.{key}".strip("."), depth - 1)


def _of_module(value: Mapping[Any, Any], prefix: str = "") -> dict[str, Tensor]:
    """The state of a pickled module, whose attributes `read_pickle` leaves on a mapping."""
    attributes = getattr(value, "__dict__", {})
    state = {}
    for kind in ("_parameters", "_buffers"):
        for name, tensor in (attributes.get(kind) or {}).items():
            if isinstance(tensor, Tensor):
                state[f"{prefix}{name}"] = tensor
    for name, module in (attributes.get("_modules") or {}).items():
        if isinstance(module, Mapping):
            state |= _of_module(module, f"{prefix}{name}.")
    return state


def _without_wrappers(key: str) -> str:
    for wrapper in WRAPPERS:
        key = key.replace(wrapper, "")
    return key


def _described(content: Mapping[Any, Any]) -> str:
    """What is in a checkpoint, in a few words."""
    some = [
        repr(key) if isinstance(value, Tensor) else f"{key!r} ({type(value).__name__})"
        for key, value in list(content.items())[:4]
    ]
    rest = f" and {len(content) - 4} more" if len(content) > 4 else ""
    return f"found {', '.join(some)}{rest}" if some else "found nothing"


# Pickles


class _Left:
    """In place of a class or function that is not trusted: makes an empty mapping of anything."""

    def __new__(cls, *_: object, **__: object) -> Any:
        return OrderedDict()


_UNKNOWN = re.compile(r"GLOBAL (\S+) was not an allowed global")


def read_pickle(data: bytes) -> tuple[Any, list[str]]:
    """What `torch.save` wrote, on the CPU, and the names of what was left out of it.

    Raises:
        Exception: of nearly any type, if the data are damaged or no such file.
    """
    allowed: list[Any] = [*_numpys()]
    left: list[str] = []
    while True:
        try:
            with torch.serialization.safe_globals(allowed):
                content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
            return content, left
        except pickle.UnpicklingError as error:
            unknown = _UNKNOWN.search(str(error))
            if unknown is None or unknown[1] in left:
                raise
            left.append(unknown[1])
            # torch leaves `builtins.` out of what it says
            allowed += [(_Left, name) for name in (unknown[1], f"builtins.{unknown[1]}")]


def _numpys() -> Iterator[Any]:
    """What numbers of numpy are pickled by; an accuracy beside the weights often is one."""
    module = importlib.import_module("numpy._core.multiarray")
    for name in ("scalar", "_reconstruct"):
        for place in ("numpy.core.multiarray", "numpy._core.multiarray"):
            yield getattr(module, name), f"{place}.{name}"
    yield from (np.dtype, np.ndarray)
    yield from {type(np.dtype(code)) for code in "?bhilqBHILQefdFDSU"}
