"""What several training processes do together: share files, average gradients, notice a loss.

The main process alone reads files of weights and hands on what is in them, so that the machines of
a cluster need no disk in common.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import nn

from pnag.errors import PnagError

Value = TypeVar("Value")


def from_main(accelerator: Accelerator, read: Callable[[], Value]) -> Value:
    """What the main process reads; the others get it from there.

    Args:
        read: called on the main process only; its result must pickle.

    Raises:
        PnagError: on all processes, if `read` raises it.
    """
    if accelerator.num_processes == 1:
        return read()
    outcome: list[tuple[bool, Value | PnagError] | None] = [None]
    if accelerator.is_main_process:
        try:
            outcome = [(True, read())]
        except PnagError as error:
            outcome = [(False, error)]
    with others_alive():
        broadcast_object_list(outcome)
    assert outcome[0] is not None
    done, value = outcome[0]
    if not done:
        assert isinstance(value, PnagError)
        raise value
    return value  # type: ignore[return-value]


def average_gradients(parameters: list[nn.Parameter], accelerator: Accelerator) -> None:
    """Over processes. All have trained the same networks, so all have the same gradients.

    Raises:
        PnagError: if another process has ended.
    """
    if accelerator.num_processes == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    with others_alive():
        flat = accelerator.reduce(flat, "mean")
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def check_same_weights(model: nn.Module, accelerator: Accelerator) -> None:
    """Compare the parameters of all processes by a checksum; batch norms' statistics may differ.

    Raises:
        PnagError: if a process has other parameters, or has ended.
    """
    if accelerator.num_processes == 1:
        return
    with torch.no_grad():
        sums = [
            torch.stack([p.double().sum(), p.double().square().sum()]) for p in model.parameters()
        ]
    own = torch.stack(sums)[None]
    with others_alive():
        everyone = accelerator.gather(own)
    # NaN equals itself here: a loss that is no number has an error of its own.
    differ = (everyone != everyone[:1]) & ~(everyone.isnan() & everyone[:1].isnan())
    others = differ.flatten(1).any(1).nonzero().flatten().tolist()
    if others:
        raise PnagError(
            f"process(es) {', '.join(map(str, others))} have other weights than process 0; all "
            "must run the same version of pnag and torch. Start them again: the training resumes "
            "from its last checkpoint"
        )


@contextlib.contextmanager
def others_alive() -> Iterator[None]:
    """Turn the failure of a common operation into a message that says what to do.

    Raises:
        PnagError: if another process has ended.
    """
    try:
        yield
    except RuntimeError as error:
        reason = str(error).strip().splitlines() or ["no reason given"]
        raise PnagError(
            f"another process of this training has ended or cannot be reached ({reason[0][:200]}). "
            "Start all processes again: the training resumes from its last checkpoint"
        ) from error
