"""`pnag collect`: a table of accuracies from any supernet's weights, own or published."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from rich.markup import escape

from pnag.networks import load_checkpoint
from pnag.pipeline.display import Display
from pnag.pipeline.image_stages import decode_images
from pnag.pipeline.size import Size
from pnag.pipeline.tables import write_table
from pnag.space import SearchSpace, sample_shared
from pnag.training.collect import collect
from pnag.training.loop import to_device
from pnag.training.plan import evaluator_settings


def collect_table(
    supernet_file: Path,
    images: str,
    out: Path,
    *,
    resolution: int | None,
    cache: Path,
    classes: int | None,
    architectures: int,
    validation: int,
    workers: int,
    ray_address: str | None,
    seed: int,
    display: Display,
) -> None:
    """Judge sampled subnets on the images' validation part; rows go to `out` as they come.

    Args:
        out: CSV of `arch,accuracy,images`; beside it a Parquet table with counts is written.

    Raises:
        PnagError: for weights that are no supernet's, images that do not suit it, or rows of
            another supernet in `out`.
    """
    space = SearchSpace()
    supernet = load_checkpoint(supernet_file)
    data = decode_images(
        display, images, resolution=resolution, cache=cache, classes=classes, seed=seed
    )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    to_device(supernet, device)
    tokens = sample_shared(space, architectures, np.random.default_rng(seed))
    with display.bar("judging subnets") as bar:
        table = collect(
            supernet,
            data,
            tokens,
            out,
            settings=evaluator_settings(device, validation),
            workers=workers,
            ray_address=ray_address,
            progress=bar.update,
        )
    size = Size(data.preprocessing.resolution, supernet.width_mult, supernet.num_classes)
    counts = size.count_batch(space, tokens)
    path = out.with_suffix(".parquet")
    write_table(table.assign(params=counts.params, macs=counts.macs), path)
    display.note(
        f"{len(table):,} architectures, top-1 {table['accuracy'].min():.1%} to "
        f"{table['accuracy'].max():.1%}: [bold]{escape(str(path))}[/bold]; add a column with what "
        "each costs on your device, or take `params` or `macs`, and give it to pnag run --table"
    )
