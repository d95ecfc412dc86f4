"""The plans of a run on own images, made once and printed before anything is trained."""

from __future__ import annotations

from dataclasses import asdict, replace

from pnag.errors import PnagError
from pnag.families.registry import family
from pnag.files import read_json, write_json
from pnag.run.answer_stage import DEFAULT_BUDGETS
from pnag.run.finished_supernet import (
    Asked,
    finished_plan,
    load_plan,
    refuse_another_training,
    save_plan,
)
from pnag.run.image_run import ImageRun
from pnag.supernet.plan import (
    VALIDATION,
    CollectingPlan,
    FinetuningPlan,
    SupernetPlan,
    evaluator_settings,
    minutes_of,
    plan_collecting,
    plan_finetuning,
    plan_supernet,
    suited_batch,
)
from pnag.supernet.processes import from_main
from pnag.supernet.round_training import round_settings
from pnag.supernet.rounds_plan import RoundsPlan, plan_rounds
from pnag.supernet.settings import SupernetSettings


def asked_of(run: ImageRun) -> Asked:
    """What a run asks its supernet to be."""
    images, settings = run.images, run.settings
    epochs = images.epochs or settings.fit.epochs or None
    resolutions = images.resolutions or ((images.resolution,) if images.resolution else None)
    return Asked(
        images=run.data.identity,
        supernet=replace(settings, fit=replace(settings.fit, epochs=0)).identity(),
        seed=run.recipe.seed,
        minutes=images.minutes,
        start=run.start.identity,
        family=images.family,
        width_mult=images.width_mult,
        epochs=epochs,
        precision=images.precision,
        resolutions=resolutions,
    )


def plan_supernet_stage(run: ImageRun) -> SupernetPlan:
    """Decide once how large the supernet is, and say how long it will take.

    Raises:
        PnagError: if the run has a supernet, trained or begun, that was asked for differently, the
            plan's batch does not suit the processes, or the memory or the epochs do not suffice.
    """
    asked, processes = asked_of(run), run.accelerator.num_processes
    settings = run.settings
    names = run.suited.families if run.suited else run.start.families

    def look() -> SupernetPlan | None:
        finished = finished_plan(run.run.supernet, asked)
        if finished is None:
            refuse_another_training(run.run.supernet_phases, run.run.supernet_plan, asked)
        return finished

    finished = from_main(run.accelerator, look)

    def work() -> None:
        plan = finished or plan_supernet(
            run.data,
            settings,
            minutes=asked.minutes,
            accelerator=run.accelerator,
            families=[family(name) for name in names],
            epochs=asked.epochs,
        )
        save_plan(run.run.supernet_plan, asked, plan)

    # Without what the machine or the processes decide: a run resumes elsewhere as it was begun.
    inputs = asdict(asked) | {"families": names}
    run.stage("plan of the supernet", inputs, [run.run.supernet_plan], work)
    plan = from_main(run.accelerator, lambda: load_plan(run.run.supernet_plan))
    if plan.batch_size % (2 * processes) and not finished:
        raise PnagError(
            f"the supernet was planned with batches of {plan.batch_size}, which {processes} "
            "processes cannot share in pairs; start a different number, or choose "
            "another directory with --out"
        )
    run.display.note(
        f"supernet of {family(plan.family).label}, {plan.epochs:g} epochs in batches of "
        f"{plan.batch_size}, {plan.precision}: about {plan.minutes:.3g} "
        "min [dim](--minutes, --width-mult, --epochs)[/dim]"
    )
    planned = minutes_of("supernet", asked.minutes, run.adapting)
    too_long = not (finished or asked.epochs) and plan.minutes > 1.1 * planned
    if run.suited and run.recipe.budgets and too_long:
        run.display.note(
            "[yellow]note:[/yellow] no smaller supernet reaches the budgets, and training this "
            f"one takes longer than --minutes {asked.minutes:g} allows: give more, or smaller "
            "--budgets"
        )
    return plan


def plan_collecting_stage(run: ImageRun, supernet: SupernetPlan) -> CollectingPlan:
    """Decide once how many architectures to collect.

    Raises:
        PnagError: if that leaves none besides those of the rounds.
    """
    images = run.images
    inputs = {
        "data": run.data.identity,
        "minutes": images.minutes,
        "family": supernet.family,
        "precision": images.precision,
        "architectures": images.architectures,
        "images": VALIDATION,
    }
    if run.trains_in_rounds:
        inputs["rounds"] = [run.recipe.rounds, run.recipe.per_round]

    def work() -> None:
        plan = plan_collecting(
            run.data,
            family(supernet.family),
            minutes=images.minutes,
            device=run.accelerator.device,
            precision=images.precision,
            architectures=images.architectures,
            adapting=run.adapting,
            judgements=lambda architectures: _judgements(run, architectures),
        )
        write_json(run.run.collecting_plan, asdict(plan))

    run.stage("plan of the collecting", inputs, [run.run.collecting_plan], work)
    plan = CollectingPlan(**read_json(run.run.collecting_plan))
    per_round = planned_per_round(run, plan.architectures)
    if plan.architectures <= run.recipe.rounds * per_round:
        raise PnagError(
            f"{plan.architectures} architectures leave none to sample besides "
            f"{run.recipe.rounds} rounds of {per_round}; raise --architectures, or "
            "lower --rounds or --per-round"
        )
    run.display.note(
        f"{plan.architectures:,} architectures, judged in {plan.precision}: about "
        f"{plan.minutes:.3g} min, and some to time this machine [dim](--architectures)[/dim]"
    )
    return plan


def doubtful_images(run: ImageRun) -> int:
    """Images that subnets are judged on, where they will be tuned from trained weights; else 0."""
    if not run.adapting:
        return 0
    return evaluator_settings(run.accelerator.device).validation_images(run.data)


def planned_per_round(run: ImageRun, architectures: int) -> int:
    """How many architectures each round asks for: at most half of what is planned, in all.

    Where the user has given the number of architectures, what the recipe says.
    """
    recipe = run.recipe
    if run.images.architectures or not recipe.rounds:
        return recipe.per_round
    return max(1, min(recipe.per_round, architectures // (2 * recipe.rounds)))


def _judgements(run: ImageRun, architectures: int) -> float:
    """How many times a subnet is judged for a table of so many architectures.

    A round that trains the supernet judges all of the table as it is by then.
    """
    if not run.trains_in_rounds:
        return architectures
    rounds = run.recipe.rounds
    return (rounds + 1) * (architectures - rounds * planned_per_round(run, architectures) / 2)


def plan_rounds_stage(
    run: ImageRun, supernet: SupernetPlan
) -> tuple[ImageRun, SupernetSettings | None]:
    """Decide once how long rounds train the supernet further.

    Returns:
        The run with as many rounds as its minutes suffice for, and how each trains the supernet;
        the run as it is and None where none does.
    """
    if not run.trains_in_rounds:
        if run.images.train_in_rounds:
            run.notice(
                "no round trains the supernet (--train-in-rounds): that takes trained weights "
                "(--start) and --rounds"
            )
        return run, None
    settings = run.supernet_settings(supernet)
    inputs = {
        "data": run.data.identity,
        "minutes": run.images.minutes,
        "family": supernet.family,
        "supernet": settings.identity(),
        "rounds": run.recipe.rounds,
    }

    def work() -> None:
        plan = plan_rounds(
            run.data,
            settings,
            family(supernet.family),
            minutes=run.images.minutes,
            rounds=run.recipe.rounds,
            accelerator=run.accelerator,
        )
        write_json(run.run.rounds_plan, asdict(plan))

    run.stage("plan of the rounds", inputs, [run.run.rounds_plan], work)
    plan = RoundsPlan(**read_json(run.run.rounds_plan))
    run.display.note(
        f"{plan.rounds} round(s), each with {plan.epochs:g} epoch(s) of the supernet on subnets "
        f"like the best: about {plan.minutes:.3g} min [dim](--train-in-rounds)[/dim]"
    )
    recipe = run.recipe.model_copy(update={"rounds": plan.rounds})
    return replace(run, recipe=recipe), round_settings(settings, plan.epochs)


def plan_finetuning_stage(run: ImageRun, supernet: SupernetPlan) -> FinetuningPlan:
    """Decide once how long to fine-tune an answer.

    The number of answers counts the first time only: later budgets leave the epochs what they are,
    and with them the networks that are fine-tuned already.
    """
    images, settings = run.images, run.tuning
    tuning = images.finetune_epochs or settings.fit.epochs or None
    fit = suited_batch(settings.fit, run.data, device=run.accelerator.device)
    settings = replace(settings, fit=fit)
    answers = len(run.recipe.budgets) or DEFAULT_BUDGETS
    inputs = {
        "data": run.data.identity,
        "minutes": images.minutes,
        "family": supernet.family,
        "finetune": asdict(settings),
        "precision": run.accelerator.mixed_precision,
        "finetune_epochs": tuning,
    }
    if run.trains_in_rounds:
        inputs["rounds"] = True

    def work() -> None:
        plan = plan_finetuning(
            run.data,
            settings,
            family(supernet.family),
            minutes=images.minutes,
            answers=answers,
            accelerator=run.accelerator,
            epochs=tuning,
            adapting=run.adapting,
            in_rounds=run.trains_in_rounds,
        )
        write_json(run.run.finetuning_plan, asdict(plan))

    run.stage("plan of the fine-tuning", inputs, [run.run.finetuning_plan], work)
    plan = FinetuningPlan(**read_json(run.run.finetuning_plan))
    epochs = plan.epochs_text(family(supernet.family).space.resolutions)
    run.display.note(
        f"{epochs} epoch(s) of fine-tuning for each answer: about {plan.minutes:.3g} min "
        "[dim](--finetune-epochs)[/dim]"
    )
    return plan
