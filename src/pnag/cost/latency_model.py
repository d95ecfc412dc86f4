"""Predict an architecture's latency from its blocks' times and a few timed whole networks.

A whole network costs `fixed + sum of its blocks`, where `fixed` is the stem and the head. A block
costs more or less in a network than alone (a runtime changes the memory layout once for a network,
but at both ends of a lone block), and blocks of one place differ alike: what it costs alone is
multiplied by 1 + scale + place + own, all normal, where `place` is shared by the blocks of one unit
and stride position. The timed networks give these by Bayesian linear regression. The three standard
deviations below gave the least error over four measurements of one machine, two of them while it
was busy; choosing them for each table by leaving networks out did worse.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pnag.cost.latency_table import LatencyTable, in_all
from pnag.cost.proof import Timed, timed
from pnag.errors import PnagError
from pnag.families.base import Family
from pnag.families.registry import family, family_of
from pnag.files import read_json, write_json
from pnag.space import Tokens

PLACE_DEVIATION = 0.1
OWN_DEVIATION = 0.03
NETWORK_NOISE = 0.008  # relative error of one whole network's time
LEAST_SHARE = 0.1  # of what a block costs alone, that it costs in a network

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LatencyModel:
    """fixed + sum of block times, all in ms.

    Attributes:
        fixed: stem, head and start of a call; (R,) where architectures choose among R resolutions.
        blocks: what each block of `Family.blocks` costs inside a network.
        family: of the networks; Once-for-All's by default.
    """

    fixed: float | Floats
    blocks: Floats
    family: Family = field(default_factory=family)

    def predict(self, tokens: Tokens) -> Floats:
        """(N,) latency in ms."""
        # id -1 (no layer) picks the last entry, 0
        times = np.append(self.blocks, 0.0)[self.family.block_ids(tokens)]
        fixed = np.atleast_1d(self.fixed)[self.family.space.resolution_ids(tokens)]
        return np.asarray(fixed + times.sum(axis=1))

    def save(self, path: Path) -> None:
        """Write the model atomically."""
        fixed = self.fixed.tolist() if isinstance(self.fixed, np.ndarray) else self.fixed
        times = {"fixed": fixed, "blocks": self.blocks.tolist()}
        write_json(path, {"family": self.family.name, **times})

    @classmethod
    def load(cls, path: Path) -> LatencyModel:
        """Read a model.

        Raises:
            PnagError: if the file is not a whole latency model.
        """
        raw = read_json(path)
        try:
            blocks = np.array(raw["blocks"], dtype=np.float64)
            of = family(raw["family"]) if "family" in raw else family()
            resolutions = len(of.space.resolutions)
            fixed = np.array(raw["fixed"], dtype=np.float64) if resolutions else float(raw["fixed"])
            model = cls(fixed, blocks, of)
            if resolutions and np.shape(fixed) != (resolutions,):
                raise ValueError(f"{np.size(fixed)} fixed times")
            if blocks.shape != (len(of.blocks()),) or not np.isfinite(blocks).all():
                raise ValueError(f"{len(blocks)} block times")
            if not np.isfinite(fixed).all():
                raise ValueError(f"fixed time {fixed}")
        except (KeyError, TypeError, ValueError) as error:
            raise PnagError(f"{path} is not a latency model of pnag ({error})") from error
        return model


def fit_latency_model(table: LatencyTable) -> LatencyModel:
    """Fit to a table's blocks and calibration networks.

    Raises:
        PnagError: if blocks or calibration networks are missing, or there are fewer than three
            networks.
    """
    of = family_of(table.identity)
    blocks = of.blocks(table.identity["resolution"])
    missing = [block.key for block in blocks if block.key not in table.blocks]
    several = max(1, len(of.space.resolutions))
    wanted = max(3, in_all(table.identity.get("calibration", 0), of.space))
    if missing or len(table.calibration) < wanted:
        raise PnagError(
            f"the latency table lacks {len(missing)} blocks (first: {missing[:1]}) or has too few "
            f"calibration networks ({len(table.calibration)} of {wanted}); finish it: repeat "
            "the `pnag measure` or `pnag run` command that began it"
        )
    alone = np.array([table.milliseconds(table.blocks[block.key]) for block in blocks])
    tokens = of.space.encode(table.calibration)
    counts = block_counts(of.block_ids(tokens), len(blocks))
    times = np.array([table.milliseconds(samples) for samples in table.calibration.values()])
    # Of each resolution its own, and one of all: what is so at one is likely so at the next.
    each = len(blocks) // several
    keys = [(n // each, block.unit, not block.first) for n, block in enumerate(blocks)]
    alike = [(-1, unit, later) for _, unit, later in keys] if several > 1 else keys
    places = sorted({*keys, *alike})
    at_place = np.array(
        [
            [place in (key, other) for place in places]
            for key, other in zip(keys, alike, strict=True)
        ]
    )
    # What each unknown adds to each block's time: scale, places, own.
    effects = np.concatenate([np.ones((len(blocks), 1)), at_place, np.eye(len(blocks))], axis=1)
    effects *= alone[:, None]
    of_resolution = np.eye(several)[of.space.resolution_ids(tokens)]
    # Relative errors count: all is divided by the networks' times.
    design = np.concatenate([of_resolution, counts @ effects], axis=1) / times[:, None]
    variances = np.concatenate(
        [
            # of the fixed times and of the scale: anything goes
            np.full(several, (0.5 * times.min()) ** 2),
            [10.0],
            np.full(at_place.shape[1], PLACE_DEVIATION**2),
            np.full(len(blocks), OWN_DEVIATION**2),
        ]
    )
    rest = 1 - counts @ alone / times
    unknowns = _most_likely(design, variances, rest, several)
    inside = np.maximum(alone + effects @ unknowns[several:], LEAST_SHARE * alone)
    fixed = unknowns[:several] if of.elastic else float(unknowns[0])
    return LatencyModel(fixed, inside, of)


def _most_likely(design: Floats, variances: Floats, rest: Floats, positive: int) -> Floats:
    """(U,) the unknowns' most likely values, none of the first `positive` below 0.

    A busy machine's times can say that stem and head take less than none, and small networks too.
    """
    variances = variances.copy()
    while True:
        covariance = (design * variances) @ design.T + NETWORK_NOISE**2 * np.eye(len(rest))
        unknowns: Floats = variances * (design.T @ np.linalg.solve(covariance, rest))
        below = unknowns[:positive] < 0
        if not below.any():
            return unknowns + 0.0  # not -0
        variances[:positive][below] = 0.0


def block_counts(ids: NDArray[np.int64], blocks: int) -> Floats:
    """(N, blocks) how often each block occurs in each architecture."""
    counts = np.zeros((len(ids), blocks + 1))
    np.add.at(counts, (np.arange(len(ids))[:, None], ids), 1.0)
    return counts[:, :-1]


@dataclass(frozen=True)
class ModelError:
    """Predicted against measured latency of networks that calibration never saw.

    Attributes:
        networks: how many.
        mape: mean absolute error as a fraction of the measured time.
        within_5, within_10: share of networks within 5 % and 10 %.
        tau: Kendall's rank correlation.
        measured_spread: of each, half the middle 50 % of its turns, as a fraction of the median.
    """

    networks: int
    mape: float
    within_5: float
    within_10: float
    tau: float
    predicted_ms: list[float]
    measured_ms: list[float]
    measured_spread: list[float]


def error_quantile(predicted: Sequence[float], measured: Sequence[float], share: float) -> float:
    """What `share` of N measured latencies differ from their predictions by at most.

    As a fraction of the prediction: a network that is predicted to take a budget over 1 + this
    takes no more than the budget if it is off by no more.
    """
    return float(np.quantile(np.abs(np.array(measured) / np.array(predicted) - 1), share))


def check_latency_model(model: LatencyModel, table: LatencyTable) -> ModelError:
    """The model's error on the table's check networks."""
    timings = [timed(samples, table.reference_ms) for samples in table.check.values()]
    return prediction_error(model.predict(model.family.space.encode(table.check)), timings)


def prediction_error(predicted: Floats, timings: Sequence[Timed]) -> ModelError:
    """The error of (N,) predicted latencies in ms against N measured ones."""
    from scipy.stats import kendalltau

    measured = np.array([timing.milliseconds for timing in timings])
    error = np.abs(predicted / measured - 1)
    return ModelError(
        networks=len(measured),
        mape=float(error.mean()),
        within_5=float((error <= 0.05).mean()),
        within_10=float((error <= 0.10).mean()),
        tau=float(kendalltau(predicted, measured).statistic),
        predicted_ms=predicted.round(4).tolist(),
        measured_ms=measured.round(4).tolist(),
        measured_spread=[round(timing.spread, 4) for timing in timings],
    )
