"""Processes that train together: what they hand on, compare, and say when one of them is gone."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import os, signal, sys, time
import torch
from accelerate import Accelerator
from torch import nn
from pnag.errors import PnagError
from pnag.supernet.processes import average_gradients, check_same_weights, from_main

accelerator = Accelerator(cpu=True)
rank = accelerator.process_index
assert accelerator.num_processes == 2

def on_main():
    assert rank == 0
    return {"weights": torch.arange(3.0)}

assert torch.equal(from_main(accelerator, on_main)["weights"], torch.arange(3.0))

def refused():
    raise PnagError("the file is damaged")

try:
    from_main(accelerator, refused)
except PnagError as error:
    print(rank, "told:", error, flush=True)

torch.manual_seed(0)
model = nn.Linear(4, 2)
check_same_weights(model, accelerator)
with torch.no_grad():
    model.weight[0, 0] += 1e-6 * rank
try:
    check_same_weights(model, accelerator)
except PnagError as error:
    print(rank, "differs:", error, flush=True)

parameters = list(model.parameters())
model.weight.grad = torch.full((2, 4), float(rank))
average_gradients(parameters, accelerator)
assert model.bias.grad is None and torch.equal(model.weight.grad, torch.full((2, 4), 0.5))
if rank == 1:
    print(1, "ready", flush=True)
    time.sleep(60)
try:
    average_gradients(parameters, accelerator)
except PnagError as error:
    print(rank, "alone:", error, flush=True)
    os._exit(3)
"""


def test_two_processes_share_compare_and_notice_a_loss(tmp_path: Path) -> None:
    script = tmp_path / "two.py"
    script.write_text(SCRIPT)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = [
        subprocess.Popen(
            [sys.executable, str(script)],
            env=os.environ
            | {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
            | {"LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    try:
        other = started[1].stdout
        assert other is not None
        lines = []
        while "ready" not in (line := other.readline()):
            assert line, started[1].communicate()[1]
            lines.append(line)
        os.kill(started[1].pid, signal.SIGKILL)
        out, errors = started[0].communicate(timeout=60)
    finally:
        for process in started:
            process.kill()
            process.wait()
    assert started[0].returncode == 3, errors
    for rank, text in ((0, out), (1, "".join(lines))):
        assert f"{rank} told: the file is damaged" in text
        assert f"{rank} differs: process(es) 1 have other weights than process 0" in text
    assert "0 alone: another process of this training has ended" in out
    assert "the training resumes from its last checkpoint" in out
