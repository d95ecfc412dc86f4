"""Which weights an answer's fine-tuning begins with."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from accelerate import Accelerator
from safetensors.torch import load_file

from pnag.families import family
from pnag.run.finetune_stage import _as_planned
from pnag.run.run_directory import RunDirectory
from pnag.run.supernet_stage import begun_with, trained_supernet
from pnag.supernet.finetune import tuned_file
from pnag.supernet.plan import FinetuningPlan
from pnag.supernet.settings import FinetuneFit, FinetuneSettings
from pnag.supernet.weights import save_described, save_finished

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
    save_described(of.supernet(3), run.run.supernet_of_rounds, ABOUT)
    assert files() == [run.run.largest, run.run.largest, run.run.supernet_of_rounds]


def test_a_smaller_network_is_cut_out_of_what_the_largest_has_become(tmp_path: Path) -> None:
    run: Any = SimpleNamespace(
        run=RunDirectory(tmp_path), accelerator=Accelerator(cpu=True),
        data=SimpleNamespace(classes=("a", "b", "c")), recipe=SimpleNamespace(seed=0),
        finetune_settings=lambda epochs, begun: FinetuneSettings(fit=FinetuneFit(epochs=epochs)),
    )  # fmt: skip
    of = family(ABOUT["family"])
    save_described(of.supernet(3), run.run.supernet, ABOUT)
    large, small = f"{of.largest}", f"{of.smallest}"
    images = SimpleNamespace(identity="x", preprocessing=SimpleNamespace(resolution=64))
    data: Any = {large: images, small: images}
    begins = {large: None, small: large}
    plan = FinetuningPlan(2, 1.0)
    tuned, begin = _as_planned(run, plan, data, begins, trained_supernet(run))
    other = of.supernet(3)
    file = tuned_file(run.run.finetuned, tuned[large].identity)
    save_finished(other.subnet(), file, tuned[large].identity, run.accelerator)
    found, expected = begin(small).state_dict(), other.subnet(small).state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    # Another largest network makes it another network.
    alone, _ = _as_planned(run, plan, data, dict.fromkeys(begins), trained_supernet(run))
    assert alone[small].identity != tuned[small].identity


def _head(state: dict[str, torch.Tensor]) -> torch.Tensor:
    return state["network.classifier.weight"]
