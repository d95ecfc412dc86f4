"""Predict an architecture's latency from its blocks' times and a few timed whole networks.

A whole network costs `fixed + sum of its blocks`, where `fixed` is the stem and the head. A block
costs in place something else than alone (a runtime changes the memory layout once for a network,
but at both ends of a lone block), and blocks of one place do so alike: what it costs alone is
multiplied by 1 + scale + place + own, all normal, where `place` is shared by the blocks of one unit
and stride position. The timed networks tell these by Bayesian linear regression. The three standard
deviations below gave the least error over four measurements of one machine, two of them while it
was busy; choosing among them for each table anew by leaving networks out did worse.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pnag.cost.latency_table import LatencyTable
from pnag.cost.proof import Timed, timed
from pnag.errors import PnagError
from pnag.families.blocks import block_ids, block_specs
from pnag.files import read_json, write_json
from pnag.space import SearchSpace, Tokens

PLACE_DEVIATION = 0.1
OWN_DEVIATION = 0.03
NETWORK_NOISE = 0.008  # relative error of one whole network's time

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LatencyModel:
    """fixed + sum of block times, all in ms.

    Attributes:
        fixed: stem, head and start of a call.
        blocks: (90,) what each block of `block_specs` costs inside a network.
    """

    fixed: float
    blocks: Floats

    def predict(self, tokens: Tokens) -> Floats:
        """(N,) latency in ms."""
        # id -1 (no layer) picks the last entry, 0
        return np.asarray(self.fixed + np.append(self.blocks, 0.0)[block_ids(tokens)].sum(axis=1))

    def save(self, path: Path) -> None:
        """Write the model atomically."""
        write_json(path, {"fixed": self.fixed, "blocks": self.blocks.tolist()})

    @classmethod
    def load(cls, path: Path) -> LatencyModel:
        """Read a model.

        Raises:
            PnagError: if the file is not a whole latency model.
        """
        raw = read_json(path)
        try:
            blocks = np.array(raw["blocks"], dtype=np.float64)
            model = cls(float(raw["fixed"]), blocks)
            if blocks.shape != (len(block_specs()),) or not np.isfinite(blocks).all():
                raise ValueError(f"{len(blocks)} block times")
            if not math.isfinite(model.fixed):
                raise ValueError(f"fixed time {model.fixed}")
        except (KeyError, TypeError, ValueError) as error:
            raise PnagError(f"{path} is not a latency model of pnag ({error})") from error
        return model


def fit_latency_model(space: SearchSpace, table: LatencyTable) -> LatencyModel:
    """Fit to a table's blocks and calibration networks.

    Raises:
        PnagError: if the table lacks blocks or calibration networks that it was to have, or has
            fewer than three of them.
    """
    specs = block_specs(table.identity["width_mult"], table.identity["resolution"])
    missing = [spec.key for spec in specs if spec.key not in table.blocks]
    wanted = max(3, table.identity.get("calibration", 0))
    if missing or len(table.calibration) < wanted:
        raise PnagError(
            f"the latency table lacks {len(missing)} blocks (first: {missing[:1]}) or has too few "
            f"calibration networks ({len(table.calibration)} of {wanted}); finish it: give the "
            "`pnag measure` or `pnag run` command again that began it"
        )
    alone = np.array([table.milliseconds(table.blocks[spec.key]) for spec in specs])
    counts = _block_counts(space.encode(table.calibration), len(specs))
    times = np.array([table.milliseconds(samples) for samples in table.calibration.values()])
    at_place = np.array([[s.unit == u and s.first == f for u in range(5) for f in (0, 1)]
                         for s in specs])  # fmt: skip
    # What each unknown adds to each block's time: scale, places, own.
    effects = np.concatenate([np.ones((len(specs), 1)), at_place, np.eye(len(specs))], axis=1)
    effects *= alone[:, None]
    # Relative errors count: all is divided by the networks' times.
    design = np.concatenate([np.ones((len(times), 1)), counts @ effects], axis=1) / times[:, None]
    variances = np.concatenate(
        [
            [(0.5 * times.min()) ** 2, 10.0],  # of the fixed time and of the scale: anything goes
            np.full(at_place.shape[1], PLACE_DEVIATION**2),
            np.full(len(specs), OWN_DEVIATION**2),
        ]
    )
    covariance = (design * variances) @ design.T + NETWORK_NOISE**2 * np.eye(len(times))
    rest = 1 - counts @ alone / times
    unknowns = variances * (design.T @ np.linalg.solve(covariance, rest))
    return LatencyModel(float(unknowns[0]), alone + effects @ unknowns[1:])


def _block_counts(tokens: Tokens, blocks: int) -> Floats:
    """(N, blocks) how often each block occurs in each architecture."""
    ids = block_ids(tokens)
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


def check_latency_model(space: SearchSpace, model: LatencyModel, table: LatencyTable) -> ModelError:
    """The model's error on the table's check networks."""
    timings = [timed(samples, table.reference_ms) for samples in table.check.values()]
    return prediction_error(model.predict(space.encode(table.check)), timings)


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
