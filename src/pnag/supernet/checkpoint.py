"""A training under way in one file: written by the main process, read by it for all."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn

from pnag.errors import PnagError
from pnag.files import write_bytes
from pnag.supernet.processes import from_main


@dataclass
class State:
    """All that a training changes.

    Attributes:
        step: steps done. parts: of a batch that are worked on one after the other.
    """

    model: nn.Module
    ema: ModelEmaV3 | None
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    step: int = 0
    parts: int = 1


def save_state(path: Path, identity: str, processes: int, state: State) -> None:
    """Write a checkpoint, atomically.

    Args:
        identity: of what is trained on what and how. processes: that train together.
    """
    tensors = {f"model.{name}": value for name, value in state.model.state_dict().items()}
    if state.ema is not None:
        tensors |= {f"ema.{name}": value for name, value in state.ema.module.state_dict().items()}
    for number, parameter in enumerate(_in_order(state.optimizer)):
        for name, value in state.optimizer.state[parameter].items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{number}.{name}"] = value
    contiguous = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    about = {
        "identity": identity,
        "processes": processes,
        "step": state.step,
        "parts": state.parts,
        "scaler": state.scaler.state_dict(),
    }
    write_bytes(path, save(contiguous, {"pnag": json.dumps(about)}))


def load_state(path: Path, identity: str, accelerator: Accelerator, state: State) -> None:
    """Put a checkpoint in place, if there is one of this identity.

    Raises:
        PnagError: on all processes, if it is damaged or was written by another number of them.
    """
    found = from_main(accelerator, lambda: _read(path, identity, accelerator.num_processes))
    if found is None:
        return
    about, tensors = found
    try:
        for prefix, module in (("model.", state.model), ("ema.", state.ema and state.ema.module)):
            if module is not None:
                module.load_state_dict(
                    {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
                )
        parameters = _in_order(state.optimizer)
        for name, value in tensors.items():
            if name.startswith("optimizer."):
                _, number, kept = name.split(".", 2)
                parameter = parameters[int(number)]
                if value.ndim:  # laid out in memory as the weights are
                    value = torch.empty_like(parameter).copy_(value)
                else:  # a fused optimiser wants its number of steps beside the weights, too
                    value = value.to(parameter.device)
                state.optimizer.state[parameter][kept] = value
        if about.get("scaler"):
            state.scaler.load_state_dict(about["scaler"])
        state.parts = max(state.parts, int(about.get("parts", 1)))
        state.step = int(about["step"])
    except torch.OutOfMemoryError:  # a RuntimeError, and no damage
        raise
    except (KeyError, IndexError, ValueError, RuntimeError) as error:
        raise _damaged(path, error) from error


def _read(
    path: Path, identity: str, processes: int
) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    if not path.exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {})["pnag"])
            if about["identity"] != identity:
                return None
            _check_processes(path, about.get("processes", processes), processes)
            return about, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> PnagError:
    return PnagError(
        f"the checkpoint {path} is damaged ({error}); remove it to start this part over"
    )


def _check_processes(path: Path, wrote: int, now: int) -> None:
    if wrote != now:
        raise PnagError(
            f"the checkpoint {path} was written by {wrote} process(es) and would be continued by "
            f"{now}, whose batch norms see other shares of a batch; start {wrote}, or choose "
            "another directory with --out"
        )


def _in_order(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
