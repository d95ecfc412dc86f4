"""`pnag run`: all stages in order, each reused where nothing that it depends on has changed."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from pnag.commands.bodies.report import results_of, save_report
from pnag.cost.runtimes import too_many_threads
from pnag.errors import PnagError
from pnag.files import write_json
from pnag.run.answer_stage import answer_stage
from pnag.run.display import Display
from pnag.run.doubt import largest_of
from pnag.run.first_answers import first_answers
from pnag.run.further_costs import counted_costs_stage
from pnag.run.latency_stages import front_calibration_stage, latency_stage
from pnag.run.margin import margin_of
from pnag.run.metrics import collect_metrics
from pnag.run.named_family import decided_family
from pnag.run.own_space import space_of_run
from pnag.run.proof_stage import proof_stage
from pnag.run.recipe import (
    Recipe,
    TableRecipe,
    load_recipe,
    make_recipe,
    save_recipe,
    search_settings,
    with_images,
)
from pnag.run.run_directory import RunDirectory, held_run
from pnag.run.search_stages import first_front_stage, search_stages
from pnag.run.size import Size, family_of_recipe
from pnag.run.table_stages import ask_stage, imagenet_table_stage, user_table_stage
from pnag.run.timing import forget_unsure_times, runtime_of
from pnag.run.trained import Answer
from pnag.threads import torch_threads


def run_pipeline(
    recipe: Recipe,
    out: Path,
    display: Display,
    ray_address: str | None = None,
    *,
    time_again: bool = False,
) -> dict[str, Any]:
    """Do or reuse every stage; return the metrics.

    Args:
        time_again: whether to repeat timings that something disturbed.
        ray_address: of a Ray cluster that judges subnets and fine-tunes answers of own images.

    Raises:
        PnagError: for anything that the user can fix.
    """
    if _launched("WORLD_SIZE", "SIZE") > 1:
        raise PnagError("`pnag run` is one process; several can share `pnag train`")
    if recipe.table is None:  # fail now, not after hours of training, if it cannot be measured
        runtime_of(recipe.latency)
        display.warn(too_many_threads(recipe.latency.runtime, recipe.latency.threads))
    with held_run(out) as run:
        run.unfinished_by_work = True
        threads = threads_of(run, recipe, display)
        recipe = recipe.model_copy(update={"torch_threads": threads})
        with torch_threads(threads):
            if time_again:
                forget_unsure_times(run, display)
            if not run.recipe.exists():  # a finished run's stays until this one has finished
                save_recipe(recipe, run.recipe)
            if recipe.table is not None:
                return _from_table(run, recipe, recipe.table, display)
            if recipe.images is not None:
                return _from_images(run, recipe, display, ray_address)
            return _of_this_machine(run, recipe, display)


def threads_of(run: RunDirectory, recipe: Recipe, display: Display) -> int:
    """Torch's threads for a run: as the recipe says, as the run began, or as many as torch takes.

    Their number changes results by rounding, and a resumed run should not change it.
    """
    own = torch.get_num_threads()
    if recipe.torch_threads is not None:
        return recipe.torch_threads
    try:
        began = make_recipe(load_recipe(run.recipe)).torch_threads
    except PnagError:  # it begins now, or what it began with is unknown
        began = None
    if began is not None and began != own:
        display.note(
            f"torch uses the {began} thread(s) that this run began with, not {own}, because their "
            "number changes results by rounding (`torch_threads` in a --recipe changes it)"
        )
    return began or own


def _of_this_machine(run: RunDirectory, recipe: Recipe, display: Display) -> dict[str, Any]:
    """All that can be done without images: ImageNet's accuracies are predicted."""
    size = Size(max(recipe.resolutions), family_of_recipe(recipe).name)
    latency_stage(run, recipe.latency, size, recipe.seed, display)
    imagenet_table_stage(run, size, recipe.architectures, recipe.seed, display)
    answers = search_and_answer(run, recipe, size, display)
    proof_stage(run, recipe, size, answers, None, display)
    return _finish(run, recipe, size, answers)


def _from_table(
    run: RunDirectory, recipe: Recipe, table: TableRecipe, display: Display
) -> dict[str, Any]:
    """All that can be done without images and device."""
    done, from_rounds = user_table_stage(run, table, recipe.predictor, recipe.seed, display)
    metrics = _finish(run, recipe, None, search_and_answer(run, recipe, None, display))
    if done < recipe.rounds:
        ask_stage(run, recipe, table, done, from_rounds, display)
    return metrics


def _from_images(
    run: RunDirectory, recipe: Recipe, display: Display, ray_address: str | None
) -> dict[str, Any]:
    """From own images to fine-tuned networks."""
    # Here, for these import `datasets` and `accelerate`: seconds that other runs need not wait.
    from pnag.run import image_plans as plans
    from pnag.run.collect_stage import collect_stage
    from pnag.run.finetune_stage import finetune_stage, write_weights
    from pnag.run.image_run import open_images
    from pnag.run.published_choice import choose_published
    from pnag.run.supernet_stage import supernet_stage
    from pnag.run.tuned_published import tune_published, write_tuned

    job = open_images(run, recipe, display, ray_address)
    supernet = plans.plan_supernet_stage(job)
    job, rounds = plans.plan_rounds_stage(job, supernet)
    collecting = plans.plan_collecting_stage(job, supernet)
    tuning = plans.plan_finetuning_stage(job, supernet)
    published = choose_published(job, supernet, tuning)
    size = Size(job.data.preprocessing.resolution, supernet.family, len(job.data.classes))
    recipe = with_images(job.recipe, decided_family(supernet.family))
    supernet_stage(job, supernet)
    latency_stage(run, recipe.latency, size, recipe.seed, display)
    collect_stage(job, collecting, size, rounds)
    answers = search_and_answer(run, recipe, size, display, judged_on=plans.doubtful_images(job))
    networks = finetune_stage(job, tuning, answers)
    beside = tune_published(job, published)
    proof_stage(run, recipe, size, answers, networks, display, beside)
    write_weights(job, answers, networks)
    write_tuned(run, beside)
    decided = {
        "resolution": None if size.of.elastic else size.resolution,
        "epochs": supernet.epochs,
        "architectures": collecting.architectures,
        # Answers that share the minutes have epochs of their own, which no one number says.
        "finetune_epochs": None if tuning.networks else tuning.epochs,
    }
    per_round = {"per_round": plans.planned_per_round(job, collecting.architectures)}
    return _finish(run, with_images(recipe, decided).model_copy(update=per_round), size, answers)


def search_and_answer(
    run: RunDirectory, recipe: Recipe, size: Size | None, display: Display, judged_on: int = 0
) -> list[Answer]:
    """From a table to the answers: first those of the table alone, then those after the search.

    Args:
        size: of the networks, which are timed; None where there is a table only.
        judged_on: images, where answers are the `Largest` network unless another is surely better;
            else 0.
    """
    space, seed, settings = space_of_run(run, recipe), recipe.seed, search_settings(recipe)
    if size:
        counted_costs_stage(run, size, display)
    if first_front_stage(run, space, settings, seed, display):
        first_answers(run, space, recipe.budgets, " ms" if size else "", display)
    search_stages(run, space, settings, seed, display)
    if size:
        front_calibration_stage(run, recipe.latency, size, seed, display)
    margin = margin_of(run, recipe.margin)
    largest = largest_of(run, size.of, judged_on) if size and judged_on else None
    return answer_stage(run, space, recipe.budgets, margin, size, display, largest)


def train_only(recipe: Recipe, out: Path, display: Display) -> None:
    """The part of a run on images that several processes can share: up to the trained supernet.

    Raises:
        PnagError: for anything that the user can fix.
    """
    from pnag.run import image_plans as plans
    from pnag.run.image_run import open_images
    from pnag.run.supernet_stage import supernet_stage

    main = not _launched("RANK", "RANK")  # which holds the directory for all
    with (
        held_run(out) if main else nullcontext(RunDirectory(out)) as run,
        torch_threads(recipe.torch_threads),
    ):
        job = open_images(run, recipe, display)
        supernet_stage(job, plans.plan_supernet_stage(job))


def _launched(torchs: str, mpis: str) -> int:
    """A number that torchrun, `accelerate launch` or MPI gives each of its processes, or 0."""
    mpi = (f"{name}_{mpis}" for name in ("PMI", "OMPI_COMM_WORLD", "MV2_COMM_WORLD"))
    return next((int(os.environ[name]) for name in (torchs, *mpi) if name in os.environ), 0)


def _finish(
    run: RunDirectory, recipe: Recipe, size: Size | None, answers: list[Answer]
) -> dict[str, Any]:
    save_recipe(recipe, run.recipe)
    metrics = collect_metrics(run, recipe, size, answers)
    write_json(run.metrics, metrics)
    run.unfinished_by_work = False
    save_report(results_of(run, metrics))
    return metrics
