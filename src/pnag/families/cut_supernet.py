"""The supernet of a family whose architectures are cut out of one network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pnag.errors import PnagError
from pnag.families.elastic import Excite, LayerParts, Step
from pnag.families.elastic_network import ElasticNetwork
from pnag.families.layers import Layer

if TYPE_CHECKING:
    from pnag.families.cut_family import CutFamily

OWN = "network."  # before the network's names in a supernet's state dict


class CutSupernet(ElasticNetwork):
    """The largest network with the matrices that shrink its kernels.

    Fresh weights; the matrices begin as the identity. In a state dict the network's own names
    follow `network.`.
    """

    def __init__(self, family: CutFamily, num_classes: int) -> None:
        super().__init__()
        self.family, self.num_classes = family, num_classes
        self.network: Any = family.largest_network(num_classes)
        kernels = family.space.columns["kernel"]
        for layer in family.table:
            if layer.unit < 0 or layer.kind == "conv":
                continue
            choices = family.space.tokens[kernels[family.position(layer)]].choices
            block: Any = self.network.get_submodule(layer.name)
            conv = block.conv_dw
            for kernel in choices[:-1]:
                matrix = nn.Parameter(torch.eye(kernel**2, device=conv.weight.device))
                conv.register_parameter(f"{kernel + 2}to{kernel}_matrix", matrix)

    def layer_parts(self) -> Sequence[LayerParts]:
        """See `ElasticNetwork.layer_parts`."""
        return tuple(_parts(self.network, layer) for layer in self.family.table)


def _parts(network: Any, layer: Layer) -> LayerParts:
    if layer.kind == "pool":
        return LayerParts()
    module = network.get_submodule(layer.name)
    if layer.kind == "linear":
        return LayerParts(linear=module)
    if layer.kind == "conv":
        inside = layer.name.startswith("blocks.")
        norm = network.get_submodule(layer.norm) if layer.norm else None
        act = norm.act if norm is not None else network.act2
        return LayerParts(Step(module.conv if inside else module, norm, act))
    excite = None
    if layer.squeezed:
        se = module.se
        excite = Excite(se.conv_reduce, se.conv_expand, se.act1, se.gate)
    depthwise = module.conv_dw
    if layer.kind == "separable":
        return LayerParts(
            Step(module.conv_pw, module.bn2, module.bn2.act), None,
            Step(depthwise, module.bn1, module.bn1.act), excite, depthwise,
        )  # fmt: skip
    return LayerParts(
        Step(module.conv_pwl, module.bn3, module.bn3.act),
        Step(module.conv_pw, module.bn1, module.bn1.act),
        Step(depthwise, module.bn2, module.bn2.act), excite, depthwise,
    )  # fmt: skip


def load_weights(supernet: CutSupernet, path: Path) -> None:
    """Fill a supernet from a file; the classifier stays if it is of other classes.

    Args:
        path: safetensors or what `torch.save` wrote; with the network's names, with a supernet's,
            or with any names of the same shapes in the same order. No code in it is run.

    Raises:
        PnagError: if the file cannot be read or its weights do not fit; names the first that does
            not.
    """
    from pnag.families.checkpoints import read_weights

    try:
        fill(supernet, _tensors(read_weights(path)))
    except PnagError as error:
        raise PnagError(f"{path}: {error}") from error


def fill(supernet: CutSupernet, weights: Mapping[str, Tensor]) -> None:
    """The same from tensors by name.

    Raises:
        PnagError: as `load_weights`.
    """
    if all(name.startswith(OWN) for name in weights):
        weights = {name.removeprefix(OWN): value for name, value in weights.items()}
    own = supernet.network.state_dict()
    plain = {name: value for name, value in own.items() if not name.endswith("_matrix")}
    if plain.keys() - weights.keys():
        weights = _in_order(plain, weights, supernet.family.name)
    classifier = {name for name in plain if name.startswith("classifier.")}
    found = {}
    for name, value in own.items():
        if name not in weights:
            continue  # a kernel's matrix, which only a supernet's file has
        if weights[name].shape != value.shape and name not in classifier:
            raise PnagError(
                f"weight {name!r} must have the shape {tuple(value.shape)} of "
                f"{supernet.family.name}, not {tuple(weights[name].shape)}; these are the "
                "weights of another network"
            )
        found[name] = weights[name].to(value.dtype)
    if any(found[name].shape != own[name].shape for name in classifier):
        found |= {name: own[name] for name in classifier}
    if surplus := sorted(weights.keys() - own.keys()):
        raise PnagError(f"{supernet.family.name} has no weight {surplus[0]!r}")
    supernet.network.load_state_dict(found, strict=False)


def _in_order(
    plain: Mapping[str, Tensor], weights: Mapping[str, Tensor], family: str
) -> dict[str, Tensor]:
    """Weights of other names under ours, if their shapes follow each other as ours do."""
    missing = next(iter(sorted(plain.keys() - weights.keys())))
    ours = {name: value for name, value in plain.items() if value.ndim}
    theirs = [value for value in weights.values() if value.ndim]
    names = list(ours)
    if len(theirs) != len(ours):
        raise PnagError(
            f"the weight {missing!r} is missing, and there are {len(theirs)} weights instead of "
            f"the {len(ours)} of "
            f"{family}; these are the weights of another network, or the file is cut short"
        )
    for name, value in zip(names, theirs, strict=True):
        if value.shape != ours[name].shape and not name.startswith("classifier."):
            raise PnagError(
                f"the weight {missing!r} is missing, and the shapes are not {family}'s: instead of "
                f"{name!r}, {tuple(ours[name].shape)}, stands {tuple(value.shape)}"
            )
    return dict(zip(names, theirs, strict=True))


def _tensors(content: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights in a checkpoint, which may lie in a `state_dict` or `model` of it."""
    for name in ("state_dict_ema", "model_ema", "state_dict", "model"):
        if isinstance(content.get(name), Mapping):
            content = content[name]
            break
    return {
        name.removeprefix("module."): value
        for name, value in content.items()
        if isinstance(name, str) and isinstance(value, Tensor)
    }
