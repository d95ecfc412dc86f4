"""The stage that tunes the largest network at each resolution, before architectures are judged.

All resolutions share the supernet's weights, which have learnt most at the middle one. Networks at
another look worse there than they become once they are trained at it alone: of efficientnet_lite0
on 4,000 photos the one at 64 pixels by 6 points, at 80 by 5, at 96 by 3. Judged as they are, the
wrong resolution wins. So the largest network is tuned at each, every judged network is credited
with what that has gained at its resolution, and answers begin with the weights that were tuned.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pnag.families.elastic_network import ElasticNetwork
from pnag.files import file_fingerprint, fingerprint, read_json, write_json
from pnag.images.batches import steps_per_epoch
from pnag.run.image_run import ImageRun
from pnag.run.supernet_stage import trained_supernet
from pnag.space import SearchSpace, Tokens
from pnag.supernet.finetune import finetune_identity, judge, largest_network, tune_largest
from pnag.supernet.loop import Step
from pnag.supernet.plan import FinetuningPlan
from pnag.supernet.settings import FinetuneSettings


def resolution_stage(run: ImageRun, plan: FinetuningPlan, resolutions: tuple[int, ...]) -> None:
    """Tune the largest network at each resolution, and write what that gains.

    Args:
        resolutions: that architectures choose among.
    """
    if not plan.largest_epochs:
        run.run.resolution_gains.unlink(missing_ok=True)  # of a run that was asked for otherwise
        return
    hows = {pixels: _settings(run, plan, pixels, resolutions) for pixels in resolutions}
    inputs = [_identity(run, pixels, how) for pixels, how in hows.items()]

    def work() -> None:
        steps = [how.fit.epochs * steps_per_epoch(run.data, how.fit.batch_size)
                 for how in hows.values()]  # fmt: skip
        supernet, device, gains = trained_supernet(run), run.accelerator.device, {}
        with run.display.bar("tuning the largest network at each resolution") as bar:
            for number, pixels in enumerate(resolutions):

                def watch(step: Step, number: int = number, pixels: int = pixels) -> None:
                    done = sum(steps[:number]) + step.done
                    bar.update(done, sum(steps), f"{pixels} pixels, loss {step.loss:.3f}")

                data = run.data_at(pixels)
                before = judge(largest_network(supernet, data, device), data, "validation", device)
                tuned = supernet_at(run, plan, pixels, resolutions, watch)
                after = judge(largest_network(tuned, data, device), data, "validation", device)
                gains[str(pixels)] = after.top1 - before.top1
        write_json(run.run.resolution_gains, gains)

    run.stage("largest network at each resolution", inputs, [run.run.resolution_gains], work)
    gains = read_json(run.run.resolution_gains)
    text = ", ".join(f"{100 * gains[str(pixels)]:+.1f} at {pixels}" for pixels in resolutions)
    run.display.note(f"  points of top-1 gained by tuning at one resolution: {text} pixels")


def supernet_at(
    run: ImageRun,
    plan: FinetuningPlan,
    pixels: int,
    resolutions: tuple[int, ...],
    watch: Callable[[Step], None] = lambda step: None,
) -> ElasticNetwork:
    """The supernet whose largest network was tuned at a resolution, on the accelerator's device.

    It is tuned now if it is not yet. Where the plan tunes none, it is the trained one itself.
    """
    supernet = trained_supernet(run)
    if plan.largest_epochs:
        settings = _settings(run, plan, pixels, resolutions)
        tune_largest(
            supernet, run.data_at(pixels), settings, run.run.finetuned,
            identity=_identity(run, pixels, settings), seed=run.recipe.seed,
            accelerator=run.accelerator, watch=watch, notice=run.notice,
        )  # fmt: skip
    return supernet


def supernet_identity(
    run: ImageRun, plan: FinetuningPlan, pixels: int, resolutions: tuple[int, ...]
) -> str:
    """A hash of what the weights of `supernet_at` depend on."""
    if not plan.largest_epochs:
        return file_fingerprint(run.run.supernet)
    return _identity(run, pixels, _settings(run, plan, pixels, resolutions))


def gains_of(run: ImageRun, space: SearchSpace, tokens: Tokens) -> NDArray[np.float64]:
    """(N,) of (N, T) architectures: what tuning has gained at the resolution of each, or 0."""
    if not run.run.resolution_gains.exists():
        return np.zeros(len(tokens))
    gains = read_json(run.run.resolution_gains)
    found = np.array([gains[str(pixels)] for pixels in space.resolutions])
    return found[space.resolution_ids(tokens)]


def _settings(
    run: ImageRun, plan: FinetuningPlan, pixels: int, resolutions: tuple[int, ...]
) -> FinetuneSettings:
    return run.finetune_settings(plan.largest_epochs_at(pixels, resolutions))


def _identity(run: ImageRun, pixels: int, settings: FinetuneSettings) -> str:
    begun_with, data = file_fingerprint(run.run.supernet), run.data_at(pixels)
    largest = f"largest at {pixels}"
    of_one = finetune_identity(
        begun_with, largest, data, settings, run.recipe.seed, run.accelerator
    )
    return fingerprint([of_one])
