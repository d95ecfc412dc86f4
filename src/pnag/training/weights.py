"""Files of trained weights, which say what they were trained on and how."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from pnag.errors import PnagError
from pnag.files import write_bytes


def trained(
    module: nn.Module,
    path: Path,
    identity: str,
    accelerator: Accelerator,
    train: Callable[[Path], None],
) -> None:
    """Put the weights of `path` into a module, after training it if there are none.

    All processes end with the same weights, those of the main one: batch norms' statistics are of
    each process' own images.

    Args:
        train: trains the module in place, given the path of a checkpoint to go on from.
    """
    found = load_weights(path, identity, module)
    accelerator.wait_for_everyone()  # all have looked before one writes
    checkpoint = path.with_name(f"{path.stem}.checkpoint.safetensors")
    if found:
        if accelerator.is_main_process:
            checkpoint.unlink(missing_ok=True)  # of a stop right after the weights were written
        return
    train(checkpoint)
    if accelerator.is_main_process:
        save_weights(module, path, identity)
        checkpoint.unlink(missing_ok=True)
    accelerator.wait_for_everyone()
    if not accelerator.is_main_process:
        load_weights(path, identity, module)


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


def described(path: Path) -> dict[str, Any]:
    """What `save_described` wrote beside the weights; empty of a file from elsewhere."""
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {}).get("pnag", "{}"))
    except (SafetensorError, OSError, ValueError):  # damaged, by `torch.save`, marked otherwise
        return {}
    return about if isinstance(about, dict) else {}


def load_weights(path: Path, identity: str, module: nn.Module) -> bool:
    """Put a file's weights into a module; False if there is none of this identity.

    Raises:
        PnagError: if the file is damaged.
    """
    if not path.exists():
        return False
    try:
        with safe_open(path, "pt") as file:
            if (file.metadata() or {}).get("pnag") != identity:
                return False
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        module.load_state_dict(state)
    except (SafetensorError, OSError, RuntimeError) as error:
        raise PnagError(
            f"the weights {path} are damaged ({error}); remove the file to train them anew"
        ) from error
    return True
