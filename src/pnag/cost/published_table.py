"""Operator tables that others have published: Once-for-All's Note 10, NSGANetV2's i7-8700K."""

from __future__ import annotations

from collections.abc import Sequence

from pnag.cost.operators import Naming
from pnag.families.layers import Layer


def _maps(s: Layer) -> str:
    size, after = s.input_size, s.output_size
    return f"input:{size}x{size}x{s.in_channels}-output:{after}x{after}x{s.out_channels}"


def _note10_block(s: Layer) -> str:
    return (
        f"expanded_conv-{_maps(s)}-expand:{s.expanded}-kernel:{s.kernel}-stride:{s.stride}"
        f"-idskip:{int(s.shortcut)}-se:{int(s.squeezed > 0)}-hs:{int(s.activation == 'hs')}"
    )


def _note10_fixed(layers: Sequence[Layer]) -> list[str]:
    """The operators that every architecture has."""
    stem, first, final, pool, mix, classifier = layers
    return [
        f"Conv-{_maps(stem)}",
        _note10_block(first),
        f"Conv_1-{_maps(final)}",
        f"AvgPool2D-{_maps(pool)}",
        f"Conv_2-{_maps(mix)}",
        f"Logits-input:1x1x{classifier.in_channels}-output:{classifier.out_channels}",
    ]


def _nsganet_fixed(layers: Sequence[Layer]) -> list[str]:
    stem, first, final, _, mix, classifier = layers
    return [
        f"first_conv-{_maps(stem)}",
        f"MBConv-{_maps(first)}-expand:1-kernel:3-stride:1-idskip:1-se:0",
        f"final_expand_layer-{_maps(final)}",
        f"feature_mix_layer-{_maps(mix)}",
        f"classifier-input:{classifier.in_channels}-output:{classifier.out_channels}",
    ]


def _nsganet_block(s: Layer) -> str:
    return (
        f"MBConv-{_maps(s)}-expand:{s.width}-kernel:{s.kernel}-stride:{s.stride}"
        f"-idskip:{int(s.shortcut)}-se:{int(s.squeezed > 0)}"
    )


NOTE10 = Naming(("expanded_conv-", "Conv-input:"), _note10_fixed, _note10_block)
NSGANET = Naming(("MBConv-", "first_conv-"), _nsganet_fixed, _nsganet_block)
