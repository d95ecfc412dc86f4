"""A round trains the supernet for what it will judge, and goes on after a stop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from pnag.families import family
from pnag.families.elastic_network import ElasticNetwork
from pnag.images.images import ImageData, load_images
from pnag.images.resolutions import resolution_of_step
from pnag.space import AnyArchitecture
from pnag.supernet import round_training
from pnag.supernet.loop import Step
from pnag.supernet.round_training import RATE, round_losses, round_settings, train_round
from pnag.supernet.settings import FitSettings, SupernetSettings

OF = family("timm/mobilenetv3_small_100@32,48")
FIT = FitSettings(8, 64, last_rate=0.5, averaged=0.5)
SETTINGS = round_settings(SupernetSettings("transfer", fit=FIT), 1)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageData:
    pytest.importorskip("sklearn", reason="needs the extra digits")
    return load_images("digits", resolution=48, cache=tmp_path_factory.mktemp("cache"), classes=3)


def fresh() -> ElasticNetwork:
    torch.manual_seed(0)
    made: ElasticNetwork = OF.supernet(3)
    return made.eval()


def test_a_round_is_short_and_refines() -> None:
    assert SETTINGS.fit.epochs == 1
    assert SETTINGS.fit.learning_rate == pytest.approx(RATE * FIT.learning_rate)


def test_a_round_changes_the_weights_and_a_stop_changes_nothing(
    images: ImageData, tmp_path: Path
) -> None:
    liked = OF.space.encode([OF.smallest, OF.largest])

    def train(
        folder: str, watch: Callable[[Step], None] = lambda step: None, before: str = "x"
    ) -> tuple[ElasticNetwork, Path]:
        supernet = fresh()
        path = train_round(
            supernet, liked, images, SETTINGS, tmp_path / folder,
            before=before, seed=0, accelerator=Accelerator(cpu=True), watch=watch,
        )  # fmt: skip
        return supernet, path

    class Stopped(Exception):
        pass

    def stop(step: Step) -> None:
        if step.ends_epoch:
            raise Stopped

    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    told: list[Step] = []
    one, file = train("a", told.append)
    assert told and not any(module.training for module in one.modules())
    weights = one.state_dict()
    assert any(
        not torch.equal(weights[name], value) for name, value in fresh().state_dict().items()
    )
    with pytest.raises(Stopped):
        train("b", stop)
    assert [p.name for p in (tmp_path / "b").iterdir()] == [f"{file.stem}.checkpoint.safetensors"]
    other, again = train("b")
    assert again.read_bytes() == file.read_bytes()
    assert all(torch.equal(weights[name], value) for name, value in other.state_dict().items())
    # It is not trained twice, and from other weights it is another.
    told.clear()
    assert train("a", told.append)[1] == file and not told
    assert train("a", before="y")[1] != file


def test_a_step_trains_the_largest_one_of_the_liked_and_one_like_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    space = OF.space
    liked = space.sample(12, np.random.default_rng(0))
    texts = set(space.text(liked))
    near: list[int] = []

    def others(*args: object) -> list[None]:
        found: list[AnyArchitecture] = list(args[1])  # type: ignore[call-overload]
        other = space.encode([found[1]])
        pixels = args[2].shape[-1]  # type: ignore[attr-defined]
        assert str(found[0]) in texts and found[0].resolution == pixels  # type: ignore[union-attr]
        near.append(int((other != liked).sum(1).min()))
        return []

    monkeypatch.setattr(round_training, "sandwich", others)
    losses = round_losses(fresh(), liked, 0.1, seed=3)
    pixels = {resolution_of_step(space.resolutions, 3, step) for step in range(40)}
    for step in range(40):
        list(losses(torch.zeros(2, 3, 48, 48), torch.zeros(2, dtype=torch.int64), step))
    assert pixels == {32, 48} and len(near) == 40
    # Its depths decide which other choices there are, so that one change may count several times.
    assert 0.2 < np.mean(near) < 5
    # Where none of the liked is at a step's resolution, those of others are trained there.
    only = liked[space.resolution_ids(liked) == 0]
    monkeypatch.setattr(round_training, "sandwich", lambda *args: list(args[1]))
    losses = round_losses(fresh(), only, 0.1, seed=3)
    for step in range(10):
        one, _ = losses(torch.zeros(2, 3, 48, 48), torch.zeros(2, dtype=torch.int64), step)
        assert str(one) in set(space.text(only))
