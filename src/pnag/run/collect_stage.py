"""The stage that judges subnets and fits the predictor of their accuracy."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pnag.cost.latency_model import LatencyModel
from pnag.families.base import Family
from pnag.families.elastic_network import ElasticNetwork
from pnag.files import file_fingerprint, fingerprint, read_json, write_json
from pnag.judging.collect import collect
from pnag.judging.subnets import Settings
from pnag.judging.workers import suited_workers
from pnag.run.adapting_rounds import Show, adapt_in_rounds
from pnag.run.image_plans import planned_per_round
from pnag.run.image_run import ImageRun
from pnag.run.own_labels import accuracy_error, as_json, tell_errors
from pnag.run.run_directory import RunDirectory
from pnag.run.size import Size
from pnag.run.supernet_stage import supernet_before_rounds
from pnag.run.tables import architecture_table, write_table
from pnag.run.trained import save_gaussian_process
from pnag.search.gaussian_process import fit_gaussian_process
from pnag.search.rounds import ask_in_rounds
from pnag.space import SearchSpace, Tokens, not_among, sample_shared
from pnag.space.at_resolutions import at_each_resolution
from pnag.supernet.plan import CollectingPlan, evaluator_settings
from pnag.supernet.settings import SupernetSettings


def ends_of_resolutions(of: Family) -> Tokens:
    """(2 R, T) the smallest and the largest architecture at each resolution."""
    return at_each_resolution(of.space, [of.smallest, of.largest])


def first_asked(run: ImageRun, of: Family, wanted: int) -> Tokens:
    """(at most `wanted`, T) architectures to judge before there are rounds, sampled at random.

    From trained weights with the ends of all resolutions among them: what the weights were made for
    is known to be good, and few others are judged.
    """
    known = ends_of_resolutions(of)[: wanted if run.adapting else 0]
    rng = np.random.default_rng(run.recipe.seed)
    others = sample_shared(of.space, wanted - len(known), rng, shared=run.images.shared)
    return np.concatenate([known, not_among(others, known)])


def _keep_predictor(
    files: RunDirectory,
    space: SearchSpace,
    tokens: Tokens,
    accuracy: NDArray[np.float64],
    seed: int,
) -> None:
    """Write the predictor of (M, T) judged architectures' accuracies, and its error."""
    process = fit_gaussian_process(space, tokens, accuracy, seed=seed)
    save_gaussian_process(process, files.accuracy_predictor)
    errors = {"accuracy": accuracy_error(process, accuracy, seed)}
    write_json(files.prediction_errors, as_json(errors))


def _judged_with(run: ImageRun, weights: Path, settings: Settings) -> dict[str, Any]:
    """What accuracies depend on; each file of weights has rows of its own."""
    return {
        "supernet": file_fingerprint(weights),
        "data": run.data.identity,
        "judged": asdict(settings),
    }


def _judge(
    run: ImageRun,
    supernet: ElasticNetwork,
    settings: Settings,
    weights: Path,
    tokens: Tokens,
    show: Show = lambda done, total: None,
) -> NDArray[np.float64]:
    """(N,) accuracies of (N, T) subnets.

    Args:
        weights: the file of what the supernet holds.
    """
    rows = collect(
        supernet,
        run.data,
        tokens,
        run.run.collected / f"{fingerprint(_judged_with(run, weights, settings))}.csv",
        settings=settings,
        workers=None if run.ray_address else suited_workers(supernet, run.data, settings),
        ray_address=run.ray_address,
        progress=show,
    )
    accuracy: NDArray[np.float64] = rows["accuracy"].to_numpy()
    return accuracy


def collect_stage(
    run: ImageRun, plan: CollectingPlan, size: Size, rounds: SupernetSettings | None = None
) -> None:
    """Judge sampled subnets, then, in rounds, the most promising ones; fit the predictor.

    Args:
        rounds: how each round trains the supernet before it judges; None where none does.
    """
    recipe, files = run.recipe, run.run
    per_round = planned_per_round(run, plan.architectures)
    settings = evaluator_settings(run.accelerator.device, precision=plan.precision)
    inputs = _judged_with(run, files.supernet, settings) | {
        "latency": file_fingerprint(files.latency_model),
        "architectures": plan.architectures,
        "shared": run.images.shared,
        "rounds": [recipe.rounds, per_round],
        "seed": recipe.seed,
    }
    outputs = [files.table, files.accuracy_predictor, files.prediction_errors]
    if rounds:
        inputs["training"] = rounds.identity()
        outputs.append(files.supernet_of_rounds)

    def work() -> None:
        files.supernet_of_rounds.unlink(missing_ok=True)  # of other rounds
        supernet = supernet_before_rounds(run)
        cost = LatencyModel.load(files.latency_model)
        space, wanted = size.of.space, plan.architectures - recipe.rounds * per_round
        tokens = first_asked(run, size.of, wanted)
        judge = partial(_judge, run, supernet, settings)
        with run.display.bar("judging subnets") as bar:
            accuracy = judge(files.supernet, tokens, bar.update)
        costs = cost.predict(tokens)
        if rounds:
            tokens, accuracy, costs = adapt_in_rounds(
                run, supernet, rounds, (tokens, accuracy, costs), cost.predict, judge,
                per_round=per_round,
            )  # fmt: skip
        elif recipe.rounds:
            with run.display.bar("asking for the most promising") as bar:
                tokens, accuracy, costs = ask_in_rounds(
                    space, tokens, accuracy, costs, cost.predict,
                    lambda wanted: (judge(files.supernet, wanted), cost.predict(wanted)),
                    rounds=recipe.rounds, per_round=per_round, seed=recipe.seed,
                    progress=bar.update,
                )  # fmt: skip
        write_table(architecture_table(tokens, accuracy, costs, size), files.table)
        _keep_predictor(files, space, tokens, accuracy, recipe.seed)

    run.stage("collecting", inputs, outputs, work)
    tell_errors(
        read_json(files.prediction_errors),
        {"accuracy": "top-1"},
        run.display,
        "judge more --architectures",
    )
