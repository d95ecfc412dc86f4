"""Fit the shipped predictor of ImageNet top-1 at 128, 160 and 192 pixels and write its model card.

    python scripts/fit_imagenet_resolutions.py --facts ../shared/facts

A Gaussian process over all published rows of Once-for-All's width-1.0 supernet at four resolutions.
Its kernel is linear and quadratic in the one-hot choices, so its prediction is a quadratic function
of them, and only that function's weights are written: none of the rows.

The rows below 224 pixels were measured by four GPUs, each on its own quarter of the 50,000
validation images (`quarters_of`). How hard a quarter is, is no property of an architecture: the
process has a term for it, and what is shipped is the mean of the four, so the top-1 on all 50,000.
Takes about ten minutes on one busy core.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from fit_imagenet_predictor import FOLDS, fold_of
from numpy.typing import NDArray
from safetensors.torch import save
from scipy.stats import kendalltau
from torch import Tensor

from pnag.files import write_bytes
from pnag.space import SearchSpace

SPACE = SearchSpace()
NAME = "ofa_mbv3_w1.0_imagenet_top1_128_160_192"
RESOLUTIONS = (128, 160, 192, 224)
TYPICAL = (68.6, 72.4, 74.3, 75.8)  # top-1 (%), what the process is thought around
QUARTERS = 4
WHOLE = -1  # in the place of a quarter: measured on all 50,000 images
PEAK_RANGE = (250_000, 800_000, 15)  # of peak activations: lowest, highest, number of ranges
TRIAL_ROWS = 1200  # for the hyperparameters; all rows would take ten times as long
STEPS = 60
Floats = NDArray[np.float64]
Hyper = dict[str, Tensor]


@dataclass(frozen=True)
class Rows:
    """N measurements.

    Attributes:
        features: (N, F) one-hot choices. place: (N,) of the resolution in `RESOLUTIONS`.
        quarter: (N,) 0 to 3, or WHOLE. top1: (N,) in %. fold: (N,).
    """

    features: Tensor
    place: Tensor
    quarter: Tensor
    top1: Tensor
    fold: Tensor

    def __getitem__(self, chosen: Tensor) -> Rows:
        return Rows(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))

    def __len__(self) -> int:
        return len(self.top1)

    @property
    def residual(self) -> Tensor:
        """(N,) top-1 (%) without what is typical of the resolution."""
        return self.top1 - torch.tensor(TYPICAL)[self.place]


def quarters_of(rows: pd.DataFrame) -> NDArray[np.int64]:
    """(N,) which of the four GPUs measured each row.

    Each filled 15 ranges of peak activations in turn and the four files were put one behind the
    other, so a new one begins where the range falls. That each judged 12,500 images shows in the
    counts: all are multiples of 1/12,500.

    Raises:
        ValueError: if the rows do not look like that.
    """
    lowest, highest, ranges = PEAK_RANGE
    place = ((rows.peak_activation_elements - lowest) * ranges / (highest - lowest)).astype(int)
    quarter = np.cumsum(np.diff(place, prepend=0) < 0)
    hits = rows.top1.to_numpy() / 100 * 12_500
    if quarter.max() != QUARTERS - 1 or np.abs(hits - hits.round()).max() > 1e-6:
        raise ValueError("the rows are not four files of 12,500 images each, one after the other")
    return quarter


def read(facts: Path) -> Rows:
    """All published rows: those of 128, 160 and 192 pixels first, then those of 224."""
    small = pd.read_csv(facts / "ofa_mbv3_w1.0_imagenet_top1_128_160_192.csv")
    large = pd.read_csv(facts / "ofa_mbv3_w1.0_imagenet_top1.csv").assign(resolution=224)
    quarter = np.concatenate([quarters_of(small), np.full(len(large), WHOLE)])
    both = pd.concat([small, large], ignore_index=True)
    return Rows(
        torch.tensor(SPACE.features(SPACE.encode(both.arch))).double(),
        torch.tensor(np.searchsorted(RESOLUTIONS, both.resolution)),
        torch.tensor(quarter),
        torch.tensor(both.top1.to_numpy()),
        torch.tensor([fold_of(arch) for arch in both.arch]),
    )


def groups() -> Tensor:
    """(F,) for each one-hot feature its group: what it is (depth, width, kernel) and which unit."""
    kinds = ("depth", "width", "kernel")
    own = [kinds.index(str(t.what)) * 5 + int(t.name[len("unit")]) - 1 for t in SPACE.tokens]
    return torch.tensor(np.repeat(own, SPACE.choices_per_token))


GROUP = groups()


def first_guess() -> Hyper:
    """Logarithms of the hyperparameters, of variances in squared points unless said otherwise.

    choice: (15,) of a choice's weight, by group. choice_own: share of it that belongs to the
    resolution. pair, pair_own: of a pair's weight, times both choices' variances. reach: (without
    unit) of the logarithm of resolutions. noise: (4,) by resolution. quarter, quarter_own: of how
    hard the images of a quarter are, at all resolutions and at one.
    """
    return {
        "choice": torch.tensor([-3.5] * 5 + [-5.0] * 5 + [-7.0] * 5),
        "choice_own": torch.tensor(-2.5),
        "pair": torch.tensor(-3.3),
        "pair_own": torch.tensor(-5.3),
        "reach": torch.tensor(0.0),
        "noise": torch.full((4,), -3.7),
        "quarter": torch.tensor(-2.7),
        "quarter_own": torch.tensor(-4.7),
    }


def nearness(hyper: Hyper) -> Tensor:
    """(4, 4) how much of what a resolution has of its own another one shares."""
    pixels = torch.tensor(RESOLUTIONS).double().log()
    return torch.exp(-(pixels[:, None] - pixels[None]).abs() / hyper["reach"].exp())


def covariances(rows: Rows, others: Rows, hyper: Hyper) -> tuple[Tensor, Tensor]:
    """(A, B) of the architectures' top-1, and of the quarters' hardness."""
    near = nearness(hyper)[rows.place][:, others.place]
    same = (rows.place[:, None] == others.place[None]).double()
    variances = hyper["choice"].exp()[GROUP]
    shared = (rows.features * variances) @ others.features.T
    first = shared * (1 + hyper["choice_own"].exp() * near)
    second = shared**2 * (hyper["pair"].exp() + hyper["pair_own"].exp() * near)
    together = (rows.quarter[:, None] == others.quarter[None]) & (rows.quarter[:, None] != WHOLE)
    hardness = together * (hyper["quarter"].exp() + hyper["quarter_own"].exp() * same)
    return first + second + 1 + same, hardness


def factor(rows: Rows, hyper: Hyper) -> Tensor:
    """(N, N) Cholesky factor of the covariance of what was measured."""
    architectures, hardness = covariances(rows, rows, hyper)
    noise = torch.diag(hyper["noise"].exp()[rows.place])
    return torch.linalg.cholesky(architectures + hardness + noise)


def fit_hyper(rows: Rows, seed: int = 0) -> Hyper:
    """Hyperparameters of the largest marginal likelihood of a random part of the rows."""
    order = np.random.default_rng(seed).permutation(len(rows))[:TRIAL_ROWS]
    part = rows[torch.from_numpy(order)]
    hyper = {name: value.double().requires_grad_() for name, value in first_guess().items()}
    optimizer = torch.optim.Adam(hyper.values(), lr=0.2)
    for _ in range(STEPS):
        root = factor(part, hyper)
        weights = torch.cholesky_solve(part.residual[:, None], root)[:, 0]
        loss = part.residual @ weights / 2 + root.diagonal().log().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return {name: value.detach() for name, value in hyper.items()}


@dataclass(frozen=True)
class Fitted:
    """Top-1 (%) as a quadratic function at each resolution.

    Attributes:
        constant: (4,), linear: (4, F), pairs: (4, F, F): on all 50,000 images.
        offset: (4 quarters, 4 resolutions) by how much a quarter's images are easier than all.
    """

    constant: Tensor
    linear: Tensor
    pairs: Tensor
    offset: Tensor

    def predict(self, features: Tensor, place: Tensor) -> Floats:
        """(N,) on all images, for (N, F) features and (N,) places in `RESOLUTIONS`."""
        top1 = np.empty(len(place))
        for at in range(len(RESOLUTIONS)):
            own = features[place == at]
            both = own @ self.pairs[at] + self.linear[at]
            top1[(place == at).numpy()] = (self.constant[at] + (own * both).sum(1)).numpy()
        return top1


def fit(rows: Rows, hyper: Hyper) -> Fitted:
    """Condition on the rows, and write the mean as a function of the choices."""
    weights = torch.cholesky_solve(rows.residual[:, None], factor(rows, hyper))[:, 0]
    near = nearness(hyper)
    same = torch.eye(len(RESOLUTIONS)).double()
    variances = hyper["choice"].exp()[GROUP]
    scaled = rows.features * variances
    constant, linear, pairs, offset = [], [], [], []
    for place, typical in enumerate(TYPICAL):
        own, at = near[place][rows.place], same[place][rows.place]
        constant.append(typical + (weights * (1 + at)).sum())
        linear.append((weights * (1 + hyper["choice_own"].exp() * own)) @ scaled)
        trust = weights * (hyper["pair"].exp() + hyper["pair_own"].exp() * own)
        pairs.append(scaled.T @ (trust[:, None] * scaled))
        hardness = weights * (hyper["quarter"].exp() + hyper["quarter_own"].exp() * at)
        offset.append(torch.stack([hardness[rows.quarter == q].sum() for q in range(QUARTERS)]))
    offsets = torch.stack(offset, 1)
    return Fitted(
        torch.stack(constant) + offsets.mean(0),
        torch.stack(linear),
        torch.stack(pairs),
        offsets - offsets.mean(0),
    )


def scores(predicted: Floats, top1: Floats) -> tuple[float, float]:
    """Mean absolute error (points) and Kendall's tau."""
    return float(np.abs(predicted - top1).mean()), float(kendalltau(predicted, top1).statistic)


def without_error(
    truth: Floats, offset: Floats, noise: float, rng: np.random.Generator
) -> tuple[tuple[float, float], tuple[float, float]]:
    """What a predictor that knows the truth would score on rows as noisy as the published ones.

    Returns:
        The scores against what a quarter shows, and with the quarter's hardness known.
    """
    as_measured, known = [], []
    for _ in range(20):
        measured = truth + offset + rng.normal(0, noise, len(truth))
        as_measured.append(scores(truth, measured))
        known.append(scores(truth + offset, measured))
    (a, b), (c, d) = np.mean(as_measured, 0), np.mean(known, 0)
    return (a, b), (c, d)


def unseen_quarters(rows: Rows) -> Floats:
    """(4 quarters, 3 resolutions) tau of each quarter, predicted from the three others."""
    taus = np.zeros((QUARTERS, 3))
    for quarter in range(QUARTERS):
        train = rows[torch.nonzero(rows.quarter != quarter)[:, 0]]
        fitted = fit(train, fit_hyper(train))
        for place in range(3):
            own = rows[torch.nonzero((rows.quarter == quarter) & (rows.place == place))[:, 0]]
            predicted = fitted.predict(own.features, own.place)
            taus[quarter, place] = scores(predicted, own.top1.numpy())[1]
    return taus


def main() -> None:
    """Cross-validate, fit on all rows, write weights and card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--facts", type=Path, default=Path("../shared/facts"))
    parser.add_argument("--out", type=Path, default=Path("src/pnag/weights"))
    options = parser.parse_args()
    torch.set_num_threads(1)  # the same sums in the same order everywhere
    rows = read(options.facts)
    everywhere = np.zeros(len(rows))
    shift = np.zeros(len(rows))  # of the row's quarter, as the other folds know it
    for fold in range(FOLDS):
        held = torch.nonzero(rows.fold == fold)[:, 0]
        train = rows[torch.nonzero(rows.fold != fold)[:, 0]]
        fitted = fit(train, fit_hyper(train))
        own = rows[held]
        everywhere[held] = fitted.predict(own.features, own.place)
        shift[held] = torch.where(
            own.quarter == WHOLE, 0, fitted.offset[own.quarter.clamp(min=0), own.place]
        ).numpy()
        mae, _ = scores(everywhere[held] + shift[held], own.top1.numpy())
        print(f"fold {fold}: MAE {mae:.3f} over all four resolutions", flush=True)

    unseen = unseen_quarters(rows)
    hyper = fit_hyper(rows)
    final = fit(rows, hyper)
    state = {
        "resolutions": torch.tensor(RESOLUTIONS[:3]),
        "constant": final.constant[:3].float() / 100,
        "linear": final.linear[:3].float() / 100,
        "pairs": final.pairs[:3].float() / 100,
    }
    path = options.out / f"{NAME}.safetensors"
    write_bytes(path, save(state))
    card = write_card(rows, everywhere, shift, unseen, hyper, final, path.stat().st_size)
    (options.out / f"{NAME}.md").write_text(card)
    print(card)


def write_card(
    rows: Rows,
    everywhere: Floats,
    shift: Floats,
    unseen: Floats,
    hyper: Hyper,
    final: Fitted,
    size: int,
) -> str:
    """The model card, with all numbers."""
    top1, place = rows.top1.numpy(), rows.place.numpy()
    quarter = rows.quarter.numpy()
    noise = hyper["noise"].exp().sqrt().numpy()
    truth = final.predict(rows.features, rows.place)
    rng = np.random.default_rng(0)
    table, offsets = "", ""
    for at, resolution in enumerate(RESOLUTIONS[:3]):
        held = place == at
        raw = scores(everywhere[held], top1[held])
        known = scores((everywhere + shift)[held], top1[held])
        error = (everywhere + shift - top1)[held]
        within = np.mean(
            [
                kendalltau(everywhere[held & (quarter == q)], top1[held & (quarter == q)])[0]
                for q in range(QUARTERS)
            ]
        )
        own = final.offset.numpy()[quarter[held], at]
        best_raw, best_known = without_error(truth[held], own, float(noise[at]), rng)
        table += (
            f"| {resolution} | {held.sum()} | {known[0]:.3f} ({best_known[0]:.3f}) "
            f"| {np.sqrt((error**2).mean()):.3f} ({noise[at]:.3f}) "
            f"| {known[1]:.3f} ({best_known[1]:.3f}) | {within:.3f} "
            f"| {raw[0]:.3f} ({best_raw[0]:.3f}) | {raw[1]:.3f} ({best_raw[1]:.3f}) |\n"
        )
        share = top1[held].mean() / 100
        expected = 100 * np.sqrt(share * (1 - share) / 12_500 * (1 - 1 / QUARTERS))
        found = ", ".join(f"{value:+.2f}" for value in final.offset[:, at])
        offsets += f"| {resolution} | {found} | {expected:.2f} |\n"
    whole = place == 3
    at_224 = scores(everywhere[whole], top1[whole])
    extremes = SPACE.encode(
        [
            "2,2,2,2,2:" + ",".join(["3,3,0,0"] * 5) + ":" + ",".join(["3,3,0,0"] * 5),
            "4,4,4,4,4:" + ",".join(["7"] * 20) + ":" + ",".join(["6"] * 20),
        ]
    )
    features = torch.tensor(SPACE.features(extremes)).double()
    lines = ""
    for at, resolution in enumerate(RESOLUTIONS[:3]):
        small, large = final.predict(features, torch.full((2,), at))
        low, high = top1[place == at].min(), top1[place == at].max()
        lines += f"| {resolution} | {small:.2f} | {low:.2f} to {high:.2f} | {large:.2f} |\n"
    return f"""# Predictor of ImageNet top-1 at 128, 160 and 192 pixels, width-1.0 Once-for-All

Made by `scripts/fit_imagenet_resolutions.py`; all numbers below were computed by it.
`pnag.imagenet_top1(archs, resolution)` reads it; at 224 pixels that takes the predictor of
`ofa_mbv3_w1.0_imagenet_top1.md`.

**What it predicts.** ImageNet validation top-1 (all 50,000 images), as a fraction, of a subnet of
the published Once-for-All supernet (MobileNetV3, width 1.0) with the supernet's own weights after
batch norm recalibration, without fine-tuning.

**Fitted to.** {(place < 3).sum():,} subnets at 128, 160 and 192 pixels, each architecture at one of
them only (published with memory-optimized-once-for-all, used as facts); and the
{whole.sum():,} of DyNAS-T (Apache-2.0) at 224. The file holds weights only, none of those rows.

**The rows are quarters.** Every top-1 is a multiple of 1/12,500, and the rows are four files, one
after the other, each ordered by peak activations: four GPUs, each of which judged its own quarter
of the validation images. The table shows by how many points each quarter is easier than all four,
and the standard deviation that chance would give:

| pixels | the four quarters | expected deviation |
|---|---|---|
{offsets}
That is not a property of an architecture. The fit has a term for each quarter and resolution, and
the file predicts the mean of the four, which together are the 50,000 images.

**Form.** Top-1 is a quadratic function of the one-hot choices at each resolution
({size / 1e6:.2f} MB): the mean of a Gaussian process over all four resolutions, whose kernel is
linear and quadratic in the choices and shares most of both among resolutions. Variances (by unit
and kind of choice), noise and the resolutions' nearness are those of the largest marginal
likelihood of {TRIAL_ROWS:,} rows.

**Cross-validation** ({FOLDS} folds by a hash of the architecture's text; hyperparameters, weights
and the quarters' offsets from the other folds alone). In brackets what a predictor without any
error would have, by the noise that the likelihood finds in the rows (structure that the kernel
lacks counts as noise there, so it may be a little less):

| pixels | rows | MAE (points) | RMSE | tau | tau within a quarter | MAE, raw rows | tau, raw rows |
|---|---|---|---|---|---|---|---|
{table}
The last two columns compare with the rows as they were published, the hardness of the quarters
included, which nobody can predict from an architecture; the others add the quarter's offset to the
prediction, and within a quarter the order needs none. Of a quarter whose rows the fit has not seen
at all, tau is {unseen.min():.2f} to {unseen.max():.2f}, {unseen.mean():.3f} on average. (At 224 the
same fit has an MAE of {at_224[0]:.3f} and a tau of {at_224[1]:.3f}; it is not shipped.)

**Far from the rows.** The smallest and the largest architecture of the space:

| pixels | smallest (%) | published rows | largest (%) |
|---|---|---|---|
{lines}
**Not for** other widths, resolutions, data sets or weights; fine-tuned accuracies; claims that one
network beats another by less than about 0.2 points; or as a measured result: it is a prediction.
Rows at these resolutions are random architectures, not the results of searches: what a search finds
best by this predictor is more likely overrated than at 224, and there is no ceiling.
"""


if __name__ == "__main__":
    main()
