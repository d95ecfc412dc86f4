"""A latency model of a new device from a few whole networks and what is known about other devices.

A network's time on the new device is modelled as a mixture of its predicted times on known ones,
plus a deviation of each of its parts: Bayesian linear regression on
relative errors. How much the mixture may differ from the devices' mean, how much a part may deviate
and how noisy a measurement is, are chosen by the evidence, the probability of what was measured. So
if a known device is similar, few networks are enough, and if none is, many parts are learnt.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MIXTURE = (0.1, 0.3, 1.0)  # standard deviations of each known device's weight
PART = (0.003, 0.01, 0.03, 0.1, 0.3)  # of each part's deviation, as a fraction of its time
NOISE = (0.005, 0.015, 0.04, 0.1)  # of one measured network
USUAL = 2.0  # standard deviations that nothing need have disturbed
TAIL = 1.0
ROUNDS = 3  # of finding out which networks something disturbed


@dataclass(frozen=True)
class QuickFit:
    """A fitted model.

    Attributes:
        devices: (D,) weights of the known devices' predictions.
        parts: (F,) what is added for each ms of a part. fixed: ms that are added to each network.
        errors: (N,) relative errors of the networks it was fitted to, each predicted from the
            others.
    """

    devices: Floats
    parts: Floats
    fixed: float
    errors: Floats

    def predict(self, known: Floats, parts: Floats) -> Floats:
        """(M,) ms, of (M, D) predictions on known devices and (M, F) ms of parts."""
        return np.asarray(known @ self.devices + parts @ self.parts + self.fixed)


def fit_quick(known: Floats, parts: Floats, times: Floats) -> QuickFit:
    """Fit to N networks of a new device.

    Args:
        known: (N, D) what each is predicted to take on each known device. parts: (N, F) what their
            parts take by what is known. times: (N,) ms as measured.
    """
    scale = np.median(times[:, None] / known, axis=0)  # so that each device alone is about right
    of_parts = float(np.median(times / parts.sum(axis=1)))
    devices, count = known.shape[1], parts.shape[1]
    design = (
        np.concatenate(
            [known * scale, parts * of_parts, np.full((len(times), 1), np.median(times))], axis=1
        )
        / times[:, None]
    )
    middle = np.concatenate([np.full(devices, 1 / devices), np.zeros(count + 1)])
    rest = 1 - design @ middle

    def variances(mixture: float, part: float) -> Floats:
        return np.concatenate([np.full(devices, mixture**2), np.full(count, part**2), [mixture**2]])

    disturbed = np.ones(len(times))  # by how much each is noisier than others

    def covariance(mixture: float, part: float, noise: float) -> Floats:
        own = (design * variances(mixture, part)) @ design.T
        return np.asarray(own + np.diag((noise * disturbed) ** 2))

    def evidence(setting: tuple[float, float, float]) -> float:
        factor = np.linalg.cholesky(covariance(*setting))
        white = np.linalg.solve(factor, rest)
        # a noisier network is less likely by itself: as a heavy tail has it
        unlikely = TAIL * np.log(disturbed).sum()
        return float(-0.5 * white @ white - np.log(np.diag(factor)).sum() - unlikely)

    for _ in range(ROUNDS):
        best = max(itertools.product(MIXTURE, PART, NOISE), key=evidence)
        inverse = np.linalg.inv(covariance(*best))
        left_out = inverse @ rest / np.sqrt(np.diag(inverse))  # in standard deviations
        disturbed = np.maximum(1.0, disturbed * np.abs(left_out) / USUAL)
    best = max(itertools.product(MIXTURE, PART, NOISE), key=evidence)
    inverse = np.linalg.inv(covariance(*best))
    weights = middle + variances(*best[:2]) * (design.T @ (inverse @ rest))
    return QuickFit(
        weights[:devices] * scale,
        weights[devices:-1] * of_parts,
        float(weights[-1] * np.median(times)),
        inverse @ rest / np.diag(inverse),
    )
