"""The stage that judges subnets and fits the predictor of their accuracy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from pnag.cost.latency_model import LatencyModel
from pnag.families.base import Family
from pnag.files import file_fingerprint, fingerprint, read_json, write_json
from pnag.judging.collect import collect
from pnag.judging.workers import suited_workers
from pnag.run.finetune_stage import tune, whole_networks
from pnag.run.image_plans import planned_per_round
from pnag.run.image_run import ImageRun
from pnag.run.own_labels import accuracy_error, as_json, tell_errors
from pnag.run.run_directory import RunDirectory
from pnag.run.size import Size
from pnag.run.supernet_stage import trained_supernet, trained_teacher
from pnag.run.tables import architecture_table, write_table
from pnag.run.trained import save_gaussian_process
from pnag.search.gaussian_process import fit_gaussian_process
from pnag.search.rounds import ask_in_rounds
from pnag.space import SearchSpace, Tokens, not_among, sample_shared
from pnag.supernet.finetune import judge
from pnag.supernet.loop import to_device
from pnag.supernet.plan import CollectingPlan, evaluator_settings
from pnag.supernet.settings import FinetuneSettings


def ends_of_resolutions(of: Family) -> Tokens:
    """(2 R, T) the smallest and the largest architecture at each resolution."""
    space = of.space
    ends = space.encode([of.smallest, of.largest])
    if not space.resolutions:
        return ends
    found = np.repeat(ends, len(space.resolutions), axis=0)
    found[:, 0] = np.tile(np.arange(len(space.resolutions)), len(ends))
    return found


def first_asked(run: ImageRun, of: Family, wanted: int) -> Tokens:
    """(at most `wanted`, T) architectures to judge before there are rounds, sampled at random.

    From trained weights with the ends of all resolutions among them: what the weights were made for
    is known to be good, and few others are judged.
    """
    known = ends_of_resolutions(of)[: wanted if run.adapting else 0]
    rng = np.random.default_rng(run.recipe.seed)
    others = sample_shared(of.space, wanted - len(known), rng, shared=run.images.shared)
    return np.concatenate([known, not_among(others, known)])


def accuracies_of_whole(
    run: ImageRun, of: Family, settings: FinetuneSettings
) -> dict[bytes, float]:
    """What the largest network is worth at each resolution once it has been tuned there.

    From trained weights and in few epochs, fewer pixels cost less accuracy than fewer layers or
    channels do, and tuning brings more than the order of the supernet's subnets foretells. So these
    are tuned before answers are chosen, on the train part alone. By tokens; empty where there is no
    teacher.
    """
    teacher = trained_teacher(run)
    if teacher is None:
        return {}
    archs = whole_networks(of)
    data = dict.fromkeys(archs, run.data)
    networks = tune(run, settings, teacher, data, "tuning the largest at each resolution")
    device = run.accelerator.device
    known = {}
    for row, (arch, network) in zip(of.space.encode(archs), networks.items(), strict=True):
        to_device(network, device)
        known[row.tobytes()] = judge(network, run.data_of(arch), "validation", device).top1
    return known


def with_known(
    accuracy: NDArray[np.float64], tokens: Tokens, known: Mapping[bytes, float]
) -> NDArray[np.float64]:
    """(N,) accuracies of (N, T) architectures, or what is `known` of them instead."""
    pairs = zip(accuracy, tokens, strict=True)
    return np.array([known.get(row.tobytes(), a) for a, row in pairs])


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


def collect_stage(
    run: ImageRun, plan: CollectingPlan, size: Size, tuning: FinetuneSettings
) -> None:
    """Judge sampled subnets, then, in rounds, the most promising ones; fit the predictor.

    Args:
        tuning: of the largest network at each resolution, if it starts from trained weights.
    """
    recipe, files = run.recipe, run.run
    per_round = planned_per_round(run, plan)
    settings = evaluator_settings(run.accelerator.device, precision=plan.precision)
    what = {
        "supernet": file_fingerprint(files.supernet),
        "data": run.data.identity,
        "judged": asdict(settings),
    }
    rows_file = files.collected / f"{fingerprint(what)}.csv"
    if run.adapting and files.largest.exists():
        what |= {"teacher": file_fingerprint(files.largest), "tuning": asdict(tuning)}
    inputs = what | {
        "latency": file_fingerprint(files.latency_model),
        "architectures": plan.architectures,
        "shared": run.images.shared,
        "rounds": [recipe.rounds, per_round],
        "seed": recipe.seed,
    }

    def work() -> None:
        supernet = trained_supernet(run)
        cost = LatencyModel.load(files.latency_model)
        space, wanted = size.of.space, plan.architectures - recipe.rounds * per_round
        tokens = first_asked(run, size.of, wanted)
        known = accuracies_of_whole(run, size.of, tuning)

        def truth(wanted: Tokens, show: Callable[[int, int], None]) -> NDArray[np.float64]:
            workers = None if run.ray_address else suited_workers(supernet, run.data, settings)
            rows = collect(
                supernet, run.data, wanted, rows_file, settings=settings, workers=workers,
                ray_address=run.ray_address, progress=show,
            )  # fmt: skip
            return with_known(rows["accuracy"].to_numpy(), wanted, known)

        with run.display.bar("judging subnets") as bar:
            accuracy, costs = truth(tokens, bar.update), cost.predict(tokens)
        if recipe.rounds:
            with run.display.bar("asking for the most promising") as bar:
                tokens, accuracy, costs = ask_in_rounds(
                    space, tokens, accuracy, costs, cost.predict,
                    lambda wanted: (truth(wanted, lambda done, total: None), cost.predict(wanted)),
                    rounds=recipe.rounds, per_round=per_round, seed=recipe.seed,
                    progress=bar.update,
                )  # fmt: skip
        write_table(architecture_table(tokens, accuracy, costs, size), files.table)
        _keep_predictor(files, space, tokens, accuracy, recipe.seed)

    outputs = [files.table, files.accuracy_predictor, files.prediction_errors]
    run.stage("collecting", inputs, outputs, work)
    remedy = "give more --minutes or judge more --architectures"
    tell_errors(read_json(files.prediction_errors), {"accuracy": "top-1"}, run.display, remedy)
