"""ImageNet answers as networks: with Once-for-All's weights where they can be had."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from torch import nn

from pnag.downloads import fetch
from pnag.errors import PnagError
from pnag.families.checkpoints import PUBLISHED, load_published
from pnag.run.display import Display
from pnag.run.size import Size

WIDTH = 1.0  # of the supernet whose accuracies the shipped predictor knows
Weights = Literal["fine-tuned", "published", "untrained"]


def imagenet_weights(published: bool, display: Display) -> Weights:
    """What ImageNet answers' networks will have, said to the user.

    Args:
        published: whether they are to have Once-for-All's, where these can be had.
    """
    if not published:
        return "untrained"
    try:
        with display.bar("fetching the published weights") as bar:
            fetch(PUBLISHED[WIDTH])
            bar.update(1, 1)
    except PnagError as error:
        display.warn(f"the exported networks are untrained: {error}")
        return "untrained"
    display.note(
        "the exported networks have Once-for-All's ImageNet weights, but batch norms that fit no "
        "single network: `pnag export RUN --weights published --images IMAGENET_FOLDER` measures "
        "them, and then the networks have the predicted top-1"
    )
    return "published"


def imagenet_networks(
    archs: Iterable[str], size: Size, weights: Weights, seed: int
) -> dict[str, nn.Module]:
    """Networks by architecture, in eval mode, with published or fresh weights."""
    if weights == "published":
        supernet = load_published(WIDTH)
        return {arch: supernet.subnet(arch) for arch in archs}
    torch.manual_seed(seed)
    return {arch: size.build(arch) for arch in archs}


def file_stem(name: str, weights: Weights) -> str:
    """The name of an answer's file, which says so where the network is untrained."""
    return f"{name}-untrained" if weights == "untrained" else name
