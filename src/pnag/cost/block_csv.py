"""A device's latencies as a plain CSV of blocks, for devices that are timed by other programs.

Columns `operator` and `ms`, a row for each block that a network can hold and one for the rest:

    operator,ms
    fixed-224x224x3-classes1000,1.92
    112x112x16-expand48-out24-kernel3-stride2-se0-re-skip0,0.31
    ...

Blocks are named by `Layer.key`, which holds all that decides their cost; `fixed` is what every
network has: stem, head and the start of a call. `write_block_csv` writes one from a latency model,
e.g. as a template to fill in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from pnag.cost.latency_model import LatencyModel
from pnag.cost.operators import COLUMNS, Naming
from pnag.errors import PnagError
from pnag.families.layers import Layer
from pnag.files import write_text


def write_block_csv(
    path: Path, model: LatencyModel, *, resolution: int = 224, num_classes: int = 1000
) -> None:
    """Write a model as CSV, atomically.

    Args:
        resolution, num_classes: of the networks that the model is of.

    Raises:
        PnagError: if a time is not positive, which a fit to few networks can bring about.
    """
    times = [*np.atleast_1d(model.fixed).tolist(), *model.blocks.tolist()]
    names = []
    for pixels in model.family.space.resolutions or (resolution,):
        names += _fixed(model.family.fixed(pixels, num_classes))
    names += [block.key for block in model.family.blocks(resolution)]
    for name, milliseconds in zip(names, times, strict=True):
        if not 0 < milliseconds < math.inf:
            raise PnagError(
                f"the latency model gives {milliseconds} ms for {name}, which no device can take; "
                "measure with more calibration networks"
            )
    # Late blocks of neighbouring resolutions are the same, and the model has a time at each.
    table = pd.DataFrame(dict(zip(COLUMNS, (names, times), strict=True)))
    table = table.groupby(COLUMNS[0], sort=False, as_index=False).mean()
    write_text(path, table.to_csv(index=False))


def _fixed(layers: Sequence[Layer]) -> list[str]:
    resolution, num_classes = layers[0].input_size, layers[-1].out_channels
    return [f"fixed-{resolution}x{resolution}x3-classes{num_classes}"]


BLOCKS = Naming(("fixed-",), _fixed, lambda spec: spec.key)
