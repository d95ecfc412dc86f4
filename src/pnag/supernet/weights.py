"""Files of trained weights, which say what they were trained on and how."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from pnag.errors import PnagError
from pnag.files import write_bytes
from pnag.supernet.processes import from_main


def checkpoint_of(path: Path) -> Path:
    """The checkpoint of a training that will end with the weights at `path`."""
    return path.with_name(f"{path.stem}.checkpoint.safetensors")


def load_finished(module: nn.Module, path: Path, identity: str, accelerator: Accelerator) -> bool:
    """Put the weights at `path` into a module; whether there are any of this identity.

    All processes end with those of the main one: batch norms' statistics are of each process' own
    images.

    Raises:
        PnagError: if the file is damaged.
    """
    found = from_main(accelerator, lambda: read_weights(path, identity))
    if found is None:
        return False
    _put(found, path, module)
    if accelerator.is_main_process:
        checkpoint_of(path).unlink(missing_ok=True)  # also after a stop before it was removed
    return True


def save_finished(module: nn.Module, path: Path, identity: str, accelerator: Accelerator) -> None:
    """Write a trained module's weights for `load_finished`, and load them in all processes."""
    if accelerator.is_main_process:
        save_weights(module, path, identity)
    loaded = load_finished(module, path, identity, accelerator)
    assert loaded


def save_weights(module: nn.Module, path: Path, identity: str) -> None:
    """Write a module's weights, atomically.

    The same weights and identity make the same bytes: safetensors writes several entries of its
    metadata in any order, so there is one.
    """
    state = {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}
    write_bytes(path, save(state, {"pnag": identity}))


def save_described(module: nn.Module, path: Path, about: Mapping[str, Any]) -> None:
    """Write a module's weights with a description, for `described`.

    In one file, so that no stop can leave weights beside the description of others.
    """
    save_weights(module, path, json.dumps(about, sort_keys=True))


def read_weights(path: Path, identity: str) -> dict[str, Tensor] | None:
    """A file's weights; None if there is none of this identity.

    Raises:
        PnagError: if the file is damaged.
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            if (file.metadata() or {}).get("pnag") != identity:
                return None
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from error


def _put(state: dict[str, Tensor], path: Path, module: nn.Module) -> None:
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> PnagError:
    return PnagError(
        f"the weights {path} are damaged ({error}); remove the file to train them again"
    )
