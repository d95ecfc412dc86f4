"""Supernets in checkpoints as other programs save them, by the command line."""

from __future__ import annotations

import argparse
import copy
import json
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from typer.testing import CliRunner, Result

import pnag
from pnag.commands.main import app

ARCH = "2,2,2,2,2:" + ",".join(["3,3,0,0"] * 5) + ":" + ",".join(["3,3,0,0"] * 5)
State = dict[str, Tensor]


def export(weights: Path, out: Path) -> Result:
    command = ["export", ARCH, "--to", "timm", "--weights", weights, "--resolution", 32]
    return CliRunner().invoke(app, [str(a) for a in [*command, "--out", out]])


@pytest.fixture(scope="module")
def supernet() -> pnag.Supernet:
    torch.manual_seed(0)
    supernet = pnag.Supernet(0.1, 3)
    for name, value in supernet.state_dict().items():
        if name.endswith(("running_mean", "running_var")):
            value.uniform_(0.5, 1.5)
    return supernet.eval()


@pytest.fixture(scope="module")
def expected(supernet: pnag.Supernet) -> State:
    return dict(supernet.subnet(ARCH).state_dict())


def named(state: State, prefix: str) -> State:
    return {f"{prefix}{key}": value for key, value in state.items()}


class Config(dict[str, Any]):
    """Settings as many programs keep them: a mapping with attributes."""


def settings() -> dict[str, Any]:
    return {
        "args": argparse.Namespace(lr=0.1, out=Path("x")),
        "best": np.float64(0.71),
        "history": np.arange(3.0),
        "config": Config(epochs=3),
        "counts": defaultdict(list, a=[1]),
        "epoch": 3,
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 0.1}]},
    }


def inside(state: State, wrapper: str) -> State:
    """Names as where a part of the network was wrapped: compiled, or split over processes."""
    return {key.replace("blocks.", f"blocks.{wrapper}", 1): value for key, value in state.items()}


CONTENTS: dict[str, Callable[[State], Any]] = {
    "module.": lambda s: named(s, "module."),
    "_orig_mod.module.": lambda s: named(s, "_orig_mod.module."),
    "compiled within": lambda s: inside(s, "_orig_mod."),
    "FSDP": lambda s: inside(named(s, "_fsdp_wrapped_module."), "_fsdp_wrapped_module."),
    "lightning": lambda s: {"state_dict": named(s, "model."), **settings()},
    "state_dict": lambda s: {"state_dict": s},
    "model": lambda s: {"model": s, **settings()},
    "ema": lambda s: {"ema": named(s, "module."), "updates": 3},
    "nested": lambda s: {"checkpoint": {"network": {"params": OrderedDict(s)}}},
    "averaged": lambda s: {"n_averaged": torch.tensor(3), **named(s, "module.")},
    "parameters": lambda s: {
        "model": {k: nn.Parameter(v) if v.is_floating_point() else v for k, v in s.items()}
    },
    "half": lambda s: {k: v.half() if v.is_floating_point() else v for k, v in s.items()},
    "without counts": lambda s: {k: v for k, v in s.items() if "num_batches" not in k},
    "beside an epoch": lambda s: {**s, "epoch": 3},
}  # fmt: skip


@pytest.mark.parametrize("kind", CONTENTS)
def test_a_checkpoint_is_read_however_it_is_wrapped(
    kind: str, supernet: pnag.Supernet, expected: State, tmp_path: Path
) -> None:
    torch.save(CONTENTS[kind](supernet.state_dict()), tmp_path / "weights.pth")
    done = export(tmp_path / "weights.pth", tmp_path / "net.safetensors")
    assert done.exit_code == 0, done.output
    assert "several" not in done.output
    found = load_file(tmp_path / "net.safetensors")
    tolerance = 1e-3 if kind == "half" else 0
    for key, value in expected.items():
        if not key.endswith("num_batches_tracked"):
            torch.testing.assert_close(found[key], value, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("kind", ["module", "state of a file of old releases"])
def test_files_of_all_releases_and_whole_modules(
    kind: str, supernet: pnag.Supernet, expected: State, tmp_path: Path
) -> None:
    whole = nn.DataParallel(supernet)
    content = {"model": whole.state_dict() if "state" in kind else whole, **settings()}
    torch.save(content, tmp_path / "w.pt", _use_new_zipfile_serialization="old" not in kind)
    done = export(tmp_path / "w.pt", tmp_path / "net.safetensors")
    assert done.exit_code == 0, done.output
    found = load_file(tmp_path / "net.safetensors")
    assert all(torch.equal(found[key], value) for key, value in expected.items())


def test_of_several_supernets_the_average_is_taken_and_that_is_said(
    supernet: pnag.Supernet, expected: State, tmp_path: Path
) -> None:
    other = copy.deepcopy(supernet)
    nn.init.zeros_(other.classifier.linear.weight)  # type: ignore[arg-type]
    content = {"model": other.state_dict(), "model_ema": supernet.state_dict()}
    torch.save(content, tmp_path / "w.pt")
    done = export(tmp_path / "w.pt", tmp_path / "net.safetensors")
    assert "it holds several supernets: 'model_ema' is used, not 'model'" in " ".join(
        done.output.split()
    )
    found = load_file(tmp_path / "net.safetensors")
    assert torch.equal(found["classifier.weight"], expected["classifier.weight"])


def test_prefixes_in_safetensors(supernet: pnag.Supernet, expected: State, tmp_path: Path) -> None:
    save_file(named(dict(supernet.state_dict()), "module."), tmp_path / "w.safetensors")
    done = export(tmp_path / "w.safetensors", tmp_path / "net.safetensors")
    assert done.exit_code == 0, done.output
    found = load_file(tmp_path / "net.safetensors")
    assert all(torch.equal(found[key], value) for key, value in expected.items())


class Evil:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return exec, ("raise SystemExit('code ran')",)


def test_an_object_beside_the_weights_runs_no_code(supernet: pnag.Supernet, tmp_path: Path) -> None:
    torch.save({"model": supernet.state_dict(), "evil": Evil()}, tmp_path / "w.pt")
    done = export(tmp_path / "w.pt", tmp_path / "net.safetensors")
    assert done.exit_code == 0, done.output
    assert "code ran" not in done.output


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (nn.Linear(2, 2).state_dict(), "found 'weight', 'bias', expected names such as 'first"),
        ({"epoch": 3, "model": {"layer1.weight": torch.zeros(1)}}, "found 'epoch' (int), 'model'"),
        ({"args": argparse.Namespace(a=1)}, "argparse.Namespace, which pnag does not load"),
        ({}, "found nothing, expected names such as"),
    ],
)  # fmt: skip
def test_what_was_found_and_what_was_expected(content: Any, says: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "w.pt")
    done = export(tmp_path / "w.pt", tmp_path / "net.safetensors")
    assert done.exit_code == 2
    assert says in " ".join(done.stderr.split())


def test_a_network_that_is_no_supernet(tmp_path: Path) -> None:
    torch.save(pnag.build(ARCH, 0.1, 3).state_dict(), tmp_path / "w.pt")
    done = export(tmp_path / "w.pt", tmp_path / "net.safetensors")
    assert done.exit_code == 2
    assert "found 'conv_stem.weight'" in done.stderr
    assert json.dumps("first_conv.conv.weight").strip('"') in done.stderr
