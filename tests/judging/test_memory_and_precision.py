"""Steps that want more memory than there is, losses of 16 bits, batches that suit a GPU."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn import functional as F

from pnag import Supernet
from pnag.errors import PnagError
from pnag.families.ofa_mobilenetv3 import OfaMobileNetV3, ofa
from pnag.families.registry import family
from pnag.images.images import ImageData
from pnag.run.image_run import make_accelerator
from pnag.run.named_family import WIDTHS
from pnag.run.recipe import ImagesRecipe
from pnag.supernet import plan
from pnag.supernet.loop import fit
from pnag.supernet.settings import FitSettings, SupernetSettings

CPU = Accelerator(cpu=True)


class Stop(Exception):
    pass


def fits(images: int, supernet: Supernet, parts: list[int], step_of_want: int = 0) -> Any:
    """Losses on a device that has memory for so many images at a time."""

    def losses(part: Tensor, labels: Tensor, step: int) -> Iterator[Tensor]:
        if len(part) > images and step >= step_of_want:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        parts.append(len(part))
        yield F.cross_entropy(supernet(part), labels)

    return losses


def test_want_of_memory_halves_the_part_and_a_stop_keeps_that(
    digits: ImageData, tmp_path: Path
) -> None:
    settings = FitSettings(epochs=2, batch_size=96)
    per_epoch = len(digits.train) // 96

    def train(folder: Path, stop: int = 0) -> tuple[list[int], list[str], Tensor]:
        torch.manual_seed(0)
        supernet = Supernet(0.1, 10)
        parts: list[int] = []
        said: list[str] = []

        def watch(step: Any) -> None:
            if step.done == stop:
                raise Stop

        folder.mkdir(exist_ok=True)
        with contextlib.suppress(Stop):
            fit(
                supernet, fits(30, supernet, parts, step_of_want=3), digits, settings, seed=0,
                accelerator=CPU, checkpoint=folder / "c", identity="x", watch=watch,
                notice=said.append,
            )  # fmt: skip
        return parts, said, torch.cat([p.detach().flatten() for p in supernet.parameters()])

    parts, said, weights = train(tmp_path / "a")
    assert parts == [96] * 3 + [24] * 4 * (2 * per_epoch - 3)
    assert len(said) == 2
    assert "does not suffice for 48 images at a time" in said[1]
    assert "4 parts from step 4 on, whose batch norms see 24 images each" in said[1]
    train(tmp_path / "b", stop=per_epoch + 1)
    resumed, said, same = train(tmp_path / "b")
    assert set(resumed) == {24} and not said
    assert torch.equal(weights, same)


def test_too_little_memory_for_two_images_is_said(digits: ImageData, tmp_path: Path) -> None:
    supernet = Supernet(0.1, 10)
    with pytest.raises(PnagError, match=r"does not suffice for 3 image\(s\) at a time .*2.00 GiB"):
        fit(
            supernet, fits(1, supernet, []), digits, FitSettings(epochs=1, batch_size=12), seed=0,
            accelerator=CPU, checkpoint=tmp_path / "c", identity="x",
        )  # fmt: skip


def test_another_error_is_none_of_memory(digits: ImageData, tmp_path: Path) -> None:
    def losses(images: Tensor, labels: Tensor, step: int) -> Iterator[Tensor]:
        raise RuntimeError("a shape is wrong")
        yield

    with pytest.raises(RuntimeError, match="a shape is wrong"):
        fit(
            Supernet(0.1, 10), losses, digits, FitSettings(epochs=1, batch_size=64), seed=0,
            accelerator=CPU, checkpoint=tmp_path / "c", identity="x",
        )  # fmt: skip


class Half:
    """Stands in for an Accelerator of a GPU without bfloat16: float16 on the CPU."""

    device = torch.device("cpu")
    num_processes, process_index, is_main_process = 1, 0, True
    mixed_precision = "fp16"

    def autocast(self) -> AbstractContextManager[None]:
        return cast(Any, torch.autocast("cpu", torch.float16))

    def wait_for_everyone(self) -> None:
        pass


def test_float16_learns_by_scaled_losses_and_skips_infinite_steps(
    digits: ImageData, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    weight = torch.nn.Linear(3 * 32 * 32, 10)

    def losses(images: Tensor, labels: Tensor, step: int) -> Iterator[Tensor]:
        loss = F.cross_entropy(weight(images.flatten(1)), labels)
        yield loss * 1e4 if step == 5 else loss  # whose scaled gradients float16 cannot hold

    watched: list[float] = []
    settings = FitSettings(epochs=3, batch_size=64, learning_rate=0.01)
    how: dict[str, Any] = {"seed": 0, "accelerator": cast(Accelerator, Half()), "identity": "x"}
    fit(
        weight, losses, digits, settings, checkpoint=tmp_path / "c",
        watch=lambda step: watched.append(step.loss), **how,
    )  # fmt: skip
    assert watched[-1] < 0.5 * watched[0]
    assert all(torch.isfinite(p).all() for p in weight.parameters())


def test_float16_needs_a_gpu() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(PnagError, match="float16 needs an NVIDIA GPU"):
        make_accelerator(ImagesRecipe(source="digits", precision="float16"))
    # Begun on a GPU: what is trained goes on here, what is not has to be finished there.
    begun = ImagesRecipe(source="digits")
    with pytest.raises(PnagError, match="go on where it was begun"):
        make_accelerator(begun, "float16")
    own = make_accelerator(begun).mixed_precision
    assert make_accelerator(begun, "float16", trained=True).mixed_precision == own


def data_of(images: int) -> ImageData:
    return cast(ImageData, SimpleNamespace(train=range(images), classes=("a", "b")))


def test_a_gpu_gets_larger_batches_and_higher_rates() -> None:
    open_one, given = FitSettings(learning_rate=0.1), FitSettings(batch_size=32)
    for images, batch in ((1_000, 64), (6_400, 128), (40_000, 512), (1_000_000, 1024)):
        found = plan.suited_batch(open_one, data_of(images), device="cuda")
        assert found.batch_size == batch
        assert found.learning_rate == pytest.approx(0.1 * batch / 64)
    assert plan.suited_batch(open_one, data_of(1_000_000), 8, "cuda").batch_size == 8192
    assert plan.suited_batch(given, data_of(1_000_000), device="cuda") == given
    assert plan.suited_batch(open_one, data_of(40_000)) == replace(open_one, batch_size=64)


def width_of(found: plan.SupernetPlan) -> float:
    return cast(OfaMobileNetV3, family(found.family)).width_mult


def test_a_smaller_batch_is_tried_before_a_narrower_supernet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: list[tuple[float, int, float]] = []

    def step(data: Any, settings: SupernetSettings, of: OfaMobileNetV3, accelerator: Any) -> float:
        fit, width = settings.fit, of.width_mult
        tried.append((width, fit.batch_size, fit.learning_rate))
        if width * fit.batch_size > 70:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return 0.001

    monkeypatch.setattr(plan, "supernet_step", step)
    families = [ofa(width) for width in WIDTHS]
    gpu = SimpleNamespace(
        device=torch.device("cuda"), num_processes=1, mixed_precision="bf16", is_main_process=True
    )
    found = plan.plan_supernet(
        data_of(12_800), SupernetSettings(), minutes=600, families=families,
        accelerator=cast(Accelerator, gpu),
    )  # fmt: skip
    assert tried == [(1.0, 256, 0.2), (1.0, 128, 0.1), (1.0, 64, 0.05)]
    assert (width_of(found), found.batch_size, found.precision) == (1.0, 64, "bfloat16")
    tried.clear()
    given = SupernetSettings(fit=FitSettings(batch_size=100))
    found = plan.plan_supernet(
        data_of(12_800), given, minutes=600, families=families, accelerator=cast(Accelerator, gpu)
    )
    assert [batch for _, batch, _ in tried] == [100, 100, 100] and width_of(found) == 0.5
