"""Images a second: batches of `pnag.images` against torchvision's per-image transforms.

python benchmarks/augment.py SOURCE RESOLUTION [--cache FOLDER] [--batches 40] [--threads 1]
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision import transforms

from pnag.images.batches import Augmentation, eval_batches, train_batches
from pnag.images.images import ImageData, load_images


def per_image(data: ImageData, batch_size: int) -> Iterable[torch.Tensor]:
    """The usual transforms, on images that need no decoding any more."""
    size = data.preprocessing.resolution
    crop = (
        transforms.RandomCrop(size, padding=size // 8)
        if data.small
        else transforms.RandomResizedCrop(size, (0.35, 1.0))
    )
    transform = transforms.Compose(
        [
            crop,
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(data.preprocessing.mean, data.preprocessing.std),
        ]
    )
    order = np.random.default_rng(0).permutation(len(data.train))
    for start in range(0, len(order) - batch_size + 1, batch_size):
        rows = order[start : start + batch_size]
        images = [Image.fromarray(data.train.images[r].transpose(1, 2, 0)) for r in rows]
        batch = torch.stack([transform(image) for image in images])
        yield batch.contiguous(memory_format=torch.channels_last)


def rate(batches: Iterable[object], count: int, batch_size: int) -> float:
    """Images a second, after a first batch that does not count."""
    iterator = iter(batches)
    next(iterator)
    start = time.perf_counter()
    done = sum(1 for _ in itertools.islice(iterator, count))
    return done * batch_size / (time.perf_counter() - start)


def main() -> None:
    """Print one line for each way."""
    parser = argparse.ArgumentParser()
    parser.add_argument("source")
    parser.add_argument("resolution", type=int)
    parser.add_argument("--cache", type=Path, default=Path("runs/images"))
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--batches", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    data = load_images(arguments.source, resolution=arguments.resolution, cache=arguments.cache)
    size = arguments.batch
    ways = {
        "batches": train_batches(data, size, epoch=0, seed=0),
        "batches, colour": train_batches(
            data, size, epoch=0, seed=0, augment=Augmentation(colour=0.4)
        ),
        "batches, mixup": train_batches(
            data, size, epoch=0, seed=0, augment=Augmentation(mixup=0.2)
        ),
        "batches, erase": train_batches(
            data, size, epoch=0, seed=0, augment=Augmentation(erase=0.25)
        ),
        "evaluation": eval_batches(data, "validation", size),
        "torchvision, each image": (batch for batch in per_image(data, size)),
    }
    kind = "small" if data.small else "large"
    print(f"{arguments.source} at {arguments.resolution} ({kind}), {arguments.threads} thread(s)")
    for name, batches in ways.items():
        print(f"{name:24} {rate(batches, arguments.batches, size):9,.0f} images/s")


if __name__ == "__main__":
    main()
