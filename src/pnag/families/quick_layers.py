"""Layers that train quickly on a CPU, in place of a plain network's own."""

from __future__ import annotations

from torch import nn

from pnag.families.depthwise import with_fast_depthwise
from pnag.families.norm_act import with_quick_norms


def with_quick_layers(network: nn.Module) -> None:
    """Replace what trains slowly on a CPU, in place; weights and their names stay."""
    with_fast_depthwise(network)
    with_quick_norms(network)
