"""Which published networks are fine-tuned beside a run's answers: chosen before it trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import timm
from rich.markup import escape

from pnag.cost.runtimes.adb import PhoneGoneError
from pnag.deploy.zoo import TIMM_NETWORKS
from pnag.deploy.zoo.network import Library, Network
from pnag.deploy.zoo.within_budget import Sized, all_sizes, best_within
from pnag.downloads import fetch
from pnag.errors import PnagError
from pnag.families.registry import family
from pnag.files import fingerprint, read_json, write_json
from pnag.images.batches import steps_per_epoch
from pnag.images.images import ImageData
from pnag.images.joined import with_validation
from pnag.run.image_run import ImageRun, tuning_for
from pnag.run.preprocessing import normalised_by
from pnag.run.timing import runtime_of
from pnag.supernet.plain_network import for_classes
from pnag.supernet.plan import (
    TUNING_EPOCHS,
    FinetuningPlan,
    SupernetPlan,
    rounded_epochs,
)
from pnag.supernet.settings import ADAPTING_ONE, FinetuneSettings, adapted
from pnag.supernet.step_times import if_memory_suffices, network_step

# Of a budget that a network should take in a few calls here to be within it in the final timing.
SAFE = 0.95
CALLS = 30
LEAST_EPOCHS = 0.01  # hundredths are planned


@dataclass(frozen=True)
class Candidate:
    """A published network to fine-tune.

    Attributes:
        budgets: in ms, that it is one of the best for. epochs: that it is fine-tuned.
    """

    sized: Sized
    budgets: tuple[float, ...]
    epochs: float

    @property
    def name(self) -> str:
        """As of `Sized`."""
        return self.sized.name


def choose_published(
    run: ImageRun, supernet: SupernetPlan, plan: FinetuningPlan
) -> list[Candidate]:
    """Choose networks for each budget, fetch their weights, and say how long they will take.

    What was timed is kept in `plan/published.json`, so that a resumed run chooses the same.

    Raises:
        PnagError: if weights cannot be had; the message says what to fetch and where to put it.
    """
    count = run.images.also_finetune
    if not count:
        return []
    known = _Known(run, plan)
    sizes = all_sizes(TIMM_NETWORKS, _resolutions(run, supernet))
    chosen: dict[Sized, list[float]] = {}
    with run.display.bar("timing published networks") as bar:
        for done, budget in enumerate(run.recipe.budgets, 1):
            for sized in best_within(SAFE * budget, count, sizes, known.milliseconds):
                chosen.setdefault(sized, []).append(budget)
            bar.update(done, len(run.recipe.budgets))
    _tell_budgets_without(run, chosen, count)
    _fetch_all([sized.network for sized in chosen])
    found = [Candidate(sized, tuple(of), known.epochs(sized)) for sized, of in chosen.items()]
    known.tell(found)
    return found


def _resolutions(run: ImageRun, supernet: SupernetPlan) -> Sequence[int]:
    """Those that the run's own networks are trained at."""
    return family(supernet.family).space.resolutions or (run.data.preprocessing.resolution,)


def _tell_budgets_without(run: ImageRun, chosen: Mapping[Sized, list[float]], count: int) -> None:
    for budget in run.recipe.budgets:
        there = sum(budget in of for of in chosen.values())
        if there < count:
            run.notice(
                f"only {there} of the {count} published networks that are asked for can be "
                f"fine-tuned for {budget:g} ms: no other runs here within it at a resolution of "
                "this run"
            )


def _fetch_all(networks: Sequence[Network]) -> None:
    """Fetch all weights; where one cannot be had, say which others are needed, too."""
    files = list(dict.fromkeys(each.weights for each in networks if each.weights is not None))
    for file in files:
        try:
            fetch(file)
        except PnagError as error:
            others = [f"{o.url} at {o.path}" for o in files if o != file and not o.path.exists()]
            further = f"; --also-finetune needs also {', '.join(others)}" if others else ""
            raise PnagError(f"{error}{further}; or leave out --also-finetune") from error


class _Known:
    """What was measured of published networks here, kept between calls.

    Each network gets the minutes of an answer, or its epochs if those were asked for.
    """

    def __init__(self, run: ImageRun, plan: FinetuningPlan) -> None:
        self._run, self._runtime = run, runtime_of(run.recipe.latency)
        self._asked = run.images.finetune_epochs or run.tuning.fit.epochs or None
        self._file = run.run.published_plan
        identity = fingerprint(
            [self._runtime.identity(), run.data.identity, len(run.data.classes), asdict(plan),
             self._asked]
        )  # fmt: skip
        found = read_json(self._file) if self._file.exists() else {}
        if found.get("identity") != identity:
            answers = plan.networks or len(run.recipe.budgets)
            each = plan.minutes / answers
            found = {"identity": identity, "each": each, "milliseconds": {}, "epochs": {}}
        self._found: dict[str, Any] = found

    def milliseconds(self, sized: Sized) -> float | None:
        """The lower quartile of some calls; None if it does not run here at this size."""
        known: dict[str, float | None] = self._found["milliseconds"]
        if sized.name not in known:
            known[sized.name] = self._timed(sized)
            write_json(self._file, self._found)
        return known[sized.name]

    def _timed(self, sized: Sized) -> float | None:
        recipe = sized.network.recipe
        assert isinstance(recipe, Library)
        shape = (self._runtime.batch, 3, sized.pixels, sized.pixels)
        try:
            network = for_classes(recipe.trainable(), len(self._run.data.classes))
            times = self._runtime.prepare(recipe.as_it_runs(network).eval(), shape)()(CALLS + 1)[1:]
        except PhoneGoneError:  # nor would any other run
            raise
        except Exception:  # attention of a fixed size; each runtime's converter has its own errors
            return None
        return sorted(times)[len(times) // 4]

    def epochs(self, sized: Sized) -> float:
        """How many it is fine-tuned.

        Raises:
            PnagError: if the memory does not suffice.
        """
        known: dict[str, list[float]] = self._found["epochs"]
        if sized.name not in known:
            known[sized.name] = list(self._planned(sized))
            write_json(self._file, self._found)
        return known[sized.name][0]

    def _planned(self, sized: Sized) -> tuple[float, float]:
        """Its epochs, and the minutes that they should take."""
        run, recipe = self._run, sized.network.recipe
        assert isinstance(recipe, Library)
        data = tuning_data(run, sized)
        settings = tuning_settings(run, data, 1)
        network = for_classes(recipe.trainable(), len(data.classes))
        step = if_memory_suffices(
            lambda: network_step(network, data, settings.fit, run.accelerator)
        )
        if step is None:
            raise PnagError(
                f"the memory does not suffice to fine-tune {sized.name} at finetune.fit.batch_size "
                f"{settings.fit.batch_size}; lower it in a --recipe, or leave out --also-finetune"
            )
        minutes = step * steps_per_epoch(data, settings.fit.batch_size) / 60
        affordable = min(self._found["each"] / minutes, TUNING_EPOCHS[1])
        epochs = self._asked or max(rounded_epochs(affordable), LEAST_EPOCHS)
        return epochs, epochs * minutes

    def tell(self, chosen: Sequence[Candidate]) -> None:
        """Print the plan."""
        if not chosen:
            return
        minutes = sum(self._found["epochs"][each.name][1] for each in chosen)
        listed = ", ".join(f"{each.name} ({each.epochs:.3g} epochs)" for each in chosen)
        self._run.display.note(
            f"published networks to fine-tune beside the answers: {escape(listed)}: about "
            f"{minutes:.3g} min more [dim](--also-finetune)[/dim]"
        )


def tuning_data(run: ImageRun, sized: Sized) -> ImageData:
    """The run's images at the network's size and as it expects them.

    As for answers, the part to train on has all but the test images.
    """
    recipe = sized.network.recipe
    assert isinstance(recipe, Library)
    how: Any = timm.get_pretrained_cfg(recipe.name)
    data = normalised_by(run.decoded_at(sized.pixels), {"mean": how.mean, "std": how.std})
    return with_validation(data, run.cache)


def tuning_settings(run: ImageRun, data: ImageData, epochs: float) -> FinetuneSettings:
    """Those of answers that start from trained weights; none of ours is its teacher."""
    settings = run.recipe.finetune
    settings = replace(settings, distillation=0.0, fit=adapted(settings.fit, ADAPTING_ONE))
    return tuning_for(settings, epochs, data, run.accelerator.device)
