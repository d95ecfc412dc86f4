"""Images at the resolutions that a supernet's architectures choose among.

They are decoded at the largest. Supernet training and judging scale batches down from there, so one
decoded copy serves all; a network of its own is fine-tuned on images that are decoded at its size.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
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

    Each so many steps have every resolution once, in an order of chance.
    """
    if not resolutions:
        return 0
    turn, place = divmod(step, len(resolutions))
    return int(
        np.random.default_rng([seed, turn, len(resolutions)]).permutation(resolutions)[place]
    )
