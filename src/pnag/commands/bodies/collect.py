"""`pnag collect`: a table of accuracies from any supernet's weights, own or published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from rich.markup import escape

from pnag.commands.bodies.class_names import in_order_of
from pnag.cost.counted import COUNTED
from pnag.cost.load import Cost, split_name
from pnag.cpus import allowed_cpus
from pnag.errors import PnagError
from pnag.families.checkpoints import load_noted
from pnag.families.elastic_network import ElasticNetwork
from pnag.files import exists
from pnag.images.decode import MEGAPIXELS
from pnag.images.images import ImageData
from pnag.judging.collect import COLUMNS, collect, collected_precision
from pnag.run.decoded_images import decode_images, tell_images
from pnag.run.display import Display
from pnag.run.own_files import refuse_own_files
from pnag.run.preprocessing import expected_input, normalised_by, supernet_preprocessing
from pnag.run.size import Size
from pnag.run.tables import counted_columns, read_table, write_table
from pnag.space import Tokens, sample_shared
from pnag.space.sharing import SHARED
from pnag.supernet.loop import to_device
from pnag.supernet.plan import evaluator_settings
from pnag.supernet.settings import Precision
from pnag.supernet.trained_on import TrainedOn, trained_on


@dataclass(frozen=True)
class Asked:
    """The options of `pnag collect`; None is what was not given.

    Attributes:
        supernet: its file.
        out: CSV of `arch,accuracy,images`, to which rows are added as they come; beside it a
            Parquet table with counts is written.
        cost: `NAME=FILE` for each further cost column: what the architectures take on a device,
            by any file of `load_cost`.
        part: "validation" or "test"; see `judged_on` if None.
        classes, resolution, on_corrupt, max_megapixels: as in training if None and the weights say
            how that was.
        precision: to judge in: "float32" or "bfloat16"; if None that of the rows in `out`, or else
            this device's fastest.
        shared: architectures in a row that have their first units in common (`sample_shared`);
            SHARED if None.
        seed: of the architectures; of the images' parts only if the weights do not say that.
    """

    supernet: Path
    images: str
    out: Path
    cost: list[str]
    part: str | None
    architectures: int
    validation: int
    classes: int | None
    resolution: int | None
    on_corrupt: str | None
    max_megapixels: float | None
    cache: Path
    workers: int
    ray_address: str | None
    precision: str | None
    shared: int | None
    seed: int


def judged_on(
    data: ImageData, part: str | None, trained: TrainedOn | None
) -> tuple[ImageData, str]:
    """The images with the part that judges as their validation part, and what a user should know.

    Args:
        part: the user's choice. Without one it is the validation part if the supernet was trained
            on the train part of this very split. All else may have been trained on the validation
            images: published weights on ImageNet were, whose `val` is the test part here.
        trained: what the weights say.
    """
    apart = trained is not None and trained.split == data.split
    part = part or ("validation" if apart else "test")
    note = ""
    if not apart:
        known = (
            f"the supernet was trained on {trained.source}, and not on these images as they are"
            if trained
            else "the weights do not say what the supernet was trained on"
        )
        note = (
            f"{known}: it is judged on the {part} part of {data.source}; accuracies are too high "
            "if it was trained on these"
        )
    if part == "test":
        data = replace(data, validation=data.test, identity=f"{data.identity}-test")
    return data, note


def normalised_for(supernet: Path, num_classes: int, data: ImageData) -> tuple[ImageData, str]:
    """The images as the supernet takes them, and what a user should know.

    `pnag export` takes the same, so that an exported network has the accuracy that is collected.

    Args:
        supernet: its file. num_classes: of it.

    Raises:
        PnagError: if the file describes another supernet than it holds.
    """
    stated = supernet_preprocessing(supernet, num_classes)
    how, guessed = expected_input(stated, num_classes, data.preprocessing.resolution)
    if not guessed:
        return normalised_by(data, how), ""
    return data, (
        "the weights do not say how images are normalised: these use their own mean and deviation"
    )


def classes_of(
    supernet: str,
    num_classes: int,
    how: dict[str, Any] | None,
    data: ImageData,
    trained: TrainedOn | None,
) -> tuple[ImageData, str]:
    """The images with their classes numbered as the supernet has them, and what to know.

    Args:
        supernet: for messages. num_classes: of it. how, trained: what its file says about its input
            and output, and about the images that it was trained on.

    Raises:
        PnagError: if the classes differ from those in the file.
    """
    same = trained is not None and trained.split == data.split  # images have the same classes
    if how is None and (same or len(data.classes) != num_classes):  # which is refused later
        return data, ""
    return in_order_of(data, how["classes"] if how else None, supernet)


def named_costs(texts: list[str]) -> dict[str, str]:
    """Files of devices' costs by the columns that they become, of `NAME=FILE`.

    Raises:
        PnagError: for another form, a name that a column has already, or one that comes twice.
    """
    files: dict[str, str] = {}
    for text in texts:
        parts = split_name(text)
        if parts is None:
            raise PnagError(f"--cost must be NAME=FILE, such as phone=phone.json, not {text!r}")
        name, file = parts
        if name in (*COLUMNS, *COUNTED):
            raise PnagError(
                f"--cost {text}: the table has a column {name} already; use another name"
            )
        if name in files:
            raise PnagError(f"--cost {name}=... is given twice; use another name")
        files[name] = file
    return files


def columns_of_before(path: Path, table: pd.DataFrame) -> tuple[dict[str, Any], list[str]]:
    """Columns that the file of an earlier call has besides those of `table`.

    Returns:
        The columns if the file has the very rows of `table`, and the names of those that are lost
        because it has not.
    """
    if not path.exists():
        return {}, []
    before = read_table(path)
    names = [name for name in before.columns if name not in table.columns]
    if table.columns.isin(before.columns).all() and before[list(table.columns)].equals(table):
        return {name: before[name].to_numpy() for name in names}, []
    return {}, names


def collect_table(asked: Asked, display: Display) -> None:
    """Judge sampled subnets on images that the supernet was not trained on.

    Raises:
        PnagError: for weights that are no supernet's, images that do not suit it, rows of
            another supernet in `out`, an `out` that is no .csv or has something else beside it
            where the table goes, or a cost that is unsound or of networks of another size.
    """
    _check(asked)
    files = named_costs(asked.cost)
    supernet, note = load_noted(asked.supernet)
    display.warn(note)
    trained = trained_on(asked.supernet)
    how = supernet_preprocessing(asked.supernet, supernet.num_classes)
    pixels = asked.resolution or (trained.resolution if trained else None)
    among = supernet.family.space.resolutions
    if among and pixels and pixels < max(among):
        raise PnagError(
            f"--resolution is {pixels}, and the supernet's architectures choose among "
            f"{', '.join(map(str, among))}: images are scaled down from the largest; leave it out"
        )
    # A mistake in them is reported before images are decoded, where the resolution is known.
    costs = _load_costs(files, _size(supernet, pixels)) if pixels else None
    data = _images(asked, supernet, pixels, how, trained, display)
    size = _size(supernet, data.preprocessing.resolution)
    if costs is None:
        costs = _load_costs(files, size)
    tokens = sample_shared(
        size.of.space,
        asked.architectures,
        np.random.default_rng(asked.seed),
        shared=asked.shared or SHARED,
    )
    table = _judge(asked, supernet, data, tokens, display)
    _write(table, tokens, size, costs, asked.out.with_suffix(".parquet"), display)


def _check(asked: Asked) -> None:
    """Refuse what can be seen to be wrong before anything is loaded."""
    for name, value, allowed in (
        ("--part", asked.part, ("validation", "test")),
        ("--on-corrupt", asked.on_corrupt, ("refuse", "skip")),
        ("--precision", asked.precision, ("float32", "bfloat16")),
    ):
        if value not in (None, *allowed):
            raise PnagError(f"{name} must be {allowed[0]} or {allowed[1]}, not {value!r}")
    if asked.out.suffix.lower() != ".csv":
        raise PnagError(
            f"--out is {asked.out}; rows are added to a .csv, and a .parquet is written beside it: "
            f"choose {asked.out.with_suffix('.csv')}"
        )
    refuse_own_files(asked.out, asked.out.with_suffix(".parquet"))
    _refuse_another_table(asked.out.with_suffix(".parquet"))


def _refuse_another_table(path: Path) -> None:
    """Refuse to write the table over a file that no earlier call has written."""
    if not exists(path):
        return
    columns = read_table(path).columns
    if lacking := [name for name in COLUMNS if name not in columns]:
        raise PnagError(
            f"{path} would be overwritten, but it is another table without the column "
            f"{', '.join(lacking)}; choose another --out, or move that file"
        )


def _size(supernet: ElasticNetwork, resolution: int) -> Size:
    return Size(resolution, supernet.family.name, supernet.num_classes)


def _load_costs(files: dict[str, str], size: Size) -> dict[str, Cost]:
    return {name: size.cost(file) for name, file in files.items()}


def _images(
    asked: Asked,
    supernet: ElasticNetwork,
    resolution: int | None,
    how: dict[str, Any] | None,
    trained: TrainedOn | None,
    display: Display,
) -> ImageData:
    """The images as the supernet takes them, with the part that judges.

    Args:
        how, trained: what the supernet's file says about its input and output, and about the images
            that it was trained on: they are split and read as they were then.
    """
    data = decode_images(
        display,
        asked.images,
        resolution=resolution,
        cache=asked.cache,
        classes=asked.classes or (trained.classes if trained else None),
        seed=trained.seed if trained else asked.seed,
        on_corrupt=asked.on_corrupt or (trained.on_corrupt if trained else "refuse"),
        max_megapixels=asked.max_megapixels or (trained.max_megapixels if trained else MEGAPIXELS),
        levels=how.get("levels") if how else None,
    )
    tell_images(display, data)
    num_classes = supernet.num_classes
    data, classes = classes_of(f"the supernet {asked.supernet}", num_classes, how, data, trained)
    data, judged = judged_on(data, asked.part, trained)
    data, normalised = normalised_for(asked.supernet, num_classes, data)
    for note in (classes, judged, normalised):
        display.warn(note)
    return data


def _judge(
    asked: Asked, supernet: ElasticNetwork, data: ImageData, tokens: Tokens, display: Display
) -> pd.DataFrame:
    """Judge (M, T) architectures; columns `arch`, `accuracy` and `images`."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    to_device(supernet, device)
    kept = cast(Precision | None, asked.precision) or collected_precision(asked.out)
    settings = evaluator_settings(device, asked.validation, kept)
    display.note(f"judged in {settings.precision} [dim](--precision)[/dim]")
    if device.type == "cpu" and asked.ray_address is None and asked.workers > allowed_cpus():
        display.warn(
            f"{asked.workers} workers share the {allowed_cpus()} CPU(s) that this process may use: "
            "more workers than CPUs take memory and gain nothing"
        )
    with display.bar("judging subnets") as bar:
        return collect(
            supernet,
            data,
            tokens,
            asked.out,
            settings=settings,
            workers=asked.workers,
            ray_address=asked.ray_address,
            progress=bar.update,
        )


def _write(
    table: pd.DataFrame,
    tokens: Tokens,
    size: Size,
    costs: Mapping[str, Cost],
    path: Path,
    display: Display,
) -> None:
    """Write a table with what is counted and further costs, and say what to do with it."""
    table = table.assign(**counted_columns(tokens, size))
    further, dropped = columns_of_before(path, table)
    further |= {name: cost.predict(tokens) for name, cost in costs.items()}
    if dropped := [name for name in dropped if name not in further]:
        display.warn(
            f"the rows of {path} have changed, so its columns {', '.join(dropped)} are gone; give "
            "them again"
        )
    write_table(table.assign(**further), path)
    names = ", ".join((*further, *COUNTED))
    display.note(
        f"{len(table):,} architectures, top-1 {table['accuracy'].min():.1%} to "
        f"{table['accuracy'].max():.1%}: [bold]{escape(str(path))}[/bold]; give it to pnag run "
        f"--table, with one of its costs: {names}, or a column of your own (--cost NAME=FILE adds "
        "a device's)"
    )
