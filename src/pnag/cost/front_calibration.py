"""Correct predicted latencies on networks like the answers, just before the answers are chosen.

A search picks the networks that the latency model underrates, and a shared machine's speed shifts
within minutes, so answers tend to be slower than predicted by a few per cent. Timing a ladder of
networks from the front shows by how much. The correction is a line with a positive slope: it
changes no order, so the front's architectures stay what they are.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pnag.errors import PnagError
from pnag.files import read_json, write_json


@dataclass(frozen=True)
class FrontCalibration:
    """corrected = offset + scale * predicted, in ms.

    Attributes:
        predicted_ms, measured_ms: of the ladder that it was fitted to.
        unsteady, spread: of the machine while that was timed, as `timing.Drift` has them.
    """

    offset: float
    scale: float
    predicted_ms: list[float]
    measured_ms: list[float]
    unsteady: int = 0
    spread: float = 0.0

    def __call__(self, predicted: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N,) corrected latencies."""
        return self.offset + self.scale * predicted

    def uncorrected(self, budget: float) -> float:
        """What the uncorrected prediction of a network may be that costs `budget` corrected."""
        return (budget - self.offset) / self.scale

    def save(self, path: Path) -> None:
        """Write the correction atomically."""
        write_json(path, asdict(self))

    @classmethod
    def load(cls, path: Path) -> FrontCalibration:
        """Read a correction.

        Raises:
            PnagError: if the file is not one.
        """
        raw = read_json(path)
        try:
            calibration = cls(**raw)
            if not (math.isfinite(calibration.offset) and 0 < calibration.scale < math.inf):
                raise ValueError(f"the line {calibration.offset} + {calibration.scale} x")
            return calibration
        except (TypeError, ValueError) as error:
            raise PnagError(f"{path} is not a front calibration of pnag: {error}") from error


AS_PREDICTED = FrontCalibration(0.0, 1.0, [], [])  # where nothing was timed: changes no number


def fit_front_calibration(
    predicted: NDArray[np.float64], measured: NDArray[np.float64]
) -> FrontCalibration:
    """Fit the line to (N,) predicted and measured latencies, by relative errors."""
    weights = 1 / measured
    design = np.stack([np.ones(len(predicted)), predicted], axis=1) * weights[:, None]
    offset, scale = np.linalg.lstsq(design, measured * weights, rcond=None)[0]
    if scale <= 0:  # a ladder that short or that noisy gives a level at best
        offset, scale = 0.0, float(np.median(measured / predicted))
    return FrontCalibration(float(offset), float(scale), predicted.tolist(), measured.tolist())
