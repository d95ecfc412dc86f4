"""Training: a stop changes nothing, phases train what they say, networks learn."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from pnag import SearchSpace
from pnag.errors import PnagError
from pnag.families import family
from pnag.families.elastic_network import ElasticNetwork
from pnag.families.ofa_mobilenetv3 import ofa
from pnag.families.supernet import Supernet
from pnag.images.batches import eval_batches
from pnag.images.images import ImageData, load_images
from pnag.supernet.finetune import (
    finetune,
    judge,
    largest_network,
)
from pnag.supernet.loop import Step, fit
from pnag.supernet.phases import PHASES
from pnag.supernet.settings import (
    FinetuneFit,
    FinetuneSettings,
    FitSettings,
    Method,
    SupernetSettings,
)
from pnag.supernet.supernet_training import (
    Progress,
    fits_of,
    train_supernet,
)

CPU = Accelerator(cpu=True)
SPACE = SearchSpace()
SMALL = SupernetSettings("progressive", fit=FitSettings(epochs=6, batch_size=96, averaged=0.3))


class Stopped(Exception):
    pass


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> ImageData:
    pytest.importorskip("sklearn")
    return load_images("digits", resolution=16, cache=tmp_path_factory.mktemp("cache"))


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, b.state_dict()[name]) for name, x in a.state_dict().items())


def test_phases_add_up_and_shrink() -> None:
    for method, phases in PHASES.items():
        for epochs in (1, 2.5, 100):
            settings = replace(SMALL, method=method, fit=replace(SMALL.fit, epochs=epochs))
            given = fits_of(settings)
            assert [how.epochs for how in given] == pytest.approx(
                [p.epochs * epochs for p in phases]
            )
            assert [how.learning_rate for how in given] == [
                p.rate * settings.fit.learning_rate for p in phases
            ]
        last = phases[-1]
        drawn = [last.sample(SPACE, np.random.default_rng(seed)) for seed in range(100)]
        assert {d for arch in drawn for d in arch.depths} == {2, 3, 4}
        assert {k for arch in drawn for k in arch.kernels} == {0, 3, 5, 7}
        assert {w for arch in drawn for w in arch.widths} == {0, 3, 4, 6}
        assert sum(last.smallest(SPACE).widths) == 5 * 2 * 3
    full, kernel, *_ = PHASES["progressive"]
    assert full.sample(SPACE, np.random.default_rng(0)) == family().largest
    assert set(kernel.sample(SPACE, np.random.default_rng(0)).depths) == {4}


@pytest.mark.parametrize("method", ["progressive", "sandwich", "transfer"])
def test_stops_at_any_step_change_nothing(
    method: Method, digits: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pnag.supernet.loop.CHECKPOINT_SECONDS", 0.3)
    epochs = {"progressive": 7, "sandwich": 1.6, "transfer": 1.6}[method]
    fit = replace(SMALL.fit, epochs=epochs, batch_size=192)
    if method == "transfer":
        fit = replace(fit, optimizer="adamw", learning_rate=1e-3, body_rate=0.5)
    settings = replace(SMALL, method=method, fit=fit)

    def train(folder: Path, watch: Callable[[Progress], None]) -> ElasticNetwork:
        return train_supernet(
            digits, settings, folder, family=ofa(0.1), seed=3, accelerator=CPU, watch=watch
        )

    told: list[Progress] = []
    undisturbed = train(tmp_path / "a", told.append)
    assert [p.done for p in told] == list(range(1, told[0].total + 1))
    stops = set(map(int, np.random.default_rng(0).choice(told[0].total, 4, replace=False)))

    def stop(progress: Progress) -> None:
        if progress.done in stops:
            stops.remove(progress.done)
            raise Stopped

    for _ in range(5):
        try:
            resumed = train(tmp_path / "b", stop)
        except Stopped:
            continue
        break
    assert not stops
    assert same(undisturbed, resumed)
    # Done phases are read, not trained; another recipe is.
    assert same(undisturbed, train(tmp_path / "a", lambda _: pytest.fail("trained again")))
    settings = replace(settings, label_smoothing=0.2)
    assert not same(undisturbed, train(tmp_path / "a", lambda _: None))


def test_part_of_an_epoch_is_its_first_steps(digits: ImageData, tmp_path: Path) -> None:
    def trained(epochs: float) -> list[Step]:
        seen: list[Step] = []
        model = ofa(0.1).supernet(len(digits.classes))
        how = FitSettings(epochs=epochs, batch_size=192)

        def losses(images: torch.Tensor, labels: torch.Tensor, step: int) -> Iterator[torch.Tensor]:
            yield torch.nn.functional.cross_entropy(model(images), labels)

        fit(
            model, losses, digits, how, seed=0, accelerator=CPU, watch=seen.append,
            checkpoint=tmp_path / f"{epochs}", identity="",
        )  # fmt: skip
        return seen

    per_epoch = len(digits.train) // 192
    for epochs, steps, ends in ((0.001, 1, [1]), (0.4, 2, [2]), (1.4, 7, [5, 7]), (2, 10, [5, 10])):
        seen = trained(epochs)
        assert per_epoch == 5 and len(seen) == seen[-1].total == steps
        assert [step.done for step in seen if step.ends_epoch] == ends


def test_only_the_phase_s_weights_move(digits: ImageData, tmp_path: Path) -> None:
    before: dict[str, torch.Tensor] = {}

    def watch(progress: Progress) -> None:
        matrix = progress.supernet.state_dict()["blocks.1.conv.depth_conv.conv.7to5_matrix"]
        before[progress.phase.name] = matrix.clone()

    settings = replace(SMALL, fit=FitSettings(epochs=7, batch_size=512))
    train_supernet(
        digits, settings, tmp_path, family=ofa(0.1), seed=0, accelerator=CPU, watch=watch
    )
    assert torch.equal(before["full"], torch.eye(25))
    assert not torch.equal(before["kernel"], torch.eye(25))


def test_a_network_learns_by_fine_tuning_and_a_stop_changes_nothing(
    digits: ImageData, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    supernet = Supernet(0.1, 10).eval()
    settings = FinetuneSettings(
        distillation=0.1, fit=FinetuneFit(epochs=6, batch_size=32, learning_rate=0.1)
    )

    def tune(folder: Path, watch: Callable[[Step], None]) -> nn.Module:
        return finetune(
            supernet.subnet(ofa(0.1).smallest), digits, settings, folder,
            identity="x", seed=0, accelerator=CPU, teacher=supernet.subnet(), watch=watch,
        )  # fmt: skip

    network = tune(tmp_path / "a", lambda _: None)
    found = judge(network, digits, "test", CPU.device)
    assert found.images == len(digits.test) and found.top1 > 0.4 and found.top5 > found.top1

    def stop(step: Step) -> None:
        if step.epoch == 2 and step.ends_epoch:
            raise Stopped

    with pytest.raises(Stopped):
        tune(tmp_path / "b", stop)
    assert same(network, tune(tmp_path / "b", lambda _: None))
    assert [path.name for path in (tmp_path / "b").iterdir()] == [
        path.name for path in (tmp_path / "a").iterdir()
    ]


def test_a_share_of_what_it_was_is_kept(digits: ImageData, tmp_path: Path) -> None:
    torch.manual_seed(0)
    begun = Supernet(0.1, 10).eval().subnet(ofa(0.1).smallest)

    def tuned(kept: float) -> nn.Module:
        fitting = FinetuneFit(epochs=1, batch_size=128, learning_rate=0.05, kept=kept)
        return finetune(
            copy.deepcopy(begun), digits, FinetuneSettings(fit=fitting), tmp_path,
            identity=f"{kept}", seed=0, accelerator=CPU,
        )  # fmt: skip

    alone, mixed = tuned(0.0), tuned(0.25)
    before, after = dict(begun.named_parameters()), dict(alone.named_parameters())
    for name, weight in mixed.named_parameters():
        assert torch.allclose(weight, 0.25 * before[name] + 0.75 * after[name], atol=1e-6)
        assert not torch.equal(weight, after[name])
    ((batch, _),) = eval_batches(digits, "train", 512, limit=512)
    measured = next(m.running_mean for m in mixed.modules() if isinstance(m, nn.BatchNorm2d))
    first = next(module for module in mixed.modules() if isinstance(module, nn.Conv2d))
    with torch.no_grad():
        seen = first(batch).mean((0, 2, 3))
    assert (measured - seen).abs().max() < 0.05 * seen.abs().max()  # not the average's


def test_the_teacher_s_batch_norms_are_its_own(digits: ImageData) -> None:
    """They are those of one batch of all calibration images, and the supernet's do not matter."""
    torch.manual_seed(0)
    supernet = Supernet(0.1, 10).eval()
    with torch.no_grad():
        for name, value in supernet.named_buffers():
            if name.endswith("running_mean"):
                value.add_(3)  # as far off as those of a mixture of networks may be
    teacher = largest_network(supernet, digits, CPU.device)
    expected = supernet.subnet(family().largest).double().train()
    for module in expected.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    ((batch, _),) = eval_batches(digits, "train", 512, limit=512)
    found = teacher.state_dict()
    with torch.no_grad():
        expected(batch.double())
        logits = expected.eval()(batch.double())
        assert (teacher(batch) - logits).abs().max() < 0.01 * logits.abs().max()
    for name, value in expected.state_dict().items():
        # Rounding grows through the layers of fresh weights, and some means are of zeros.
        off = (value.double() - found[name]).abs().max()
        assert off < 0.01 * value.double().abs().max() + 1e-5, name
    assert not teacher.training


def test_fine_tuning_learns_from_the_recalibrated_teacher(
    digits: ImageData, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    supernet = Supernet(0.1, 10).eval()
    fitting = FinetuneFit(epochs=1, batch_size=256, learning_rate=0.1)
    settings = FinetuneSettings(distillation=1.0, fit=fitting)

    def tune(folder: str) -> nn.Module:
        return finetune(
            supernet.subnet(ofa(0.1).smallest), digits, settings, tmp_path / folder,
            identity="x", seed=0, accelerator=CPU, teacher=supernet.subnet(),
        )  # fmt: skip

    before = tune("a").state_dict()
    with torch.no_grad():
        for name, value in supernet.named_buffers():
            if name.endswith("running_mean"):
                value.add_(3)
    after = tune("b").state_dict()
    weights = [name for name in before if name.endswith("weight")]
    assert all(torch.equal(before[name], after[name]) for name in weights)


def test_a_loss_that_is_no_number_and_damaged_files_are_refused(
    digits: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wild = replace(SMALL, fit=FitSettings(epochs=4, batch_size=96, learning_rate=1e20))
    with pytest.raises(PnagError, match="lower the learning rate"):
        train_supernet(digits, wild, tmp_path, family=ofa(0.1), seed=0, accelerator=CPU)

    def stop(progress: Progress) -> None:
        if progress.ends_epoch:
            raise Stopped

    with pytest.raises(Stopped):
        train_supernet(
            digits, SMALL, tmp_path, family=ofa(0.1), seed=0, accelerator=CPU, watch=stop
        )
    (checkpoint,) = tmp_path.glob("*.checkpoint.safetensors")

    def lacking(*_: Any, **__: Any) -> Tensor:
        raise torch.OutOfMemoryError("none left")

    with monkeypatch.context() as patched, pytest.raises(torch.OutOfMemoryError):
        patched.setattr(torch, "empty_like", lacking)  # nothing is wrong with the checkpoint
        train_supernet(digits, SMALL, tmp_path, family=ofa(0.1), seed=0, accelerator=CPU)
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    with pytest.raises(PnagError, match="damaged"):
        train_supernet(digits, SMALL, tmp_path, family=ofa(0.1), seed=0, accelerator=CPU)


TWO = """
import os, sys
from pathlib import Path
from typing import Any
import torch
from pnag.run.image_run import make_accelerator
from pnag.run.recipe import ImagesRecipe
from pnag.images.images import load_images
from pnag.supernet.settings import FitSettings, SupernetSettings
from pnag.families.ofa_mobilenetv3 import ofa
from pnag.supernet.supernet_training import train_supernet

folder, method, epochs, last = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
accelerator = make_accelerator(ImagesRecipe(source="digits", precision="float32"))
assert accelerator.num_processes == 2
data = load_images("digits", resolution=16, cache=folder / "cache")
settings = SupernetSettings(method, fit=FitSettings(epochs=epochs, batch_size=192))
def stop(progress):
    if progress.done == last:
        os._exit(1)
supernet = train_supernet(
    data, settings, folder, family=ofa(0.1), seed=0, accelerator=accelerator, watch=stop
)
weights = torch.cat([x.flatten().double() for x in supernet.state_dict().values()])
torch.save(weights, folder / f"rank{accelerator.process_index}.pt")
"""


@pytest.mark.parametrize(("method", "epochs"), [("progressive", 5), ("sandwich", 2)])
def test_two_processes_end_with_the_same_weights_stopped_or_not(
    method: Method, epochs: int, digits: ImageData, tmp_path: Path
) -> None:
    script = tmp_path / "two.py"
    script.write_text(TWO)
    # `accelerate launch` starts several processes on GPUs only, unless there is MPI.
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]

    def run(folder: Path, stop: int) -> subprocess.CompletedProcess[str]:
        command = [*launch, str(script), str(folder), method, str(epochs), str(stop)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = run(tmp_path / "a", 0)
    assert done.returncode == 0, done.stderr
    # In the second epoch, after the checkpoint of the first one.
    assert run(tmp_path / "b", len(digits.train) // 192 + 2).returncode != 0
    assert list((tmp_path / "b").glob("*.checkpoint.safetensors"))
    # Batch norms have seen halves of the batches: one process would go on differently.
    settings = SupernetSettings(method, fit=FitSettings(epochs=epochs, batch_size=192))
    with pytest.raises(PnagError, match="by 2 process"):
        train_supernet(digits, settings, tmp_path / "b", family=ofa(0.1), seed=0, accelerator=CPU)
    done = run(tmp_path / "b", 0)
    assert done.returncode == 0, done.stderr
    weights = [
        torch.load(tmp_path / folder / f"rank{rank}.pt", weights_only=True)
        for folder in "ab"
        for rank in (0, 1)
    ]
    assert all(torch.equal(weights[0], other) for other in weights[1:])
    # What is finished, anyone may use.
    train_supernet(digits, settings, tmp_path / "b", family=ofa(0.1), seed=0, accelerator=CPU)
