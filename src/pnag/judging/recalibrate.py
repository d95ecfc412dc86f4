"""A subnet's batch norms, measured anew on images: those of the supernet are of all subnets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pnag.images.batches import eval_batches
from pnag.images.images import ImageData
from pnag.images.resolutions import at_resolution
from pnag.judging.judged_layers import Moments
from pnag.kept_memory import kept_memory

IMAGES = 512
TILE = 16  # images that are worked on at a time; the maps between blocks are kept of all


@torch.no_grad()
@kept_memory()
def recalibrate(
    network: nn.Module,
    data: ImageData,
    *,
    images: int = IMAGES,
    pixels: int = 0,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> None:
    """Measure the statistics of all batch norms on images of the train part, in place.

    They are those that training mode would take from one batch of all the images, within rounding,
    but a batch at 224 pixels would need 5 GB. The images are those that `SubnetEvaluator` measures
    on by default, so that the network has the accuracy that a table of collected accuracies says.

    Args:
        network: in eval mode afterwards; on `device`.
        images: how many, centre-cropped, each class with its share.
        pixels: resolution that they are scaled to; 0 for that of `data`.
    """
    network.eval()
    maps = [
        at_resolution(batch, pixels)
        for batch, _ in eval_batches(data, "train", TILE, limit=images, seed=seed, device=device)
    ]
    for block in _blocks(network):
        norms = [module for module in block.modules() if isinstance(module, nn.BatchNorm2d)]
        counts = [_measure(block, norm, maps) for norm in norms]
        for number, batch in enumerate(maps):
            maps[number] = block(batch)
        # As in PyTorch: the batch itself is normalised by its biased variance, later ones by the
        # unbiased one.
        for norm, count in zip(norms, counts, strict=True):
            assert norm.running_var is not None
            norm.running_var.mul_(count / max(1, count - 1))


def _blocks(network: Any) -> list[nn.Module]:
    """Parts that follow each other and hold all batch norms, each with few of them."""
    stem = nn.Sequential(network.conv_stem, network.bn1)
    parts = [stem, *(block for stage in network.blocks.children() for block in stage.children())]
    if isinstance(getattr(network, "bn2", None), nn.BatchNorm2d):
        parts.append(nn.Sequential(network.conv_head, network.bn2))
    elif isinstance(getattr(network, "norm_head", None), nn.BatchNorm2d):
        parts.append(nn.Sequential(network.global_pool, network.conv_head, network.norm_head))
    return parts


class _Arrived(Exception):
    """What is wanted of a pass has been seen."""


def _measure(block: nn.Module, norm: nn.BatchNorm2d, maps: Sequence[Tensor]) -> int:
    """Give a norm the mean and biased variance of what it gets; how many values that were.

    The norms before it in the block must have been measured.
    """
    moments = Moments()

    def look(_: nn.Module, arguments: tuple[Tensor]) -> None:
        moments.add(arguments[0].permute(0, 2, 3, 1))
        raise _Arrived

    handle = norm.register_forward_pre_hook(look)
    try:
        for batch in maps:
            try:
                block(batch)
            except _Arrived:
                continue
    finally:
        handle.remove()
    found = moments.norm()
    assert norm.running_mean is not None and norm.running_var is not None
    assert norm.num_batches_tracked is not None
    norm.running_mean.copy_(found.mean)
    norm.running_var.copy_(found.var)
    norm.num_batches_tracked.fill_(1)
    return found.count
