"""Batch norms folded into the convolutions before them, as networks are deployed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights


@torch.no_grad()
def fuse_batch_norms(network: nn.Module, images: Tensor) -> int:
    """Fold each batch norm into the convolution whose output it normalises, in place.

    A call shows which ones these are, so any network works. A batch norm that also
    activates (timm's) leaves its activation behind.

    Args:
        network: in eval mode. images: that it takes.

    Returns:
        The number of batch norms that were folded.
    """
    convolutions: dict[int, tuple[nn.Conv2d, Tensor]] = {}
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []

    def after_convolution(module: nn.Module, _: Any, output: Tensor) -> None:
        assert isinstance(module, nn.Conv2d)
        convolutions[id(output)] = module, output  # kept, so that no other gets this id

    def before_norm(module: nn.Module, arguments: tuple[Any, ...]) -> None:
        assert isinstance(module, nn.BatchNorm2d)
        found = convolutions.get(id(arguments[0])) if arguments else None
        if found is not None:
            pairs.append((found[0], module))

    hooks = [
        module.register_forward_hook(after_convolution)
        if isinstance(module, nn.Conv2d)
        else module.register_forward_pre_hook(before_norm)
        for module in network.modules()
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d)
    ]
    try:
        network(images)
    finally:
        for hook in hooks:
            hook.remove()
    # What is called twice, or feeds two norms, is no pair.
    convs, norms = ([id(pair[side]) for pair in pairs] for side in (0, 1))
    fused: dict[int, nn.Module] = {}
    for conv, norm in pairs:
        if convs.count(id(conv)) > 1 or norms.count(id(norm)) > 1:
            continue
        assert norm.running_mean is not None and norm.running_var is not None
        conv.weight, conv.bias = fuse_conv_bn_weights(
            conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight,
            norm.bias,
        )  # fmt: skip
        activation = getattr(norm, "act", None)
        fused[id(norm)] = activation if isinstance(activation, nn.Module) else nn.Identity()
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if id(child) in fused:
                setattr(parent, name, fused[id(child)])
    return len(fused)
