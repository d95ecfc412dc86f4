"""ImageNet top-1 of subnets of the published width-1.0 Once-for-All supernet, as shipped.

At 224 pixels by the predictor that `pnag search` uses, at 128, 160 and 192 by a quadratic function
of the choices. The model cards beside the weights say what both were fitted to and how far they
err.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from pnag.errors import BadValueError
from pnag.search.predictor import Predictor
from pnag.space import AnyArchitecture, BaseArchitecture, SearchSpace, Tokens

WEIGHTS = Path(__file__).parent / "weights"
AT_224 = WEIGHTS / "ofa_mbv3_w1.0_imagenet_top1.safetensors"
AT_OTHERS = WEIGHTS / "ofa_mbv3_w1.0_imagenet_top1_128_160_192.safetensors"
ROWS = 4096  # at a time, so that the features of many architectures need little memory
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Quadratic:
    """Top-1 as a quadratic function of F one-hot choices, of its own at each of R resolutions.

    Attributes:
        resolutions: (R,) in pixels. constant: (R,), linear: (R, F), pairs: (R, F, F) symmetric; in
            fractions.
    """

    resolutions: NDArray[np.int64]
    constant: Floats
    linear: Floats
    pairs: Floats

    def predict(self, tokens: Tokens, resolution: int) -> Floats:
        """(N,) for (N, T) tokens at one of `resolutions`."""
        place = int(np.flatnonzero(self.resolutions == resolution)[0])
        top1 = np.empty(len(tokens))
        for start in range(0, len(tokens), ROWS):
            part = slice(start, start + ROWS)
            features = SearchSpace().features(tokens[part]).astype(np.float64)
            both = features @ self.pairs[place] + self.linear[place]
            top1[part] = self.constant[place] + (features * both).sum(1)
        return top1


def imagenet_top1(
    archs: Tokens | Iterable[AnyArchitecture] | AnyArchitecture, resolution: int = 224
) -> Floats:
    """ImageNet validation top-1 that architectures have with the published supernet's own weights.

    Predicted, and without fine-tuning: a fine-tuned network does better.

    Args:
        archs: texts, `Architecture` objects, or (N, 45) tokens of `SearchSpace()`; one of them
            alone is a list of one.
        resolution: of the images, in pixels.

    Returns:
        (N,) fractions.

    Raises:
        BadValueError: (a PnagError and a ValueError) for a resolution that no predictor knows,
            an architecture that the space does not hold, or tokens that spell none.
    """
    others = _others()
    known = sorted([*others.resolutions.tolist(), 224])
    if resolution not in known:
        raise BadValueError(
            f"no predictor knows the ImageNet top-1 at resolution {resolution!r}, known: "
            f"{', '.join(map(str, known))}"
        )
    tokens = _tokens(archs)
    if resolution == 224:
        return _at_224().predict(tokens)
    return others.predict(tokens, resolution)


def _tokens(archs: Tokens | Iterable[AnyArchitecture] | AnyArchitecture) -> Tokens:
    space = SearchSpace()
    if isinstance(archs, np.ndarray) and archs.dtype.kind in "iu":
        try:
            return space.check(archs)
        except ValueError as error:
            raise BadValueError(str(error)) from error
    if isinstance(archs, str | BaseArchitecture | Mapping):
        return space.encode([archs])
    return space.encode(archs)


@cache
def _at_224() -> Predictor:
    return Predictor.load(AT_224, SearchSpace())


@cache
def _others() -> Quadratic:
    state = load_file(AT_OTHERS)
    numbers = [state[name].astype(np.float64) for name in ("constant", "linear", "pairs")]
    return Quadratic(state["resolutions"], *numbers)


@dataclass(frozen=True)
class ImagenetTop1:
    """`imagenet_top1` of a space whose architectures choose among resolutions."""

    space: SearchSpace

    def predict(self, tokens: Tokens) -> Floats:
        """(N,) fractions for (N, 46) tokens, the first of which is the resolution."""
        top1, places = np.empty(len(tokens)), self.space.resolution_ids(tokens)
        for place, pixels in enumerate(self.space.resolutions):
            rows = places == place
            top1[rows] = imagenet_top1(tokens[rows][:, 1:], pixels)
        return top1
