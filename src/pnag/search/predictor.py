"""Predict a number (an accuracy, a cost) from an architecture's tokens, for any space.

A ridge regression takes the additive part: one-hot choices, pairs of choices made for the same
layer, and functions of additive *sums* such as multiply-adds. A small ensemble of networks fits
what the ridge leaves; its members' disagreement shows where the prediction is a guess.

Where architectures choose a resolution, each resolution has a scale that all is multiplied by: a
cost adds up over layers at one resolution, and from one to the next it grows by nearly the same
factor for all layers (mean error on the Note 10's tables 0.07 %, without it 1.5 %).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from pnag.errors import PnagError
from pnag.files import fingerprint, write_bytes
from pnag.ranges import Interval, check_ranges
from pnag.space import SearchSpace, Tokens

VERSION = "2"
NOTHING_LEFT = 1e-4  # of the targets' deviation: what the ridge leaves is then not worth learning
Floats = NDArray[np.float64]


class PredictorFileError(PnagError, ValueError):
    """A predictor file that is missing, truncated, foreign, or of another space."""


def space_fingerprint(space: SearchSpace) -> str:
    """Distinguishes one space's weights from another's."""
    return fingerprint([[t.choices, t.parent, t.needs] for t in space.tokens])


def pair_columns(space: SearchSpace) -> list[tuple[int, int]]:
    """Token pairs that are decided for the same layer: neighbours that exist together."""
    pairs = []
    column = 0
    while column + 1 < len(space.tokens):
        a, b = space.tokens[column], space.tokens[column + 1]
        if a.parent >= 0 and (a.parent, a.needs, _layer(a.name)) == (
            b.parent,
            b.needs,
            _layer(b.name),
        ):
            pairs.append((column, column + 1))
            column += 2
        else:
            column += 1
    return pairs


def _layer(name: str) -> str:
    return name.rpartition(".")[0]


def additive_features(space: SearchSpace, tokens: Tokens) -> NDArray[np.float32]:
    """(N, F + P) one-hot choices, then one-hot pairs of choices of the same layer."""
    blocks = [space.features(tokens)]
    for a, b in pair_columns(space):
        width = len(space.tokens[b].choices)
        index = tokens[:, a].astype(np.int64) * width + tokens[:, b]
        block = np.zeros((len(tokens), len(space.tokens[a].choices) * width), np.float32)
        rows = np.flatnonzero(tokens[:, a] >= 0)
        block[rows, index[rows]] = 1.0
        blocks.append(block)
    return np.concatenate(blocks, axis=1)


def fit_sum(space: SearchSpace, tokens: Tokens, values: Floats) -> NDArray[np.float32]:
    """(F + P,) weights whose sum over `additive_features` gives `values`, scaled to mean 1.

    Exact for quantities that add up over layers, such as multiply-adds.
    """
    features = additive_features(space, tokens).astype(np.float64)
    scaled = values / values.mean()
    gram = features.T @ features + 1e-6 * np.eye(features.shape[1])
    return np.linalg.solve(gram, features.T @ scaled).astype(np.float32)


@dataclass(frozen=True)
class PredictorSettings:
    """Size and training of the ensemble; chosen by cross-validation on the ImageNet table."""

    members: Annotated[int, Interval(ge=2, le=1024)] = 8
    hidden: Annotated[int, Interval(ge=1, le=8192)] = 64
    epochs: Annotated[int, Interval(ge=1, le=1_000_000)] = 60
    batch: Annotated[int, Interval(ge=1, le=1_000_000)] = 128
    learning_rate: Annotated[float, Interval(gt=0, le=1)] = 3e-3
    weight_decay: Annotated[float, Interval(ge=0, le=1000)] = 1.0

    def __post_init__(self) -> None:
        check_ranges(self)


class Predictor(nn.Module):
    """What `fit_predictor` returns; `predict` and `spread` are all that a search needs.

    Args:
        space: of the tokens.
        sums: number of additive sums it looks at.
        members, hidden: of the ensemble.
        knots: of the ceiling, 0 for none.

    Attributes:
        name, measure: what it predicts and in which unit; kept in the file, empty if not set.
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
    def _ridge_alone(self) -> bool:
        return not (self.weights[-1].any() or self.biases[-1].any())

    @torch.no_grad()
    def both(self, tokens: Tokens) -> tuple[Floats, Floats]:
        """(N,) predictions and (N,) spreads."""
        means, spreads = [], []
        nothing = torch.zeros(len(self.biases[0]), 1) if self._ridge_alone else None
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
            mean = self._below_ceiling(base + residual.mean(0), some)
            scales = self.scale_of(some)
            means.append(mean.numpy() * scales)
            spreads.append(residual.std(0).numpy() * scales)
        if not means:
            return np.zeros(0), np.zeros(0)
        return np.concatenate(means), np.concatenate(spreads)

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

    def set_ceiling(self, totals: Floats, targets: Floats, slack: float) -> None:
        """Never predict more than the piecewise linear curve through the knots, plus `slack`.

        For a target that others have searched well: what no search has found is more likely the
        predictor's error than a discovery, and a search would pick just those errors.

        Args:
            totals: (G,) increasing values of the first sum; targets: (G,) the curve there.
        """
        self.ceiling = torch.from_numpy(np.stack([totals, targets], axis=1)).float()
        self.slack = torch.tensor(slack)

    def predict(self, tokens: Tokens) -> Floats:
        """(N,) predicted values, in the unit of the targets."""
        return self.both(tokens)[0]

    def spread(self, tokens: Tokens) -> Floats:
        """(N,) standard deviation over the ensemble, in the unit of the targets."""
        return self.both(tokens)[1]

    def save(self, path: Path) -> None:
        """Write weights and what they belong to, atomically."""
        belongs = {
            "version": VERSION,
            "space": space_fingerprint(self.space),
            "name": self.name,
            "measure": self.measure,
            "shape": [len(self.sums), *self.weights[1].shape[:2], len(self.ceiling)],
        }
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
        except PredictorFileError:
            raise
        except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
            raise PredictorFileError(f"cannot read the predictor {path}: {error}") from error
        return predictor.eval()


def fit_predictor(
    space: SearchSpace,
    tokens: Tokens,
    targets: Floats,
    *,
    sums: NDArray[np.float32] | None = None,
    row_weights: Floats | None = None,
    settings: PredictorSettings | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Predictor:
    """Fit a predictor to N rows.

    Args:
        tokens: (N, T), targets: (N,).
        sums: (S, F + P) from `fit_sum`: additive quantities, such as multiply-adds or a cost, on
            which the target depends smoothly.
        row_weights: (N,) trust in each row; all 1 by default.
        progress: called with the epochs done and in all.

    Returns:
        The same predictor for the same arguments on the same machine.
    """
    settings = settings or PredictorSettings()
    n = len(tokens)
    trust = np.ones(n) if row_weights is None else row_weights
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        count = 0 if sums is None else len(sums)
        predictor = Predictor(space, count, settings.members, settings.hidden)
        if sums is not None:
            predictor.sums.copy_(torch.from_numpy(sums))
        if space.resolutions:
            predictor.scales.copy_(
                torch.from_numpy(_mean_of_each_resolution(space, tokens, targets))
            )
            targets = targets / predictor.scale_of(tokens)
        raw = predictor.inputs(tokens)
        predictor.center.copy_(raw.mean(0))
        predictor.scale.copy_(raw.std(0) + 0.01)
        inputs = predictor.inputs(tokens)
        ridge, offset = _ridge(inputs.double().numpy(), targets, trust)
        predictor.ridge.copy_(torch.from_numpy(ridge))
        predictor.offset.copy_(torch.tensor(offset))
        residual = targets - inputs.double().numpy() @ ridge - offset
        unit = max(float(residual.std()), 1e-12)
        predictor.unit.copy_(torch.tensor(unit))
        if unit <= NOTHING_LEFT * float(targets.std()):
            predictor.leave_to_ridge()
            return predictor.eval()
        _train_members(
            predictor,
            inputs[:, predictor.mlp_columns],
            torch.from_numpy(residual / unit).float(),
            torch.from_numpy(trust).float(),
            settings,
            progress,
        )
    return predictor.eval()


def _mean_of_each_resolution(space: SearchSpace, tokens: Tokens, targets: Floats) -> Floats:
    """(R,) mean targets, as shares of the mean of all; 1 for a resolution that no row has.

    All are 1 where some mean is not positive: such targets are no costs.
    """
    places, known = space.resolution_ids(tokens), len(space.resolutions)
    counts = np.bincount(places, minlength=known)
    totals = np.bincount(places, weights=targets, minlength=known)
    means: Floats = np.where(counts, totals / np.maximum(counts, 1), targets.mean())
    return means / targets.mean() if means.min() > 0 else np.ones(known)


def _ridge(inputs: Floats, targets: Floats, trust: Floats) -> tuple[Floats, float]:
    """Weights and offset, with the penalty that generalised cross-validation prefers."""
    mean, middle = np.average(targets, weights=trust), np.average(inputs, axis=0, weights=trust)
    root = np.sqrt(trust)
    centred, wanted = (inputs - middle) * root[:, None], (targets - mean) * root
    # By the Gram matrix, which is small. Its eigenvalues, squares of singular values, are rounded
    # to a share of 1e-16 of the largest: far less than any penalty.
    squares, vectors = np.linalg.eigh(centred.T @ centred)
    squares = squares.clip(0)
    projected = vectors.T @ (centred.T @ wanted)
    best: tuple[float, Floats] | None = None
    for penalty in np.logspace(-1, 4, 16):
        weights = vectors @ (projected / (squares + penalty))
        rest = wanted - centred @ weights
        freedom = max(len(targets) - (squares / (squares + penalty)).sum() - 1, 1e-9)
        score = float((rest**2).sum() / freedom**2)
        if best is None or score < best[0]:
            best = score, weights
    assert best is not None
    return best[1], float(mean - middle @ best[1])


def _train_members(
    predictor: Predictor,
    inputs: Tensor,
    targets: Tensor,
    trust: Tensor,
    settings: PredictorSettings,
    progress: Callable[[int, int], None],
) -> None:
    """Train all members at once, each on its own order of the rows."""
    n, batch = len(inputs), min(settings.batch, len(inputs))
    steps = n // batch
    optimizer = torch.optim.AdamW(
        predictor.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.learning_rate, total_steps=settings.epochs * steps
    )
    for epoch in range(settings.epochs):
        orders = torch.stack([torch.randperm(n) for _ in range(settings.members)])
        for step in range(steps):
            rows = orders[:, step * batch : (step + 1) * batch]
            error = nn.functional.smooth_l1_loss(
                predictor.members(inputs[rows]), targets[rows], reduction="none"
            )
            loss = (error * trust[rows]).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        progress(epoch + 1, settings.epochs)
