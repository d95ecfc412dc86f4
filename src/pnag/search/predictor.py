"""Predict a number (an accuracy, a cost) from an architecture's tokens, for any space.

A ridge regression takes the additive part: one-hot choices, pairs of choices made for the same
layer, and functions of additive *sums* such as multiply-adds. A small ensemble of networks fits
what the ridge leaves.

Where architectures choose a resolution, each resolution has a scale that all is multiplied by: a
cost adds up over layers at one resolution, and from one to the next it grows by nearly the same
factor for all layers (mean error on the Note 10's tables 0.07 %, without it 1.5 %).
"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from pnag.errors import PnagError
from pnag.files import fingerprint, write_bytes
from pnag.search.additive import Floats, additive_features
from pnag.space import SearchSpace, Tokens

VERSION = "2"


class PredictorFileError(PnagError, ValueError):
    """A predictor file that is missing, truncated, foreign, or of another space."""


def space_fingerprint(space: SearchSpace) -> str:
    """Distinguishes one space's weights from another's."""
    return fingerprint([[t.choices, t.parent, t.needs] for t in space.tokens])


class Predictor(nn.Module):
    """What `predictor_fit.py` fits; `predict` is all that a search needs.

    Args:
        space: of the tokens.
        sums: number of additive sums it looks at.
        members, hidden: of the ensemble.
        knots: of the ceiling, 0 for none.

    Attributes:
        name, measure: what it predicts and in which unit; kept in the file, empty if not set.
        logarithm: whether it has learnt the logarithm; its exponential is what is predicted.
        floor: nothing is predicted below it; None predicts whatever was learnt.
        scales: (R,) of the space's resolutions, if it has some.
    """

    scales: Tensor
    sums: Tensor
    ceiling: Tensor
    slack: Tensor
    center: Tensor
    scale: Tensor
    ridge: Tensor
    offset: Tensor
    unit: Tensor

    def __init__(
        self, space: SearchSpace, sums: int, members: int, hidden: int, knots: int = 0
    ) -> None:
        super().__init__()
        self.space = space
        self.name, self.measure = "", ""
        self.logarithm = False
        self.floor: float | None = None
        additive = additive_features(space, space.sample(1, np.random.default_rng(0))).shape[1]
        linear = additive + 4 * sums
        inputs = space.num_features + 4 * sums
        if space.resolutions:
            self.register_buffer("scales", torch.ones(len(space.resolutions), dtype=torch.float64))
        self.register_buffer("sums", torch.zeros(sums, additive))
        # Knots (value of the first sum, target) of the best that is believed possible, and by how
        # much at most a prediction may exceed it. Without knots there is no ceiling.
        self.register_buffer("ceiling", torch.zeros(knots, 2))
        self.register_buffer("slack", torch.ones(()))
        self.register_buffer("center", torch.zeros(linear))
        self.register_buffer("scale", torch.ones(linear))
        self.register_buffer("ridge", torch.zeros(linear))
        self.register_buffer("offset", torch.zeros(()))
        self.register_buffer("unit", torch.ones(()))
        sizes = (inputs, hidden, hidden, 1)
        self.weights = nn.ParameterList(
            torch.randn(members, a, b) * (1.4 if b > 1 else 0.4) / a**0.5
            for a, b in pairwise(sizes)
        )
        self.biases = nn.ParameterList(torch.zeros(members, 1, b) for b in sizes[1:])
        self.mlp_columns = list(range(space.num_features)) + list(range(additive, linear))

    def inputs(self, tokens: Tokens) -> Tensor:
        """(N, linear) standardised inputs of the ridge; the ensemble takes some of its columns."""
        # A copy into torch's aligned memory: where numpy puts it depends on what ran before, and
        # with the alignment of its operands a matrix product's last digits change.
        additive = torch.tensor(additive_features(self.space, tokens))
        parts = [additive]
        for weights in self.sums:
            total = (additive @ weights).clamp(min=0.05)[:, None]
            parts += [total, total.log(), total**2, 1 / total]
        # Rare values must not throw the ensemble far out of what it has seen.
        return ((torch.cat(parts, 1) - self.center) / self.scale).clamp(-6, 6)

    def members(self, inputs: Tensor) -> Tensor:
        """(E, N) residuals in units, from (E, N, inputs) or, for all members alike, (N, inputs)."""
        hidden = inputs.expand(len(self.biases[0]), -1, -1) if inputs.ndim == 2 else inputs
        for weight, bias in zip(self.weights, self.biases, strict=True):
            if hidden is not inputs and weight is not self.weights[0]:
                hidden = nn.functional.silu(hidden)
            hidden = torch.baddbmm(bias, hidden, weight)
        return hidden[..., 0]

    @torch.no_grad()
    def leave_to_ridge(self) -> None:
        """Make every member say 0: of targets that add up the ridge leaves nothing to learn."""
        self.weights[-1].zero_()
        self.biases[-1].zero_()

    @property
    def is_ridge_alone(self) -> bool:
        """Whether the ensemble adds nothing."""
        return not (self.weights[-1].any() or self.biases[-1].any())

    @torch.no_grad()
    def predict(self, tokens: Tokens) -> Floats:
        """(N,) predicted values, in the unit of the targets."""
        found = [np.zeros(0)]
        nothing = torch.zeros(len(self.biases[0]), 1) if self.is_ridge_alone else None
        for start in range(0, len(tokens), 8192):
            some = tokens[start : start + 8192]
            inputs = self.inputs(some)
            said = (
                self.members(inputs[:, self.mlp_columns])
                if nothing is None
                else nothing.expand(-1, len(some))
            )
            residual = said.double() * self.unit.double()
            base = (inputs @ self.ridge).double() + self.offset.double()
            mean = self._below_ceiling(base + residual.mean(0), some).numpy()
            value = (np.exp(mean) if self.logarithm else mean) * self.scale_of(some)
            found.append(value if self.floor is None else np.maximum(value, self.floor))
        return np.concatenate(found)

    def scale_of(self, tokens: Tokens) -> Floats | float:
        """(N,) scales of the architectures' resolutions; 1 in a space without any."""
        if not self.space.resolutions:
            return 1.0
        scales: Floats = self.scales.numpy()[self.space.resolution_ids(tokens)]
        return scales

    def _below_ceiling(self, mean: Tensor, tokens: Tokens) -> Tensor:
        if not len(self.ceiling):
            return mean
        total = (torch.tensor(additive_features(self.space, tokens)) @ self.sums[0]).numpy()
        x, y = self.ceiling.double().numpy().T
        top = torch.from_numpy(np.interp(total, x, y))
        excess, slack = (mean - top).clamp(min=0), self.slack.double()
        # Smooth, so that of two networks of equal cost the better one stays the better one.
        return torch.where(mean > top, top + slack * (1 - torch.exp(-excess / slack)), mean)

    def save(self, path: Path) -> None:
        """Write weights and what they belong to, atomically."""
        belongs: dict[str, Any] = {
            "version": VERSION,
            "space": space_fingerprint(self.space),
            "name": self.name,
            "measure": self.measure,
            "shape": [len(self.sums), *self.weights[1].shape[:2], len(self.ceiling)],
        }
        if self.logarithm:
            belongs["logarithm"] = True
        if self.floor is not None:
            belongs["floor"] = self.floor
        # One entry: safetensors writes several in an order that changes from process to process.
        metadata = {"pnag_predictor": json.dumps(belongs)}
        state = {name: tensor.contiguous() for name, tensor in self.state_dict().items()}
        write_bytes(path, save(state, metadata))

    @classmethod
    def load(cls, path: Path, space: SearchSpace) -> Predictor:
        """Read a predictor of `space`.

        Raises:
            PredictorFileError: (a ValueError) if the file is missing, truncated, foreign, or of
                another space.
        """
        try:
            with safe_open(path, "pt") as file:
                belongs = json.loads((file.metadata() or {}).get("pnag_predictor", "{}"))
                state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if not isinstance(belongs, dict) or belongs.get("version") != VERSION:
                raise PredictorFileError(f"{path} is not a predictor of this version of pnag")
            if belongs["space"] != space_fingerprint(space):
                raise PredictorFileError(f"{path} is a predictor of another search space")
            predictor = cls(space, *belongs["shape"])
            predictor.load_state_dict(state)
            predictor.name, predictor.measure = belongs["name"], belongs["measure"]
            # An accuracy's file has neither of them, nor has a cost's of an earlier run.
            predictor.logarithm = bool(belongs.get("logarithm", False))
            predictor.floor = belongs.get("floor")
        except PredictorFileError:
            raise
        except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
            raise PredictorFileError(f"cannot read the predictor {path}: {error}") from error
        return predictor.eval()
