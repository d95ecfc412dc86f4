"""Costs that are counted, not measured: parameters, multiply-adds, peak memory of activations."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pnag.errors import PnagError
from pnag.families.counts import count_batch
from pnag.families.registry import DEFAULT, family, of_width
from pnag.files import read_json, write_json
from pnag.space import Tokens

# The counts of `families.counts`, and the unit of each.
COUNTED = {"params": "", "macs": "", "memory": "B"}


@dataclass(frozen=True)
class CountedCost:
    """One of `families.counts`' numbers, as a cost that predicts architectures, without error.

    Attributes:
        name: params, macs or memory (bytes of activations at the peak, one image in float32).
        family, resolution, num_classes: of the networks.

    Raises:
        PnagError: for another name.
    """

    name: str
    family: str = DEFAULT
    resolution: int = 224
    num_classes: int = 1000

    def __post_init__(self) -> None:
        if self.name not in COUNTED:
            raise PnagError(f"{self.name!r} is not counted; {', '.join(COUNTED)} are")

    def predict(self, tokens: Tokens) -> NDArray[np.float64]:
        """(N,) costs of (N, T) tokens."""
        counts = count_batch(family(self.family), tokens, self.resolution, self.num_classes)
        return np.asarray(getattr(counts, self.name), dtype=np.float64)

    def save(self, path: Path) -> None:
        """Write which cost it is, atomically."""
        write_json(path, asdict(self))

    @classmethod
    def load(cls, path: Path) -> CountedCost:
        """Read what `save` wrote.

        Raises:
            PnagError: if the file is not one.
        """
        try:
            raw = read_json(path)
            if "width_mult" in raw:  # from before there were other families
                raw["family"] = of_width(raw.pop("width_mult"))
            return cls(**raw)
        except TypeError as error:
            raise PnagError(f"{path} is not a counted cost of pnag: {error}") from error
