"""Which weights an answer's fine-tuning begins with."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from accelerate import Accelerator
from safetensors.torch import load_file

from pnag.families import family
from pnag.run.run_directory import RunDirectory
from pnag.run.supernet_stage import begun_with, trained_supernet
from pnag.supernet.weights import save_described

ABOUT: dict[str, Any] = {
    "family": "timm/mobilenetv3_small_100@32,64",
    "num_classes": 3,
    "asked": {},
}


def test_the_largest_network_begins_as_it_was_before_smaller_ones(tmp_path: Path) -> None:
    run: Any = SimpleNamespace(run=RunDirectory(tmp_path), accelerator=Accelerator(cpu=True))
    of = family(ABOUT["family"])
    torch.manual_seed(0)
    save_described(of.supernet(3), run.run.supernet, ABOUT)
    largest = [f"{of.largest}".replace("@64", pixels) for pixels in ("@32", "@64")]
    archs = [*largest, f"{of.smallest}"]

    def files() -> list[Path]:
        begun = begun_with(run, trained_supernet(run), archs)
        for supernet, file in begun.values():
            assert torch.equal(_head(supernet.state_dict()), _head(load_file(file)))
        return [begun[arch][1] for arch in archs]

    assert files() == [run.run.supernet] * 3
    save_described(of.supernet(3), run.run.largest, ABOUT | {"asked": {"seed": 1}})
    assert files() == [run.run.supernet] * 3  # of another training
    save_described(of.supernet(3), run.run.largest, ABOUT)
    assert files() == [run.run.largest, run.run.largest, run.run.supernet]


def _head(state: dict[str, torch.Tensor]) -> torch.Tensor:
    return state["network.classifier.weight"]
