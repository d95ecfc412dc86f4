"""`--also-finetune`: published networks beside the answers, chosen, tuned and judged alike."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from small_runs import call

from pnag.deploy.zoo import ZOO
from pnag.deploy.zoo.network import TIMM, Counted, Library, Network, Training
from pnag.deploy.zoo.within_budget import HALVING, Sized, all_sizes, best_within
from pnag.downloads import PublishedFile
from pnag.images.images import load_images
from pnag.run import published_choice, tuned_published
from pnag.supernet.loop import Step


def network(key: str, model: str, top1: float, published_ms: float, pixels: int = 160) -> Network:
    return Network(
        key, model, TIMM, Library("timm", model, Counted(1, 1, 1), fused=True), pixels, top1, 0.9,
        "a test", PublishedFile(f"{key}.safetensors", f"https://example.org/{key}", None), "timm",
        training=Training("", key == "taught", "apache-2.0"), published_ms=published_ms,
    )  # fmt: skip


NETWORKS = (
    network("fixed", "test_vit.r160_in1k", 0.9, 1.0),  # slow, whatever is published of it
    network("taught", "test_byobnet.r160_in1k", 0.6, 3.0),
    network("plain", "test_efficientnet.r160_in1k", 0.5, 2.0),
)


@pytest.fixture
def catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache, with weights of the catalogue's networks."""
    cache = tmp_path / "cache"
    cache.mkdir()
    monkeypatch.setenv("PNAG_CACHE", str(cache))
    monkeypatch.setattr(published_choice, "TIMM_NETWORKS", NETWORKS)
    torch.manual_seed(0)
    for each in NETWORKS:
        monkeypatch.setitem(ZOO, each.key, each)
        weights = timm.create_model(each.name, num_classes=1000).state_dict()
        save_file(weights, cache / f"{each.key}.safetensors")
    return cache


def arguments(out: Path, recipe: Path, budgets: str = "0.3,0.5", count: int = 2) -> list[object]:
    options = "--images digits --classes 4 --start scratch --width-mult 0.1 --resolution 32 --json"
    options += (
        " --epochs 1 --finetune-epochs 3 --architectures 20 --rounds 0 --runtime stub --seed 3"
    )
    more = ["--budgets", budgets, "--also-finetune", count]
    return ["run", "--out", out, "--recipe", recipe, *options.split(), *more]


def test_published_networks_are_tuned_and_judged_beside_the_answers(
    catalogue: Path, tmp_path: Path, recipe: Path, stub: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sklearn")
    out = tmp_path / "run"
    # Stopped in the first epoch but one of the first network, then run to its end.
    tune, seen = tuned_published.finetune, list[int]()

    def interrupted(*args: Any, watch: Callable[[Step], None], **how: Any) -> Any:
        def look(step: Step) -> None:
            seen.append(step.done)
            if step.ends_epoch and step.epoch == 1 and not stopped:
                stopped.append(step.done)
                raise KeyboardInterrupt
            watch(step)

        return tune(*args, watch=look, **how)

    stopped: list[int] = []
    monkeypatch.setattr(tuned_published, "finetune", interrupted)
    done = call(*arguments(out, recipe))
    assert done.exit_code != 0, done.stderr
    assert stopped == seen[-1:]
    seen.clear()
    done = call(*arguments(out, recipe))
    assert done.exit_code == 0, done.stderr
    assert seen[0] == stopped[0] + 1  # it goes on where it was
    assert "published networks to fine-tune beside the answers: taught@32 (3 epochs)" in done.stderr

    metrics = json.loads(done.stdout)
    rows = {row["name"]: row for row in metrics["tuned_published"]}
    assert set(rows) == {"taught@32", "plain@32"}
    for row in rows.values():
        assert row["budgets"] == [0.3, 0.5] and row["epochs"] == 3 and row["resolution"] == 32
        assert row["test_images"] == metrics["answers"][0]["test_images"]
        assert row["test_top1"] > 0.5  # of four classes
    for answer in metrics["answers"]:
        held = [r for r in [*rows.values(), *metrics["answers"]]
                if r["measured_ms"] <= answer["budget"]]  # fmt: skip
        assert answer["best"]["test_top1"] == max(r["test_top1"] for r in held)

    # What was exported is what was judged, on images as it expects them.
    data = load_images("digits", resolution=None, cache=out / "images", classes=4, seed=3)
    for name, row in rows.items():
        how = json.loads((out / "models" / f"{name}.preprocessing.json").read_text())
        assert how["mean"] == list(timm.get_pretrained_cfg(row["network"]).mean)
        assert how["classes"] == list(data.classes)
        mean, std = (np.float32(how[each])[:, None, None] for each in ("mean", "std"))
        pixels = (data.test.images.astype(np.float32) / 255 - mean) / std
        session = onnxruntime.InferenceSession(out / row["onnx"])
        own = timm.create_model(row["network"], num_classes=4)
        own.load_state_dict(load_file(out / "models" / f"{name}.safetensors"))
        hits = [session.run(None, {"images": one[None]})[0].argmax() for one in pixels]
        with torch.no_grad():
            ours = own.eval()(torch.from_numpy(pixels)).argmax(1).numpy()
        assert (np.array(hits) == ours).mean() > 0.99
        assert np.mean(hits == data.test.labels) == pytest.approx(row["test_top1"], abs=0.005)

    page = (out / "report.html").read_text()
    assert "taught@32*" in page and "Best of all that was fine-tuned" in page
    seen.clear()
    again = call(*arguments(out, recipe))
    assert again.exit_code == 0 and not seen
    assert json.loads(again.stdout)["tuned_published"] == metrics["tuned_published"]

    # Without them, nothing of them is left but what they learned.
    done = call(*arguments(out, recipe, count=0))
    assert done.exit_code == 0, done.stderr
    assert "tuned_published" not in json.loads(done.stdout)
    assert not list((out / "models").glob("*@32*"))


def test_weights_that_are_missing_are_told_before_anything_is_trained(
    catalogue: Path, tmp_path: Path, recipe: Path, stub: str
) -> None:
    for each in ("plain", "taught"):
        (catalogue / f"{each}.safetensors").unlink()
    out = tmp_path / "run"
    done = call(*arguments(out, recipe, count=3))
    assert done.exit_code == 2
    said = " ".join(done.stderr.split())
    assert "only 2 of the 3 published networks that are asked for" in said and "for 0.5 ms" in said
    for each in ("plain", "taught"):
        assert f"https://example.org/{each}" in said
        assert str(catalogue / f"{each}.safetensors") in said.replace(" ", "")
    assert not (out / "supernet.safetensors").exists() and not list(out.glob("supernet/*"))


def test_it_needs_budgets_and_images(recipe: Path, tmp_path: Path) -> None:
    done = call("run", "--images", "digits", "--also-finetune", 2, "--out", tmp_path / "run")
    assert done.exit_code == 2
    assert "--also-finetune is 2" in done.stderr and "give --budgets" in " ".join(
        done.stderr.split()
    )
    done = call("run", "--also-finetune", 2, "--out", tmp_path / "run")
    assert done.exit_code == 2 and "--also-finetune goes with --images" in done.stderr


def test_the_best_expected_within_a_budget_are_chosen() -> None:
    asked: list[str] = []
    slower = {"taught": 1.5, "plain": 1.0}  # than published; "fixed" runs at its own size only

    def milliseconds(sized: Sized) -> float | None:
        asked.append(sized.name)
        if sized.network.key == "fixed":
            return 1.0 if sized.pixels == 160 else None
        own = 0.3 if sized.pixels == 80 else 0.0  # what a call takes whatever its images
        return own + slower[sized.network.key] * sized.published_ms

    sizes = all_sizes(NETWORKS, (80, 224))
    assert [s.name for s in sizes][:2] == ["fixed@160", "fixed@80"]
    assert {s.pixels for s in sizes} == {80, 160}  # no larger than they are made for
    taught = next(s for s in sizes if s.name == "taught@80")
    assert taught.expected == pytest.approx(0.6 - HALVING) and taught.published_ms == 0.75

    def names(budget: float, count: int = 3) -> list[str]:
        asked.clear()
        return [s.name for s in best_within(budget, count, sizes, milliseconds)]

    assert names(9) == ["fixed@160", "taught@160", "plain@160"]
    assert names(9, 1) == ["fixed@160"]
    assert names(2.1) == ["fixed@160", "taught@80", "plain@160"]
    assert names(0.9) == ["plain@80"]
    assert "taught@160" not in asked  # far above, by what another takes at that size
    assert names(0.1) == []


def test_what_runs_at_no_size_does_not_hide_others() -> None:
    sizes = all_sizes(NETWORKS[:2], (80,))
    found = best_within(5, 2, sizes, lambda s: None if s.network.key == "fixed" else 2.0)
    assert [s.name for s in found] == ["taught@80"]
