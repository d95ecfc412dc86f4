"""Measure a subnet's batch norms on images: the supernet's fit no single subnet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pnag.images.batches import eval_batches
from pnag.images.images import ImageData
from pnag.images.resolutions import at_resolution
from pnag.judging.judged_layers import Moments
from pnag.kept_memory import kept_memory

IMAGES = 512
TILE = 16  # images that are worked on at a time; the maps between blocks are kept of all
PASSED = 64  # at a time where no maps can be kept


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

    A network that is not made of blocks one after the other, such as most of timm's, gets the mean
    of what training mode would take from batches of `PASSED` images instead.

    Args:
        network: in eval mode afterwards; on `device`.
        images: how many, centre-cropped, each class with its share.
        pixels: resolution that they are scaled to; 0 for that of `data`.
    """
    network.eval()
    blocks = _blocks(network)
    batch_size = TILE if blocks else PASSED
    maps = (
        at_resolution(batch, pixels)
        for batch, _ in eval_batches(
            data, "train", batch_size, limit=images, seed=seed, device=device
        )
    )
    if blocks:
        _measure_by_blocks(blocks, list(maps))
    else:
        _measure_in_one_pass(network, maps)


def _measure_by_blocks(blocks: Sequence[nn.Module], maps: list[Tensor]) -> None:
    for block in blocks:
        norms = [module for module in block.modules() if isinstance(module, nn.BatchNorm2d)]
        counts = [_measure(block, norm, maps) for norm in norms]
        for number, batch in enumerate(maps):
            maps[number] = block(batch)
        # As in PyTorch: the batch itself is normalised by its biased variance, later ones by the
        # unbiased one.
        for norm, count in zip(norms, counts, strict=True):
            assert norm.running_var is not None
            norm.running_var.mul_(count / max(1, count - 1))


def _measure_in_one_pass(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Give all norms the mean of their batches' statistics."""
    norms = _norms(network)
    usual = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
    seen = 0
    for batch in batches:
        if len(batch) == 1:  # of one image some norms have no variance
            continue
        seen += len(batch)
        for norm in norms:
            norm.momentum = len(batch) / seen  # the mean of all images
        network(batch)
    for norm, momentum in zip(norms, usual, strict=True):
        norm.momentum = momentum
    network.eval()


def _blocks(network: Any) -> list[nn.Module]:
    """Parts that follow each other and hold all batch norms, each with few of them.

    None for a network that has other parts.
    """
    if not all(hasattr(network, name) for name in ("conv_stem", "bn1", "blocks", "conv_head")):
        return []
    stem = nn.Sequential(network.conv_stem, network.bn1)
    if hasattr(network, "act1"):  # GhostNet's, whose first norm has no activation
        stem.append(network.act1)
    parts = [stem, *(block for stage in network.blocks.children() for block in stage.children())]
    if isinstance(getattr(network, "bn2", None), nn.BatchNorm2d):
        parts.append(nn.Sequential(network.conv_head, network.bn2))
    elif isinstance(getattr(network, "norm_head", None), nn.BatchNorm2d):
        parts.append(nn.Sequential(network.global_pool, network.conv_head, network.norm_head))
    held = {norm for part in parts for norm in _norms(part) if isinstance(norm, nn.BatchNorm2d)}
    return parts if held == set(_norms(network)) else []


def _norms(module: nn.Module) -> list[_BatchNorm]:
    return [each for each in module.modules() if isinstance(each, _BatchNorm)]


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
