"""Networks of the zoo with the weights that others have trained on ImageNet."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pnag.deploy.zoo.network import Network, Ours
from pnag.downloads import fetch
from pnag.errors import PnagError
from pnag.families.checkpoints import read_weights


def load_pretrained(network: Network) -> nn.Module:
    """The network as it runs with its published weights, in evaluation mode.

    Raises:
        PnagError: as `load_trainable`.
    """
    module, recipe = load_trainable(network), network.recipe
    return (module if isinstance(recipe, Ours) else recipe.as_it_runs(module)).eval()


def load_trainable(network: Network) -> nn.Module:
    """The network as it is trained with its published weights.

    The file is fetched into the cache unless it is there, and verified either way: by its checksum
    where one is published, and by the name, shape and values of every weight. No code in it is run.

    Raises:
        PnagError: if no weights are published, if they cannot be fetched (with the URL and the
            place for the file), if they are not the published ones, or not of this network.
    """
    if network.weights is None:
        raise PnagError(f"pnag knows no published weights for {network.key}")
    recipe = network.recipe
    module = recipe.build() if isinstance(recipe, Ours) else recipe.trainable()
    path = fetch(network.weights)
    try:
        content = read_weights(path)
        weights = content.get("state_dict", content)
        if not isinstance(weights, Mapping) or not all(map(torch.is_tensor, weights.values())):
            raise PnagError("holds something other than weights")
        if isinstance(recipe, Ours):
            weights = in_order(weights, module.state_dict())
        _load(module, weights)
    except PnagError as error:
        raise PnagError(
            f"{path}, for {network.key}: {error}; put the file of {network.weights.url} in its "
            "place, or move it elsewhere to have that fetched"
        ) from error
    return module


def in_order(weights: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a network of our space under the names of our own.

    Once-for-All and PNAG name the layers of the same network in several ways, all in the order in
    which an image passes them, and that is our order too. The last part of each name (`weight`,
    `running_mean`, ...) and each shape must agree, so that a weight of another network is refused.

    Raises:
        PnagError: if these are the weights of another network.
    """
    if len(weights) != len(own):
        raise PnagError(f"holds {len(weights)} weights, this network has {len(own)}")
    for (name, value), (own_name, own_value) in zip(weights.items(), own.items(), strict=True):
        last, own_last = name.rpartition(".")[2], own_name.rpartition(".")[2]
        if last != own_last or value.shape != own_value.shape:
            raise PnagError(
                f"{name} {tuple(value.shape)} stands where this network has {own_name} "
                f"{tuple(own_value.shape)}: it is of another network"
            )
    return dict(zip(own, weights.values(), strict=True))


def _load(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Weights under the module's own names; every one, finite, and none besides."""
    for name, value in weights.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise PnagError(f"{name} holds values that are not finite")
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        raise PnagError(" ".join(str(error).split())[:300]) from error
