"""Answers fine-tuned at once: by processes and by Ray, the same bits as one after the other."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import nn

from pnag import SearchSpace, Supernet
from pnag.errors import PnagError
from pnag.families.ofa_mobilenetv3 import ofa
from pnag.images.images import ImageData
from pnag.judging.collect import collect
from pnag.judging.ray_cluster import ray_actors
from pnag.judging.subnets import Settings, SubnetEvaluator
from pnag.supernet import side_by_side
from pnag.supernet.finetune import finetune, finetune_identity, tuned_file
from pnag.supernet.settings import FinetuneFit, FinetuneSettings
from pnag.supernet.side_by_side import (
    Answer,
    Shares,
    Tuning,
    finetune_on_ray,
    finetune_side_by_side,
    shares,
)
from pnag.threads import torch_threads

SPACE = SearchSpace()
CPU = Accelerator(cpu=True)
SETTINGS = FinetuneSettings(fit=FinetuneFit(epochs=1, batch_size=256, learning_rate=0.1))
RAY = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs the extra `ray`")


@pytest.fixture(scope="module")
def answers(digits: ImageData) -> list[Answer]:
    texts = SPACE.text(SPACE.sample(2, np.random.default_rng(0)))
    return [
        Answer(text, SETTINGS, finetune_identity("supernet", text, digits, SETTINGS, 0, CPU))
        for text in texts
    ]


@pytest.fixture(scope="module")
def expected(
    supernet: Supernet,
    digits: ImageData,
    answers: list[Answer],
    tmp_path_factory: pytest.TempPathFactory,
) -> list[bytes]:
    folder = tmp_path_factory.mktemp("one-by-one")
    for arch, settings, identity in answers:
        with torch_threads(1):
            finetune(
                supernet.subnet(arch), digits, settings, folder, identity=identity, seed=0,
                accelerator=CPU, teacher=supernet.subnet(),
            )  # fmt: skip
    return weights(folder, answers)


def of_each(answers: list[Answer], data: ImageData) -> dict[str, ImageData]:
    return {answer.arch: data for answer in answers}


def subnets(supernet: Supernet, answers: list[Answer]) -> dict[str, nn.Module]:
    return {answer.arch: supernet.subnet(answer.arch) for answer in answers}


def weights(folder: Path, answers: list[Answer]) -> list[bytes]:
    return [(folder / f"{answer.identity}.safetensors").read_bytes() for answer in answers]


def test_an_actor_keeps_no_answer_on_its_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Tuned:
        def __init__(self, job: Tuning) -> None:
            self.folder = job.folder

        def __call__(self, answer: Answer) -> None:
            tuned_file(self.folder, answer.identity).write_bytes(answer.identity.encode())

    monkeypatch.setattr(side_by_side, "_Tuner", Tuned)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    job = Tuning("", {}, None, {}, tmp_path, 0, False, "no", 1)
    tune = side_by_side._tune_apart(job)
    for name in ("a", "b"):
        assert tune(Answer("", FinetuneSettings(), name)) == name.encode()
        assert not list(tmp_path.iterdir())


def test_processes_end_with_the_weights_of_one(
    supernet: Supernet,
    digits: ImageData,
    answers: list[Answer],
    expected: list[bytes],
    tmp_path: Path,
) -> None:
    told: list[tuple[int, int]] = []
    finetune_side_by_side(
        subnets(supernet, answers), supernet.family, answers, of_each(answers, digits),
        tmp_path, seed=0, accelerator=CPU, share=Shares(2, 1),
        watch=lambda done, total, loss: told.append((done, total)),
    )  # fmt: skip
    assert weights(tmp_path, answers) == expected
    assert not list((tmp_path / "progress").iterdir())
    steps = len(digits.train) // 256
    assert all(total == 2 * steps for _, total in told) and told == sorted(told)


def test_shares_of_cpus_and_memory(digits: ImageData, monkeypatch: pytest.MonkeyPatch) -> None:
    def found(answers: int, cpus: int, room: int, width: float = 0.1) -> Shares:
        monkeypatch.setattr(torch, "get_num_threads", lambda: cpus)
        monkeypatch.setattr(side_by_side, "available_memory", lambda: room << 30)
        return shares(answers, SETTINGS, digits, ofa(width), cuda=False)

    assert found(5, 2, 99) == (2, 1)
    assert found(5, 16, 99) == (5, 3)
    assert found(1, 8, 99) == (1, 8)
    assert found(5, 1, 99) == (1, 1)
    # Weights depend on the threads: little memory must not change them.
    assert found(5, 16, 4) == (3, 3)
    assert found(5, 16, 0) == (1, 3)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert shares(5, SETTINGS, digits, ofa(), cuda=True).workers == 4


@pytest.fixture(scope="module")
def by_value() -> Iterator[None]:
    """Ray's workers cannot import this module."""
    import ray

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    ray.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def loses_actors(folder: Path) -> Callable[[Any], Any]:
    """The tasks' squares; the first actor that takes 3 is killed, and each one that takes 99."""

    def work(task: int) -> int:
        if task == 99 or (task == 3 and not list(folder.iterdir())):
            (folder / str(os.getpid())).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if task < 0:
            raise PnagError(f"{task} has no square here")
        return task * task

    return work


@RAY
def test_ray_judges_and_fine_tunes_and_a_lost_worker_is_made_up_for(
    supernet: Supernet,
    digits: ImageData,
    answers: list[Answer],
    expected: list[bytes],
    tmp_path: Path,
    by_value: None,
) -> None:
    killed = tmp_path / "killed"
    killed.mkdir()
    with ray_actors(killed, loses_actors, 2, "local", cuda=False) as run:
        assert sorted(run([1, 2, 3, 4, 5])) == [(n - 1, n * n) for n in range(1, 6)]
        assert len(list(killed.iterdir())) == 1
        with pytest.raises(PnagError, match="-7 has no square here"):
            list(run([1, -7]))
        with pytest.raises(PnagError, match="3 Ray workers were lost one after the other"):
            list(run([99]))
    tokens = SPACE.sample(8, np.random.default_rng(1))
    settings = Settings(calibration=40, validation=61)
    frame = collect(
        supernet, digits, tokens, tmp_path / "t.csv", settings=settings, workers=None,
        ray_address="local",
    )  # fmt: skip
    with torch_threads(1):
        alone = SubnetEvaluator(supernet, digits, settings).accuracies(tokens)
    assert frame.accuracy.tolist() == alone.tolist()
    told: list[tuple[int, int]] = []
    finetune_on_ray(
        subnets(supernet, answers), supernet.family, answers, of_each(answers, digits),
        tmp_path, seed=0, accelerator=CPU, address="local", watch=lambda *n: told.append(n),
    )  # fmt: skip
    assert weights(tmp_path, answers) == expected and told == [(0, 2), (1, 2), (2, 2)]
