"""Images at the resolutions that a supernet's architectures choose among.

They are decoded at the largest. Supernet training and judging scale batches down from there, so one
decoded copy serves all; a network of its own is fine-tuned on images that are decoded at its size.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F


def at_resolution(images: Tensor, pixels: int) -> Tensor:
    """(N, 3, R, R) images scaled to `pixels`, as an image library would: each pixel is an average.

    Args:
        pixels: at most R; 0 leaves them.
    """
    if pixels in (0, images.shape[-1]):
        return images
    return F.interpolate(images, (pixels, pixels), mode="bilinear", antialias=True)


def resolution_of_step(resolutions: Sequence[int], seed: int, step: int) -> int:
    """The resolution of a training step, the same in all processes; 0 where there is one for all.

    It is drawn such that each resolution gets the same time, not the same steps: what a network
    learns at 64 pixels helps it at 160, and a step there costs a sixth.
    """
    if not resolutions:
        return 0
    share = step_shares(resolutions)
    return int(np.random.default_rng([seed, step, len(resolutions)]).choice(resolutions, p=share))


def first_step_at(resolution: int, resolutions: Sequence[int]) -> int:
    """The number of the first step that `resolution_of_step` draws a resolution for, of seed 0."""
    steps = itertools.count()
    return next(s for s in steps if resolution_of_step(resolutions, 0, s) == resolution)


def step_shares(resolutions: Sequence[int]) -> NDArray[np.float64]:
    """(R,) shares of the training's steps, by what a step costs: the number of pixels."""
    inverse = np.array([1 / pixels**2 for pixels in resolutions])
    shares: NDArray[np.float64] = inverse / inverse.sum()
    return shares
