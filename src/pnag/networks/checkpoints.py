"""Weights of supernets from files, and the two files that Once-for-All publishes.

Sources and the hashes of their content: `shared/facts/README.md`.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from pnag.downloads import Checksum, PublishedFile, fetch
from pnag.errors import PnagError
from pnag.networks.supernet import Supernet, own_spelling, width_and_classes

ROOT = "https://raw.githubusercontent.com/han-cai/files/master/ofa/ofa_nets"


@dataclass(frozen=True)
class Published:
    """A published file and the git blob id of its content."""

    name: str
    blob_id: str

    @property
    def file(self) -> PublishedFile:
        """Where to fetch it, and how to know it."""
        return PublishedFile(
            self.name, f"{ROOT}/{self.name}", Checksum("git blob id", self.blob_id)
        )


PUBLISHED = {
    1.0: Published("ofa_mbv3_d234_e346_k357_w1.0", "55d835981d8acd1053657a951b18887a724ddcbf"),
    1.2: Published("ofa_mbv3_d234_e346_k357_w1.2", "d75a3613bae216091f61fc4b7df77d49cc82ed32"),
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
    return load_checkpoint(fetch(PUBLISHED[width_mult].file))


def load_checkpoint(path: Path | str) -> Supernet:
    """The supernet of a checkpoint file, in evaluation mode.

    Width multiplier and class count are read off the weights' shapes.

    Args:
        path: safetensors, or what `torch.save` wrote: a state dict, or a mapping that holds one
            as `state_dict`; all published spellings of keys. No code in it is run.

    Raises:
        PnagError: if the file cannot be read, is damaged or holds anything else.
    """
    path = Path(path)
    try:
        weights = own_spelling(read_weights(path))
        width_mult, num_classes = width_and_classes(weights)
        # On "meta" no random weights are drawn that the file's would replace at once.
        with torch.device("meta"):
            supernet = Supernet(width_mult, num_classes)
        supernet.load_state_dict(
            {key: _as_own(value) for key, value in weights.items()}, assign=True
        )
    except PnagError as error:
        raise PnagError(f"{path}: {error}") from error
    return supernet.eval()


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
    try:
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # damaged pickles raise nearly any type
        reason = str(error).strip().split("\n", 1)[0] or type(error).__name__
        raise PnagError(
            f"{len(data)} bytes that are neither safetensors nor weights saved by torch.save, or "
            f"damaged ({reason}); fetch it again"
        ) from error
    if not isinstance(content, dict):
        raise PnagError(f"holds a {type(content).__name__}, not a state dict")
    return content


def _as_own(value: Tensor) -> Tensor:
    """A copy that training can use: not half precision, and not in the file's memory."""
    return value.to(torch.float32 if value.is_floating_point() else value.dtype, copy=True)
