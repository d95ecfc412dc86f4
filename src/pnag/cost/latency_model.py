"""Predict an architecture's latency from its blocks' times and a few timed whole networks.

A whole network costs `fixed + scale * (sum of its blocks)`: `fixed` is the stem and the head,
`scale` what a block costs in place over what it costs alone. Each block may further deviate from
that by a factor 1 + d, d ~ N(0, sigma^2), which the timed networks tell by Bayesian regression.
sigma is the one that predicts the calibration networks best when each is left out in turn; 0 keeps
the plain line.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pnag.cost.latency_table import LatencyTable
from pnag.errors import PnagError
from pnag.files import read_json, write_json
from pnag.networks.blocks import block_ids, block_specs
from pnag.space import SearchSpace, Tokens

SIGMAS = (0.0, 0.01, 0.02, 0.05, 0.1)
NETWORK_NOISE = 0.01  # relative error of one whole network's time

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LatencyModel:
    """fixed + sum of block times, all in ms.

    Attributes:
        fixed: stem, head and start of a call.
        blocks: (90,) what each block of `block_specs` costs inside a network.
        sigma: the chosen prior of blocks' deviations.
    """

    fixed: float
    blocks: Floats
    sigma: float = 0.0

    def predict(self, tokens: Tokens) -> Floats:
        """(N,) latency in ms."""
        # id -1 (no layer) picks the last entry, 0
        return np.asarray(self.fixed + np.append(self.blocks, 0.0)[block_ids(tokens)].sum(axis=1))

    def save(self, path: Path) -> None:
        """Write the model atomically."""
        write_json(path, {"fixed": self.fixed, "blocks": self.blocks.tolist(), "sigma": self.sigma})

    @classmethod
    def load(cls, path: Path) -> LatencyModel:
        """Read a model.

        Raises:
            PnagError: if the file is not a whole latency model.
        """
        raw = read_json(path)
        try:
            blocks = np.array(raw["blocks"], dtype=np.float64)
            model = cls(float(raw["fixed"]), blocks, float(raw["sigma"]))
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
        PnagError: if the table lacks blocks or has fewer than three calibration networks.
    """
    specs = block_specs(table.identity["width_mult"], table.identity["resolution"])
    missing = [spec.key for spec in specs if spec.key not in table.blocks]
    if missing or len(table.calibration) < 3:
        raise PnagError(
            f"the latency table lacks {len(missing)} blocks (first: {missing[:1]}) or has too few "
            f"calibration networks ({len(table.calibration)}); finish `pnag measure` first"
        )
    alone = np.array([table.milliseconds(table.blocks[spec.key]) for spec in specs])
    counts = _block_counts(space.encode(table.calibration), len(specs))
    times = np.array([table.milliseconds(samples) for samples in table.calibration.values()])
    errors = {}
    for sigma in SIGMAS:
        left_out = np.array(
            [
                _predict(_fit(alone, np.delete(counts, i, 0), np.delete(times, i), sigma), c)
                for i, c in enumerate(counts)
            ]
        )
        errors[sigma] = float(np.mean(np.abs(left_out / times - 1)))
    best = min(errors, key=lambda sigma: errors[sigma])
    fixed, blocks = _fit(alone, counts, times, best)
    return LatencyModel(fixed, blocks, best)


def _fit(alone: Floats, counts: Floats, times: Floats, sigma: float) -> tuple[float, Floats]:
    weights = 1 / times  # relative errors count
    line = np.stack([np.ones(len(times)), counts @ alone], axis=1)
    fixed, scale = np.linalg.lstsq(line * weights[:, None], times * weights, rcond=None)[0]
    blocks = scale * alone
    if sigma > 0:
        # Posterior mean of the relative deviations (and of the fixed part, within 20 %).
        weights = weights / NETWORK_NOISE
        design = np.concatenate([np.full((len(times), 1), fixed), counts * blocks], axis=1)
        prior = np.diag(np.append(0.2**-2, np.full(len(alone), sigma**-2)))
        design = design * weights[:, None]
        residual = (times - fixed - counts @ blocks) * weights
        deviations = np.linalg.solve(design.T @ design + prior, design.T @ residual)
        fixed, blocks = fixed * (1 + deviations[0]), blocks * (1 + deviations[1:])
    return float(fixed), blocks


def _predict(model: tuple[float, Floats], counts: Floats) -> float:
    return float(model[0] + counts @ model[1])


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
    """

    networks: int
    mape: float
    within_5: float
    within_10: float
    tau: float
    predicted_ms: list[float]
    measured_ms: list[float]


def check_latency_model(space: SearchSpace, model: LatencyModel, table: LatencyTable) -> ModelError:
    """The model's error on the table's check networks."""
    from scipy.stats import kendalltau

    predicted = model.predict(space.encode(table.check))
    measured = np.array([table.milliseconds(samples) for samples in table.check.values()])
    error = np.abs(predicted / measured - 1)
    return ModelError(
        networks=len(measured),
        mape=float(error.mean()),
        within_5=float((error <= 0.05).mean()),
        within_10=float((error <= 0.10).mean()),
        tau=float(kendalltau(predicted, measured).statistic),
        predicted_ms=predicted.round(4).tolist(),
        measured_ms=measured.round(4).tolist(),
    )
