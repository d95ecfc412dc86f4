"""Weights of supernets from files, and the two files that Once-for-All publishes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load
from torch import Tensor

from pnag.downloads import Checksum, PublishedFile, fetch
from pnag.errors import PnagError
from pnag.families.elastic_network import ElasticNetwork
from pnag.families.registry import DEFAULT, family
from pnag.families.supernet import Supernet, own_spelling, width_and_classes
from pnag.families.wrapped import read_pickle, supernet_weights

ROOT = "https://raw.githubusercontent.com/han-cai/files/master/ofa/ofa_nets"


PUBLISHED = {
    width: PublishedFile(name, f"{ROOT}/{name}", Checksum("git blob id", blob_id))
    for width, name, blob_id in (
        (1.0, "ofa_mbv3_d234_e346_k357_w1.0", "55d835981d8acd1053657a951b18887a724ddcbf"),
        (1.2, "ofa_mbv3_d234_e346_k357_w1.2", "d75a3613bae216091f61fc4b7df77d49cc82ed32"),
    )
}


def load_published(width_mult: float = 1.0) -> Supernet:
    """The supernet that Once-for-All trained on ImageNet (MIT licence), in evaluation mode.

    The first call fetches the file (some 30 to 50 MB) into the folder that the environment
    variable PNAG_CACHE names, by default ~/.cache/pnag; later ones need no network.

    Args:
        width_mult: 1.0 or 1.2.

    Raises:
        PnagError: for another width, if the file cannot be fetched (with the URL and the place
            for the file), or if its content is not the published one.
    """
    if width_mult not in PUBLISHED:
        known = ", ".join(map(str, PUBLISHED))
        raise PnagError(f"no weights of width {width_mult} are published; choose one of {known}")
    return _load_ofa(fetch(PUBLISHED[width_mult]))[0]


def load_checkpoint(path: Path | str) -> ElasticNetwork:
    """The supernet of a checkpoint file, in evaluation mode.

    A file of pnag says which family it is of. Any other is of Once-for-All's, whose width
    multiplier and class count are read off the weights' shapes.

    Args:
        path: safetensors, or what `torch.save` wrote: a state dict, or anything with one in it, as
            training programs write it (`pnag.families.wrapped`); all published spellings of keys.
            No code in it is run.

    Raises:
        PnagError: if the file cannot be read, is damaged or holds anything else.
    """
    return load_noted(path)[0]


def load_noted(path: Path | str) -> tuple[ElasticNetwork, str]:
    """The same, and which of several supernets in the file it is; empty if there is one.

    Raises:
        PnagError: as `load_checkpoint`.
    """
    path = Path(path)
    about = described(path)
    if "family" not in about:
        return _load_ofa(path)
    of = family(about["family"])
    if not of.name.startswith(DEFAULT):
        if not isinstance(about.get("num_classes"), int):
            raise PnagError(f"{path} does not say how many classes its supernet has; train it anew")
        return of.supernet(about["num_classes"], path).eval(), ""
    supernet, note = _load_ofa(path)
    supernet.family = of
    return supernet, note


def _load_ofa(path: Path) -> tuple[Supernet, str]:
    try:
        found = supernet_weights(read_weights(path))
        weights = own_spelling(found.weights)
        width_mult, num_classes = width_and_classes(weights)
        # On "meta" no random weights are drawn that the file's would replace at once.
        with torch.device("meta"):
            supernet = Supernet(width_mult, num_classes)
        missing = supernet.state_dict().keys() - weights.keys()
        # Files of old releases of torch do not have these counts; nothing here depends on them.
        counts = {key: torch.tensor(0) for key in missing if key.endswith("num_batches_tracked")}
        supernet.load_state_dict(
            {key: _as_own(value) for key, value in (weights | counts).items()}, assign=True
        )
    except PnagError as error:
        raise PnagError(f"{path}: {error}") from error
    return supernet.eval(), f"{path}: {found.note}" if found.note else ""


def started_from(supernet: Supernet, path: Path | str) -> None:
    """Fill a supernet from a checkpoint of its width; its classifier only if the classes agree.

    Raises:
        PnagError: as `load_checkpoint`, or if the file is of another width.
    """
    found, _ = _load_ofa(Path(path))
    if found.width_mult != supernet.width_mult:
        raise PnagError(
            f"{path} is of {found.family.name}, not of {supernet.family.name}; take that family, "
            "or other weights"
        )
    weights = found.state_dict()
    if found.num_classes != supernet.num_classes:
        weights = {k: v for k, v in weights.items() if not k.startswith("classifier.")}
    supernet.load_state_dict(weights, strict=found.num_classes == supernet.num_classes)


def described(path: Path) -> dict[str, Any]:
    """What a file of pnag says beside its weights; empty of a file from elsewhere."""
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {}).get("pnag", "{}"))
    except (SafetensorError, OSError, ValueError):  # damaged, by `torch.save`, marked otherwise
        return {}
    return about if isinstance(about, dict) else {}


def read_weights(path: Path) -> dict[str, Tensor]:
    """What a checkpoint file holds, on the CPU; its keys as they are in the file.

    Raises:
        PnagError: if the file cannot be read, is damaged or not a mapping.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PnagError(f"cannot read it: {error.strerror or error}") from error
    if data[8:9] == b"{":  # after the header's length; no pickle or zip has this there
        try:
            return load(data)
        except SafetensorError as error:
            raise PnagError(f"damaged safetensors file ({error}); fetch it again") from error
    nothing = f"{len(data)} bytes that are neither safetensors nor weights saved by torch.save"
    try:
        content, left = read_pickle(data)
    except Exception as error:  # damaged pickles raise nearly any type
        text = str(error).rpartition("WeightsUnpickler error:")[2]  # torch's advice before it
        reason = text.strip().split("\n", 1)[0] or type(error).__name__
        raise PnagError(
            f"{nothing}, or damaged ({reason}); fetch it again, or save "
            "the state_dict() of a network instead of the network"
        ) from error
    if not isinstance(content, dict):
        raise PnagError(f"holds a {type(content).__name__}, not a state dict")
    if left and not any(_tensors(content)):
        raise PnagError(
            f"{nothing}, but objects of {', '.join(left[:3])}, which pnag does not load because "
            "that could run code; save the state_dict() of the network instead"
        )
    return content


def _tensors(value: object) -> Iterator[bool]:
    """One for each tensor in mappings of mappings, attributes included."""
    if isinstance(value, Tensor):
        yield True
    elif isinstance(value, Mapping):
        for inner in (*value.values(), *getattr(value, "__dict__", {}).values()):
            yield from _tensors(inner)


def _as_own(value: Tensor) -> Tensor:
    """A copy that training can use: not half precision, and not in the file's memory."""
    value = value.detach()
    return value.to(torch.float32 if value.is_floating_point() else value.dtype, copy=True)
