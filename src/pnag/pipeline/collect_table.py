"""`pnag collect`: a table of accuracies from any supernet's weights, own or published."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.markup import escape

from pnag.errors import PnagError
from pnag.networks import load_checkpoint
from pnag.pipeline.display import Display
from pnag.pipeline.image_stages import decode_images
from pnag.pipeline.size import Size
from pnag.pipeline.tables import write_table
from pnag.space import SearchSpace, sample_shared
from pnag.training.collect import collect
from pnag.training.images import ImageData
from pnag.training.loop import to_device
from pnag.training.plan import evaluator_settings
from pnag.training.trained_on import TrainedOn, trained_on


def judged_on(data: ImageData, part: str | None, told: TrainedOn | None) -> tuple[ImageData, str]:
    """The images with the part that judges as their validation part, and what a user should know.

    Args:
        part: the user's choice. Without one it is the validation part if the supernet was trained
            on the train part of this very split. All else may have been trained on the validation
            images: published weights on ImageNet were, whose `val` is the test part here.
        told: what the weights say.
    """
    apart = told is not None and told.split == data.split
    part = part or ("validation" if apart else "test")
    note = ""
    if not apart:
        known = (
            f"the supernet was trained on {told.source}, and not on these images as they are"
            if told
            else "the weights do not say what the supernet was trained on"
        )
        note = (
            f"{known}: it is judged on the {part} part of {data.source}; accuracies are too high "
            "if it was trained on these"
        )
    if part == "test":
        data = replace(data, validation=data.test, identity=f"{data.identity}-test")
    return data, note


def collect_table(
    supernet_file: Path,
    images: str,
    out: Path,
    *,
    resolution: int | None,
    cache: Path,
    classes: int | None,
    on_corrupt: str | None,
    part: str | None,
    architectures: int,
    validation: int,
    workers: int,
    ray_address: str | None,
    seed: int,
    display: Display,
) -> None:
    """Judge sampled subnets on images that the supernet was not trained on.

    Args:
        out: CSV of `arch,accuracy,images`, to which rows are added as they come; beside it a
            Parquet table with counts is written.
        resolution, classes, on_corrupt: as in training if None and the weights say how that was.
        part: "validation" or "test"; see `judged_on` if None.
        seed: of the architectures; of the images' parts only if the weights do not say that.

    Raises:
        PnagError: for weights that are no supernet's, images that do not suit it, rows of
            another supernet in `out`, or an `out` that is no .csv.
    """
    for name, value, allowed in (
        ("--part", part, (None, "validation", "test")),
        ("--on-corrupt", on_corrupt, (None, "refuse", "skip")),
    ):
        if value not in allowed:
            raise PnagError(f"{name} is {value!r}, needs to be {allowed[1]} or {allowed[2]}")
    if out.suffix.lower() != ".csv":
        raise PnagError(
            f"--out is {out}; rows are added to a .csv, and a .parquet is written beside it: "
            f"choose {out.with_suffix('.csv')}"
        )
    space = SearchSpace()
    supernet = load_checkpoint(supernet_file)
    told = trained_on(supernet_file)
    data = decode_images(
        display,
        images,
        resolution=resolution or (told.resolution if told else None),
        cache=cache,
        classes=classes or (told.classes if told else None),
        seed=told.seed if told else seed,
        on_corrupt=on_corrupt or (told.on_corrupt if told else "refuse"),
    )
    for note in data.notes:
        display.note(f"[yellow]note:[/yellow] {escape(note)}")
    data, note = judged_on(data, part, told)
    if note:
        display.note(f"[yellow]note:[/yellow] {escape(note)}")
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
    columns = {"params": counts.params, "macs": counts.macs, "memory": counts.memory}
    write_table(table.assign(**columns), path)
    display.note(
        f"{len(table):,} architectures, top-1 {table['accuracy'].min():.1%} to "
        f"{table['accuracy'].max():.1%}: [bold]{escape(str(path))}[/bold]; add a column with what "
        "each costs on your device, or take `params`, `macs` or `memory`, and give it to "
        "pnag run --table"
    )
