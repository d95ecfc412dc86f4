"""`pnag` in a process of its own, to be stopped wherever it is.

Processes are forked from one that has imported everything and done nothing: to import torch takes
longer than most stages of a small run.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import stub_runtime

import pnag.__main__
from pnag.cost.runtimes import RUNTIMES

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(
    [
        "onnxruntime",
        "pnag.commands.main",
        "pnag.run.run",
        "pnag.run.collect_stage",
        "pnag.report.page",
        "sklearn.datasets",
    ]
)


def stop_at(arguments: list[object], sign: signal.Signals, out: Path, file: str, said: Path) -> str:
    """Run a command and stop it as soon as there is such a file in its run directory.

    Args:
        file: its path from `out`, which may be a pattern.
        said: a file for what the command writes.

    Returns:
        What the command wrote to both its outputs.
    """
    process = start(arguments, said)
    while process.is_alive() and not any(out.glob(file)):
        time.sleep(0.01)
    if process.pid is not None and process.is_alive():
        os.kill(process.pid, sign)
    process.join(60)
    assert process.exitcode is not None, said.read_text()
    return said.read_text()


def with_a_full_disk(arguments: list[object], limit: int, said: Path) -> int:
    """The exit code of a command that may write no file of more than so many bytes."""
    process = start(arguments, said, limit)
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def start(arguments: list[object], said: Path, limit: int | None = None) -> BaseProcess:
    process = _SERVER.Process(target=_run, args=([str(a) for a in arguments], said, limit))
    process.start()
    return process


def _run(arguments: list[str], said: Path, limit: int | None) -> None:
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    with said.open("wb") as file:
        for output in (1, 2):
            os.dup2(file.fileno(), output)
    # Shells let those that they start in the background ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    RUNTIMES["stub"] = stub_runtime.ENTRY
    sys.argv = ["pnag", *arguments]
    pnag.__main__.main()
