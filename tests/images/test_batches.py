"""Batches: the same again after a stop, the same from several processes, and what is in them."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torchvision.transforms import RandomResizedCrop

from pnag.errors import PnagError
from pnag.images import augment as module
from pnag.images.batches import Augmentation, eval_batches, steps_per_epoch, train_batches
from pnag.images.images import ImageData, ImagePart, Preprocessing

NOTHING = Augmentation(flip=False, scale=(1, 1), ratio=(1, 1), padding=0)
EVERYTHING = Augmentation(colour=0.4, mixup=0.2, cutmix=1.0, erase=0.5)


def made(small: bool = True, count: int = 50, mirror: bool = True) -> ImageData:
    """Noise; image i's first label tells nothing of it, so batches can be told apart by pixels."""
    rng = np.random.default_rng(0)
    resolution, size = 16, 16 if small else 20

    def part(n: int, side: int) -> ImagePart:
        coarse = torch.from_numpy(rng.integers(0, 256, (n, 3, 4, 4)).astype(np.float32))
        images = F.interpolate(coarse, size=(side, side), mode="bilinear").numpy().astype(np.uint8)
        aspect = np.ones(n) if small else rng.uniform(0.6, 1.6, n)
        return ImagePart(images, np.arange(n) % 5, aspect.astype(np.float32))

    how = Preprocessing(resolution, 16 if small else 18, (0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
    train, validation, test = part(count, size), part(20, resolution), part(20, resolution)
    return ImageData(
        "id", "split", "x", tuple("abcde"), train, validation, test, how, small, mirror, (), ()
    )


def batches(data: ImageData, size: int = 8, **settings: Any) -> list[tuple[Any, Any]]:
    return list(train_batches(data, size, **({"epoch": 0, "seed": 0} | settings)))


def same(left: list[tuple[Any, Any]], right: list[tuple[Any, Any]]) -> bool:
    return len(left) == len(right) and all(
        torch.equal(x, y)
        for a, b in zip(left, right, strict=True)
        for x, y in zip(a, b, strict=True)
    )


@pytest.mark.parametrize("small", [True, False])
@pytest.mark.parametrize("augment", [None, EVERYTHING])
def test_resumed_at_any_step(small: bool, augment: Augmentation | None) -> None:
    data = made(small)
    whole = batches(data, epoch=3, seed=7, augment=augment)
    assert len(whole) == steps_per_epoch(data, 8) == 6
    for step in (0, 2, 5, 6):
        torch.manual_seed(step)
        random.seed(step)
        np.random.seed(step)
        assert same(whole[step:], batches(data, epoch=3, seed=7, start=step, augment=augment))
    assert not same(whole, batches(data, epoch=4, seed=7, augment=augment))
    assert not same(whole, batches(data, epoch=3, seed=8, augment=augment))


def test_global_random_state_is_left_alone() -> None:
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()  # type: ignore[index]
    batches(made(), augment=EVERYTHING)
    assert random.getstate() == states[0]
    assert np.array_equal(np.random.get_state()[1], states[1])  # type: ignore[index]
    assert torch.equal(torch.get_rng_state(), states[2])


@pytest.mark.parametrize("small", [True, False])
def test_processes_together_see_the_batches_of_one(small: bool) -> None:
    data, augment = made(small), Augmentation(colour=0.4)
    whole = batches(data, augment=augment)
    ranks = [batches(data, rank=rank, world_size=2, augment=augment) for rank in (0, 1)]
    for (images, labels), (left, left_labels), (right, right_labels) in zip(
        whole, *ranks, strict=True
    ):
        assert len(left) == 4
        assert torch.allclose(images, torch.cat([left, right]), atol=1e-5)
        assert torch.equal(labels, torch.cat([left_labels, right_labels]))


def test_an_epoch_is_each_image_once() -> None:
    data = made(count=48)
    seen = torch.cat([images for images, _ in batches(data, augment=NOTHING)])
    every = torch.from_numpy(data.train.images).float().div(255)
    mean, std = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.25, 0.3])
    every = (every - mean[:, None, None]) / std[:, None, None]
    assert torch.allclose(seen.flatten(1).sum(1).sort()[0], every.flatten(1).sum(1).sort()[0])
    distance = torch.cdist(seen.flatten(1), every.flatten(1))
    assert distance.min(1).values.max() < 0.1
    assert sorted(distance.argmin(1).tolist()) == list(range(48))


def test_form_of_a_batch() -> None:
    images, labels = batches(made())[0]
    assert images.shape == (8, 3, 16, 16) and images.dtype == torch.float32
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert labels.shape == (8,) and labels.dtype == torch.int64
    mixed, shares = batches(made(), augment=EVERYTHING)[0]
    assert mixed.shape == (8, 3, 16, 16)
    assert shares.shape == (8, 5) and torch.allclose(shares.sum(1), torch.ones(8))


@pytest.mark.parametrize("small", [True, False])
def test_flips_half_and_only_where_asked(small: bool) -> None:
    data = made(small, count=2000)
    plain = batches(data, 1000, augment=NOTHING)
    flipped = batches(data, 1000, augment=replace(NOTHING, flip=True))
    straight = 0
    for (a, _), (b, _) in zip(plain, flipped, strict=True):
        same_way = (a - b).abs().flatten(1).amax(1) < 1e-3
        assert torch.allclose(b[~same_way], a[~same_way].flip(-1), atol=1e-3)
        straight += int(same_way.sum())
    assert 900 < straight < 1100
    without = Augmentation(flip=False)
    assert same(batches(made(small, mirror=False)), batches(made(small), augment=without))


def test_crops_of_small_images_move_each_by_up_to_the_padding() -> None:
    data = made(count=600)
    ones = data.train.images.copy()
    ones[:] = 255
    data = ImageData(
        **(vars(data) | {"train": ImagePart(ones, data.train.labels, data.train.aspect)})
    )
    images, _ = batches(data, 600)[0]
    black = (images[:, 0] < 0).float()
    rows, columns = black.amin(2).sum(1), black.amin(1).sum(1)
    for moved in (rows, columns):
        counts = torch.bincount(moved.long())
        assert len(counts) == 3  # 16 / 8 = 2 rows at most
        assert abs(counts[0] / 600 - 1 / 5) < 0.06  # of -2 -1 0 1 2


def test_random_windows_are_those_of_torchvision() -> None:
    rng = np.random.default_rng(0)
    aspect = np.full(4000, 1.5, np.float32)
    x, y, width, height = module.random_windows(
        aspect, rng.random((22, 4000), np.float32), Augmentation()
    )
    assert (x - width / 2 >= -1e-6).all() and (x + width / 2 <= 1 + 1e-6).all()
    assert (y - height / 2 >= -1e-6).all() and (y + height / 2 <= 1 + 1e-6).all()
    torch.manual_seed(0)
    image = torch.empty(3, 200, 300)
    theirs = np.array(
        [RandomResizedCrop.get_params(image, [0.35, 1], [3 / 4, 4 / 3]) for _ in range(4000)]
    ) / [200, 300, 200, 300]
    assert (height * width).mean() == pytest.approx((theirs[:, 2] * theirs[:, 3]).mean(), abs=0.02)
    assert (width * 1.5 / height).mean() == pytest.approx(
        (theirs[:, 3] * 1.5 / theirs[:, 2]).mean(), abs=0.02
    )


def test_the_centre_of_a_training_image_is_what_evaluation_sees() -> None:
    from PIL import Image

    from pnag.images.decode import centre_pixels, squeezed_pixels

    corners = np.random.default_rng(0).integers(0, 256, (3, 4, 3), np.uint8)
    wide = Image.fromarray(corners).resize((120, 80), Image.Resampling.BILINEAR)
    for image in (wide, wide.transpose(Image.Transpose.ROTATE_90)):
        data = made(small=False, count=1)
        aspect = np.array([image.width / image.height], np.float32)
        train = ImagePart(squeezed_pixels(image, 20)[None], np.zeros(1, np.int64), aspect)
        validation = ImagePart(centre_pixels(image, 16, 18)[None], train.labels, aspect)
        data = ImageData(**(vars(data) | {"train": train, "validation": validation}))
        ours = next(eval_batches(data, "train", 1))[0]
        theirs = next(eval_batches(data, "validation", 1))[0]
        assert (ours - theirs).abs().max() < 0.25  # of deviations of about 64 grey levels


def test_colour_changes_colours_only_as_much_as_asked() -> None:
    images = torch.full((4, 3, 8, 8), 100.0)
    ours = module._colour(images, torch.tensor([[0.6, 1.4, 1, 1], [1.0] * 4, [1.0] * 4]))
    assert torch.allclose(ours[:, 0, 0, 0], torch.tensor([60.0, 140.0, 100.0, 100.0]))


def test_erasing_takes_some_of_some_images() -> None:
    data = made(count=400)
    plain = batches(data, 400, augment=NOTHING)[0][0]
    erased = batches(data, 400, augment=Augmentation(False, padding=0, erase=0.5))[0][0]
    gone = ((erased == 0) & (plain != 0)).all(1).flatten(1).float().mean(1)
    assert 0.4 < (gone > 0).float().mean() < 0.6
    assert gone.max() < 0.4


def test_evaluation_is_always_the_same_and_in_order() -> None:
    data = made()
    images = torch.cat([images for images, _ in eval_batches(data, "validation", 8)])
    labels = torch.cat([labels for _, labels in eval_batches(data, "validation", 8)])
    assert labels.tolist() == data.validation.labels.tolist()
    back = images * torch.tensor([0.2, 0.25, 0.3])[:, None, None]
    back = 255 * (back + torch.tensor([0.5, 0.4, 0.3])[:, None, None])
    assert torch.equal(back.round().to(torch.uint8), torch.from_numpy(data.validation.images))
    some = list(eval_batches(data, "validation", 4, limit=10, seed=3))
    assert [len(labels) for _, labels in some] == [4, 4, 2]
    assert torch.bincount(torch.cat([labels for _, labels in some])).tolist() == [2] * 5
    assert same(some, list(eval_batches(data, "validation", 4, limit=10, seed=3)))
    assert not same(some, list(eval_batches(data, "validation", 4, limit=10, seed=4)))
    assert len(list(eval_batches(data, "test", 20, limit=1000))) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 51}, "the batch size must be between 1 and the 50 images to train on, not 51"),
        ({"size": 0}, "the batch size must be between 1 and the 50 .*, not 0"),
        ({"world_size": 3}, "the batch size must be a multiple of the 3 processes, not 8"),
        ({"size": 5, "augment": Augmentation(mixup=0.2)}, "batch of 5 must be even"),
    ],
)
def test_batch_sizes_that_do_not_fit(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(PnagError, match=message):
        batches(made(), **settings)


def test_limits_that_do_not_fit() -> None:
    with pytest.raises(PnagError, match="the limit must be at least 1 image, not 0"):
        eval_batches(made(), "test", 8, limit=0)
    with pytest.raises(PnagError, match="the batch size must be at least 1 image, not 0"):
        eval_batches(made(), "test", 0)


def test_digits_can_be_learnt(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    from pnag.images.images import load_images

    data = load_images("digits", resolution=16, cache=tmp_path)
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3, 2, 1), torch.nn.ReLU(), torch.nn.Flatten(),
        torch.nn.Linear(16 * 64, 10),
    )  # fmt: skip
    optimiser = torch.optim.AdamW(model.parameters(), 5e-3)
    for epoch in range(8):
        for images, labels in train_batches(data, 64, epoch=epoch, seed=0):
            loss = F.cross_entropy(model(images), labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    right = sum(
        int((model(images).argmax(1) == labels).sum())
        for images, labels in islice(eval_batches(data, "test", 128), 9)
    )
    assert right / len(data.test) > 0.9
