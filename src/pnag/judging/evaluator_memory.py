"""How much memory judging takes, before anything is made."""

from __future__ import annotations

import torch

from pnag.families.base import sized
from pnag.families.elastic_network import ElasticNetwork
from pnag.judging.subnets import MAPS_BYTES, Maps, Settings, chosen_rows


def evaluator_bytes(
    supernet: ElasticNetwork, resolution: int, images: int, settings: Settings
) -> int:
    """What an evaluator takes at its peak, besides the supernet's weights.

    Args:
        supernet: of any device, "meta" too.
        resolution: of the images, in pixels, where architectures do not choose theirs.
        images: of the validation part that are judged on.
    """
    dtype = getattr(torch, settings.precision)
    family, kept, widest = supernet.family, 0, 0
    start, end = chosen_rows(family)
    each = family.space.resolutions or (resolution,)
    for pixels in each:
        rows = sized(family.active(None), pixels, 1)
        size, channels = rows[start].input_size, rows[start].in_channels
        first = torch.empty((1, size, size, channels), dtype=dtype, device="meta")
        maps = Maps(family, first).bytes_per_image
        validation = min(images, max(1, MAPS_BYTES // len(each) // maps))
        kept += (settings.calibration + validation) * maps
        # The wide map of a layer is kept while its batch norms are measured, at one resolution.
        widest = max(
            widest,
            *(row.output_size**2 * row.expanded * first.element_size() for row in rows[start:end]),
        )
    return settings.calibration * widest + kept
