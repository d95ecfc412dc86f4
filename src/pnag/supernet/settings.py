"""Settings of training. Apart from the code, so that reading a recipe loads no framework."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, Literal, TypeVar

from pnag.ranges import AS_WRITTEN, Interval, check_ranges

Method = Literal["progressive", "sandwich", "transfer"]
Precision = Literal["float32", "bfloat16", "float16"]
Begun = Literal["elsewhere", "supernet", "tuned"]
Positive = Annotated[float, Interval(gt=0)]
Share = Annotated[float, Interval(gt=0, le=1)]


@dataclass(frozen=True)
class Augmentation:
    """What is done to training images.

    Attributes:
        flip: mirror every other image, unless `ImageData.mirror` says that changes the class.
        scale: least and greatest share of a large image's area that a crop covers.
        ratio: least and greatest width / height of such a crop.
        padding: of small images, as a share of the resolution, before a crop of R x R.
        colour: brightness, contrast and saturation are each scaled by up to 1 - or 1 + this.
        mixup, cutmix: alpha of timm's, 0 for none; labels become (B, classes) shares. Images are
            mixed within one process' share of the batch.
        erase: probability of timm's random erasing.
    """

    flip: bool = True
    scale: tuple[Share, Share] = (0.35, 1.0)
    ratio: tuple[Positive, Positive] = (3 / 4, 4 / 3)
    padding: Annotated[float, Interval(ge=0, le=1)] = 1 / 8
    colour: Annotated[float, Interval(ge=0, le=1)] = 0.0
    mixup: Annotated[float, Interval(ge=0, le=1000)] = 0.0
    cutmix: Annotated[float, Interval(ge=0, le=1000)] = 0.0
    erase: Annotated[float, Interval(ge=0, le=1)] = 0.0

    def __post_init__(self) -> None:
        check_ranges(self)
        for name in ("scale", "ratio"):
            low, high = getattr(self, name)
            if not 0 < low <= high < math.inf:
                raise ValueError(
                    f"{name} must be two increasing positive numbers, not [{low}, {high}]"
                )
        if self.scale[1] > 1:
            raise ValueError(f"scale must be shares of at most 1, not {list(self.scale)}")


@dataclass(frozen=True)
class FitSettings:
    """How weights are trained, at a rate that falls as a cosine.

    Attributes:
        optimizer: SGD with Nesterov momentum, or AdamW.
        epochs: passes over the images, 2.5 are two and the first half of a third; in a recipe 0 is
            what the plan says.
        batch_size: of all processes together; 0 is what the plan says: 64 on a CPU, on a GPU what
            its memory holds.
        learning_rate: at its highest, for this batch size; if that is 0, for 64 images, and it
            grows with a larger batch. warmup: share of the steps. body_rate: share of the rate that
            all weights but the classifier's get.
        weight_decay: not of biases and batch norms. clip: the gradient's largest norm.
        accumulate: parts, alike but for an image, that a process' share of a batch is worked on
            in, where memory is short; batch norms then see a part at a time.
        last_rate: share of the highest rate that the cosine ends at.
        averaged: share of the steps over which, fading, the weights are averaged that a phase ends
            with; 0 for none. Beside a rate that ends above 0 an average is ahead of the weights
            that a rate of 0 leads to (`benchmarks/README.md`).
    """

    epochs: Annotated[float, Interval(ge=0, le=1_000_000), AS_WRITTEN] = 0
    batch_size: Annotated[int, Interval(ge=0, le=1_000_000)] = 0
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: Positive = 0.05
    body_rate: Annotated[float, Interval(gt=0, le=1)] = 1.0
    warmup: Annotated[float, Interval(ge=0, lt=1)] = 0.05
    momentum: Annotated[float, Interval(gt=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Interval(ge=0)] = 3e-5
    clip: Positive = 5.0
    accumulate: Annotated[int, Interval(ge=1, le=1_000_000)] = 1
    last_rate: Annotated[float, Interval(ge=0, le=1)] = 0.0
    averaged: Annotated[float, Interval(ge=0, le=1)] = 0.0
    augment: Augmentation = Augmentation()

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.batch_size == 1:
            raise ValueError("batch_size must be at least 2, or 0 for what the plan says, not 1")

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of a step of so many."""
        warm = max(1, round(self.warmup * steps))
        if step < warm:
            return self.learning_rate * (step + 1) / warm
        falls = (1 + math.cos(math.pi * (step - warm) / (steps - warm))) / 2
        return self.learning_rate * (self.last_rate + (1 - self.last_rate) * falls)


Fit = TypeVar("Fit", bound=FitSettings)


@dataclass(frozen=True)
class FinetuneFit(FitSettings):
    """The same with a learning rate for weights that are good already.

    Attributes:
        kept: share of the weights that training begins with, in those that it ends with.
    """

    learning_rate: Positive = 0.01
    kept: Annotated[float, Interval(ge=0, lt=1)] = 0.0


# From trained weights, where the recipe leaves both as they are: AdamW learns new classes in fewer
# steps than SGD does, and what is known already fits few images too soon (`benchmarks/README.md`).
_ADAPTING: dict[str, Any] = {
    "optimizer": "adamw",
    "learning_rate": 2e-3,
    "last_rate": 0.5,
    "averaged": 0.5,
    "warmup": 0.1,
    "weight_decay": 0.05,
}
ADAPTING = FitSettings(**_ADAPTING)
ADAPTING_ONE = FinetuneFit(**_ADAPTING)
# In fewer epochs networks learn more from images that are shifted and mirrored only.
VARIED_FROM = 20
VARIED = Augmentation(colour=0.3, erase=0.3)
# Where there are so many images, a rate that falls to 0 leads further than an average, and half of
# the rate is as good or better; what was tuned at another resolution then needs only half of that
# again. A network that has seen the images before keeps a share of what it was, as the average has
# learnt them less by heart than either (`benchmarks/README.md`).
MANY_IMAGES = 20_000
RATE_OF_MANY, GOING_ON = 0.5, 0.5
KEPT = {"elsewhere": 0.0, "supernet": 0.3, "tuned": 0.15}


def adapted(fit: Fit, adapting: Fit) -> Fit:
    """What trained weights are adapted by: `adapting`, unless a recipe says how to train.

    How long, and how much of a batch at a time, does not say how.
    """
    default = _as_long_as(fit, type(fit)())
    return _as_long_as(fit, adapting) if fit == default else fit


def suited_to(fit: Fit, epochs: float, images: int, begun: Begun = "elsewhere") -> Fit:
    """What adapts trained weights in so many epochs of so many images.

    Many epochs are of images that vary more. A recipe's own settings stay as they are.

    Args:
        begun: what trained the weights on these images, as this network: the supernet, fine-tuning
            at another resolution, or neither: they are from elsewhere, or part of another network.
    """
    if fit not in (_as_long_as(fit, ADAPTING), _as_long_as(fit, ADAPTING_ONE)):
        return fit
    if epochs >= VARIED_FROM:
        return replace(fit, augment=VARIED)
    if images >= MANY_IMAGES:
        rate = fit.learning_rate * RATE_OF_MANY * (GOING_ON if begun == "tuned" else 1.0)
        fit = replace(fit, learning_rate=rate, last_rate=0.0, averaged=0.0)
        if isinstance(fit, FinetuneFit):
            return replace(fit, kept=KEPT[begun])
    return fit


def _as_long_as(fit: FitSettings, other: Fit) -> Fit:
    """The other, for the epochs and batches of `fit`."""
    return replace(other, epochs=fit.epochs, batch_size=fit.batch_size, accumulate=fit.accumulate)


@dataclass(frozen=True)
class SupernetSettings:
    """One recipe for all phases.

    Attributes:
        fit: `epochs` of all phases together, `learning_rate` of the largest network's phase.
        label_smoothing: of the cross-entropy with the true labels.
        distillation: weight, beside that, of the cross-entropy with what the largest network says
            (1.0 in Once-for-All). The sandwich rule has nothing but the latter for its subnets.
    """

    method: Method = "sandwich"
    label_smoothing: Annotated[float, Interval(ge=0, lt=1)] = 0.1
    distillation: Annotated[float, Interval(ge=0)] = 1.0
    fit: FitSettings = FitSettings()

    def __post_init__(self) -> None:
        check_ranges(self)

    def identity(self) -> dict[str, Any]:
        """What trained weights depend on: under the sandwich rule not on `distillation`."""
        if self.method == "sandwich":
            return asdict(replace(self, distillation=SupernetSettings.distillation))
        return asdict(self)


@dataclass(frozen=True)
class FinetuneSettings:
    """How an answer is fine-tuned; the paper takes 75 epochs on ImageNet (section E).

    A plan never takes more than that.

    Attributes:
        distillation: weight of the cross-entropy with the supernet's largest network, 0 for none.
    """

    label_smoothing: Annotated[float, Interval(ge=0, lt=1)] = 0.1
    distillation: Annotated[float, Interval(ge=0)] = 0.0
    fit: FinetuneFit = FinetuneFit()

    def __post_init__(self) -> None:
        check_ranges(self)
