"""Options that several commands have, and how they are read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pnag.errors import PnagError

if TYPE_CHECKING:  # `pnag --help` need not wait for it
    from pnag.run.budgets import Budget


def parse_budgets(text: str | None, column: str | None = None) -> list[float]:
    """`25,27.5,33`, `6ms,8ms` or `2MB` to numbers in the unit of the cost.

    Args:
        column: the name of a table's cost; the budgets are milliseconds if None.

    Raises:
        PnagError: for anything that is not a list of positive numbers, or has another unit or the
            name of a cost.
    """
    if text is None:
        return []
    from pnag.run.budgets import check_units, read_budget

    budgets = []
    for part in text.split(","):
        if "=" in part:
            raise PnagError(
                f"--budgets has {part.strip()!r}, but takes numbers without names, all for the "
                "first cost; for budgets of several costs at once, finish the run, then give "
                "`pnag generate RUN --budget 25 --budget params=6M`"
            )
        budget = read_budget(part)
        if budget is None:
            raise PnagError(
                "--budgets must be positive numbers such as 25,27.5,33 or 6ms,8ms, not "
                f"{part.strip()!r}"
            )
        check_units({column or "latency": budget}, column)
        budgets.append(budget.amount)
    return budgets


def parse_columns(texts: list[str] | None) -> list[str]:
    """`ms,params` and `macs` to the names of columns."""
    return [name.strip() for text in texts or [] for name in text.split(",") if name.strip()]


def parse_one_cost(texts: list[str]) -> str:
    """The name of the one cost column that `pnag search` takes.

    Raises:
        PnagError: for several: names the commands that take them.
    """
    names = parse_columns(texts)
    if len(names) != 1:
        raise PnagError(
            f"--cost must be one column, not {','.join(texts)!r}: `pnag search` compares "
            "methods at budgets of one cost. For several costs at once, give them to "
            "`pnag run --table T.csv --cost ms,params`, then `pnag generate RUN --budget 30 "
            "--budget params=6M`"
        )
    return names[0]


def parse_resolutions(text: str | None) -> tuple[int, ...] | None:
    """`64,96,128` to numbers of pixels.

    Raises:
        PnagError: for anything but ascending whole numbers from 32.
    """
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    pixels = tuple(int(part) for part in parts if part.isascii() and part.isdecimal())
    if len(pixels) != len(parts) or min(pixels) < 32 or list(pixels) != sorted(set(pixels)):
        raise PnagError(
            "--resolutions must be ascending whole numbers from 32, such as 64,96,128, not "
            f"{text!r}"
        )
    return pixels


ALL = 1000  # more networks than there are


def parse_compare(text: str, source: str) -> int:
    """`12` or `all`, for a run of this source.

    Raises:
        PnagError: for anything else, and where there is nothing to compare with.
    """
    if source != "imagenet":
        raise PnagError(
            f"--compare times networks published for ImageNet, and this run is of your {source}; "
            "leave it out"
        )
    if text != "all" and not (text.isascii() and text.isdecimal()):
        raise PnagError(f"--compare must be a number of networks, such as 12, or all, not {text!r}")
    return ALL if text == "all" else int(text)


def parse_budget(text: str | None) -> Budget | None:
    """One budget without a name.

    Raises:
        PnagError: as `parse_named_budgets`, or if it has one.
    """
    if text is None:
        return None
    budgets = parse_named_budgets([text])
    if "" not in budgets:
        raise PnagError(f"--budget must be a number of the run's own cost, without =, not {text!r}")
    return budgets[""]


def parse_named_budgets(texts: list[str]) -> dict[str, Budget]:
    """`30`, `cpu=30ms`, `params=6M` or `memory=2MB`, each once, to budgets by name.

    A budget without a name has the name "". Whether a unit is that of its cost is for
    `check_units`: it depends on the run.

    Raises:
        PnagError: for anything else, a budget that is not positive, and a name that comes twice.
    """
    from pnag.run.budgets import read_budget

    budgets: dict[str, Budget] = {}
    for text in texts:
        before, equals, after = text.rpartition("=")
        name, budget = before.strip(), read_budget(after)
        if budget is None or (equals and not name) or "=" in name:
            raise PnagError(
                "--budget must be a positive number such as 30, 30ms, params=6M or memory=2MB, "
                f"with the name of a cost if it is not the run's own, not {text!r}"
            )
        if name in budgets:
            raise PnagError(f"--budget has {name or 'a number without a name'} twice; give it once")
        budgets[name] = budget
    return budgets


def finite(value: float | None) -> float | None:
    """The value of an option: `min` lets inf through, and nan with some releases of typer.

    Raises:
        typer.BadParameter: if it is either.
    """
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number")
    return value


def asked_batch(to: str, batch: int | None, *, dynamic: bool) -> int:
    """How many images the file of a format takes at a time; ANY_BATCH stands for any number.

    Raises:
        PnagError: if there is no such format, it cannot, or both options are given.
    """
    from pnag.deploy.formats import ANY_BATCH, FORMATS, find_format

    if not dynamic:
        find_format(to)
        return batch or 1
    if batch is not None:
        raise PnagError(f"--batch {batch} and --dynamic-batch exclude each other; give one of them")
    if not find_format(to).any_batch:
        can = ", ".join(name for name, entry in FORMATS.items() if entry.any_batch)
        fix = "take" if to == "ncnn" else "give it with --batch, or take"
        raise PnagError(f"{to} plans its memory for one number of images: {fix} {can}")
    return ANY_BATCH


def only_given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options by their names, without those that were not given.

    Args:
        options: some, or all as `locals()` has them before a command has variables of its own.
    """
    return {name: value for name, value in options.items() if value is not None}


def look_for(images: str | None) -> None:
    """Report a mistyped path at once, not after the seconds that loading torch takes.

    Raises:
        PnagError: if `images` is a path to nothing.
    """
    from pnag.images.sources import there

    if images is not None:
        there(images)


FinishedRun = Annotated[Path, typer.Argument(metavar="RUN", help="A finished run.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a script instead of tables.")]
RayAddress = Annotated[
    str | None,
    typer.Option(
        help="Address of a Ray cluster that judges subnets and fine-tunes answers on --images, or "
        "`local`. Its machines need the folder of decoded images (--cache) under the same "
        "path. Needs the extra `ray`."
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(min=0, max=2**32 - 1, help="Seed of all random choices. [default: 0]"),
]
Threads = Annotated[
    int | None, typer.Option(min=1, help="Threads of the measured runtime. [default: 1]")
]
RuntimeName = Annotated[
    str | None,
    typer.Option(
        "--runtime",
        help="Where networks run; `pnag measure --list` shows them. [default: onnxruntime]",
    ),
]
Budgets = Annotated[
    str | None,
    typer.Option(
        help="Budgets, a comma list; ms, or the cost's unit. [default: five over the range]"
    ),
]
Margin = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=0.5,
        callback=finite,
        help="How much longer than predicted an answer may take and still be within its budget, "
        "such as 0.02. [default: what 90 % of the latency model's check networks are within; "
        "with --table 0]",
    ),
]
Compare = Annotated[
    str | None,
    typer.Option(
        metavar="NUMBER|all",
        help="At most this many of today's published networks are timed beside the answers on "
        "ImageNet, chosen along their front within the range of the budgets. [default: 12]",
    ),
]
TimeAgain = Annotated[
    bool | None,
    typer.Option("--time-again", help="Repeat the timings that other programs disturbed."),
]
Adb = Annotated[
    str | None,
    typer.Option(
        metavar="SERIAL",
        help="Phone of a --runtime that ends in -adb, by `adb devices`. [default: the only one]",
    ),
]
Choices = Annotated[
    list[str] | None,
    typer.Option(
        metavar="COLUMN[,COLUMN...]",
        help="Columns of --table to search, in place of `arch`: numbers or names, empty where a "
        "choice does not exist.",
    ),
]
Images = Annotated[
    str | None,
    typer.Option(
        help="Your own images: a folder of class folders, or of images and a list of their "
        "classes; Parquet or WebDataset's tar files; a name on the Hugging Face hub; or `digits` "
        "to try it out."
    ),
]
Classes = Annotated[
    int | None, typer.Option(min=2, help="Take this many classes of --images, drawn by the seed.")
]
OnCorrupt = Annotated[
    str | None,
    typer.Option(
        help="What to do with images that cannot be read: refuse or skip. [default: refuse]"
    ),
]
MaxMegapixels = Annotated[
    float | None,
    typer.Option(
        min=0.0001,
        callback=finite,
        help="Largest size of an image of --images, in million pixels; each million takes 3 MB of "
        "memory in every decoding process. [default: 179]",
    ),
]
JudgedOn = Annotated[
    str | None,
    typer.Option(
        "--part",
        help="Part of the images to judge on: validation or test. [default: validation where the "
        "weights say that they were trained on these images' train part, else test]",
    ),
]
Cache = Annotated[
    Path | None,
    typer.Option(help="Folder for the decoded images. [default: `images` in the run directory]"),
]
Minutes = Annotated[
    float | None,
    typer.Option(
        min=0.1, callback=finite, help="Minutes that a run on --images should take. [default: 120]"
    ),
]
ImageResolution = Annotated[
    int | None,
    typer.Option(
        min=32,
        help="Resolution of --images in pixels. [default: their own, up to 224, or what "
        "suits --budgets]",
    ),
]
ImageResolutions = Annotated[
    str | None,
    typer.Option(
        "--resolutions",
        help="Resolutions in pixels that architectures choose from, a comma list such as "
        "64,96,128. [default: 128,160,192,224; with --images one, or with trained weights "
        "what suits --budgets]",
    ),
]
StartFrom = Annotated[
    str | None,
    typer.Option(
        "--start",
        metavar="START",
        help="Weights that the supernet of --images begins with: published (Once-for-All's), "
        "timm/NAME, a run's directory, a supernet's file, or scratch. [default: published]",
    ),
]
StartWeights = Annotated[
    Path | None,
    typer.Option(
        "--weights",
        help="File with the weights of --start timm/NAME, instead of those that timm publishes: "
        "timm's names, or the same shapes in the same order.",
    ),
]
WidthMult = Annotated[
    float | None,
    typer.Option(
        min=0.1,
        callback=finite,
        help="Width multiplier of the supernet. [default: by --minutes and --budgets]",
    ),
]
Epochs = Annotated[
    int | None,
    typer.Option(
        min=1, help="Epochs to train the supernet, all phases together. [default: by --minutes]"
    ),
]
TrainMethod = Annotated[
    str | None,
    typer.Option(
        help="How to train the supernet: sandwich (from trained weights, after a phase of the "
        "largest network alone) or progressive. [default: sandwich]"
    ),
]
Batch = Annotated[
    int | None,
    typer.Option(min=1, help="Batch size of the exported file. [default: 1]"),
]
DynamicBatch = Annotated[
    bool,
    typer.Option(
        "--dynamic-batch",
        help="Let the file take any number of images (not executorch, coreml, ncnn).",
    ),
]
RecipeFile = Annotated[
    Path | None, typer.Option("--recipe", help="YAML with any of recipe.yaml's options.")
]
FamilyName = Annotated[
    str | None,
    typer.Option(
        "--family",
        help="Family of networks; `pnag families` lists them. [default: ofa-mobilenetv3]",
    ),
]
SizedWidthMult = Annotated[
    float | None,
    typer.Option(
        min=0.1, callback=finite, help="Width multiplier of ofa-mobilenetv3. [default: 1]"
    ),
]
Resolution = Annotated[int, typer.Option(min=32, help="Height and width of the images.")]
NumClasses = Annotated[int, typer.Option(min=1, help="Number of classes.")]
