"""`pnag run` and `pnag train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pnag.commands.options import (
    Adb,
    Budgets,
    Cache,
    Choices,
    Classes,
    Compare,
    Epochs,
    FamilyName,
    ImageResolution,
    ImageResolutions,
    Images,
    Json,
    Margin,
    MaxMegapixels,
    Minutes,
    OnCorrupt,
    RayAddress,
    RecipeFile,
    RuntimeName,
    Seed,
    StartFrom,
    StartWeights,
    Threads,
    TimeAgain,
    TrainMethod,
    WidthMult,
    look_for,
    only_given,
)

Out = Annotated[
    Path | None,
    typer.Option(
        help="Run directory: results, and what a rerun reuses. [default: runs/this-machine, or "
        "runs/NAME of the table or images]"
    ),
]
SupernetOut = Annotated[Path, typer.Option(help="Run directory, in which `pnag run` continues.")]
Table = Annotated[
    Path | None,
    typer.Option(help="Your own table (CSV, Parquet, JSON): columns `arch`, an accuracy, a cost."),
]
Accuracy = Annotated[str | None, typer.Option(help="Accuracy column of --table.")]
Costs = Annotated[
    list[str] | None,
    typer.Option(
        metavar="COLUMN[,COLUMN...]",
        help="Cost column of --table; several separated by commas or with the option repeated. "
        "--budgets apply to the first; `pnag generate` takes budgets for all of them at "
        "once, by column.",
    ),
]
FinetuneEpochs = Annotated[
    int | None, typer.Option(min=1, help="Epochs to fine-tune each answer. [default: by --minutes]")
]
AlsoFinetune = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=0,
        help="For each of --budgets, also fine-tune the N of timm's networks that are expected to "
        "be the best within it, each as long as an answer, and judge them alike. This comes on top "
        "of --minutes; their weights are fetched first. [default: 0]",
    ),
]
Architectures = Annotated[
    int | None,
    typer.Option(
        min=20,
        help="Number of architectures in the table. [default: 16000; --images: by --minutes]",
    ),
]
Rounds = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Rounds that ask for the true accuracy of the most promising architectures: from the "
        "supernet of --images, or from you, in files to fill in. [default: 0; --images: 4]",
    ),
]
TrainInRounds = Annotated[
    bool | None,
    typer.Option(
        "--train-in-rounds",
        help="From trained weights, each round of --images first trains the supernet further on "
        "networks like the best so far, in a tenth of the minutes; rounds are fewer where minutes "
        "are few.",
    ),
]
PerRound = Annotated[
    int | None,
    typer.Option(min=1, help="Architectures a round asks for. [default: 100; --images: 50]"),
]
Published = Annotated[
    bool | None,
    typer.Option(
        "--published/--untrained",
        help="Give ImageNet's answers Once-for-All's weights, which are fetched once (30 MB). "
        "[default: published]",
    ),
]


def run(
    out: Out = None,
    budgets: Budgets = None,
    table: Table = None,
    accuracy: Accuracy = None,
    cost: Costs = None,
    choices: Choices = None,
    images: Images = None,
    classes: Classes = None,
    on_corrupt: OnCorrupt = None,
    max_megapixels: MaxMegapixels = None,
    cache: Cache = None,
    minutes: Minutes = None,
    start: StartFrom = None,
    weights: StartWeights = None,
    family: FamilyName = None,
    resolution: ImageResolution = None,
    resolutions: ImageResolutions = None,
    width_mult: WidthMult = None,
    epochs: Epochs = None,
    train_method: TrainMethod = None,
    finetune_epochs: FinetuneEpochs = None,
    also_finetune: AlsoFinetune = None,
    architectures: Architectures = None,
    rounds: Rounds = None,
    train_in_rounds: TrainInRounds = None,
    per_round: PerRound = None,
    published: Published = None,
    runtime: RuntimeName = None,
    threads: Threads = None,
    adb: Adb = None,
    margin: Margin = None,
    compare: Compare = None,
    time_again: TimeAgain = None,
    ray_address: RayAddress = None,
    seed: Seed = None,
    recipe: RecipeFile = None,
    as_json: Json = False,
) -> None:
    """Find the best network for each budget, from this machine, your images or your table.

    With --images: trains a supernet on them, judges its subnets, measures this CPU, searches, then
    fine-tunes and exports the answers. It says how long that will take before it starts.

    With --table: searches in your own table of accuracies and costs.

    With neither: measures this CPU, takes ImageNet accuracies of the published Once-for-All
    supernet (embedded predictor), trains evaluator and generator, answers five budgets, exports the
    networks and times them. Stop it at any moment; the same command resumes it.
    """
    given = only_given(locals())
    look_for(images)
    from pnag.commands.bodies.run import run_asked

    run_asked(given, as_json)


def train(
    images: Images,
    out: SupernetOut,
    classes: Classes = None,
    on_corrupt: OnCorrupt = None,
    max_megapixels: MaxMegapixels = None,
    cache: Cache = None,
    minutes: Minutes = None,
    start: StartFrom = None,
    weights: StartWeights = None,
    family: FamilyName = None,
    resolution: ImageResolution = None,
    resolutions: ImageResolutions = None,
    width_mult: WidthMult = None,
    epochs: Epochs = None,
    train_method: TrainMethod = None,
    budgets: Budgets = None,
    runtime: RuntimeName = None,
    threads: Threads = None,
    adb: Adb = None,
    seed: Seed = None,
    recipe: RecipeFile = None,
) -> None:
    """Train the supernet only: the part of `pnag run --images` that several processes can share.

    Several GPUs: accelerate launch --multi_gpu -m pnag train --images ... --out RUN

    Several CPU processes: torchrun --nproc_per_node 2 -m pnag train --images ... --out RUN

    Then give `pnag run` the same options. With --budgets its resolution and width suit these, by a
    few networks that are timed here: on --runtime, if that is given.
    """
    given = only_given(locals())
    look_for(images)
    from pnag.commands.bodies.run import train_asked

    train_asked(given, out)
