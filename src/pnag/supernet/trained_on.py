"""What a supernet's weights were trained on, kept in their file: judging must leave it out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pnag.families.checkpoints import described
from pnag.images.decode import MEGAPIXELS
from pnag.images.images import ImageData


@dataclass(frozen=True)
class TrainedOn:
    """Images, and how to get the same parts of them again.

    Attributes:
        source: as it was named.
        split: of `ImageData`: which image was in which part.
        classes, seed, on_corrupt, resolution, max_megapixels: for `load_images`.
    """

    source: str
    split: str
    classes: int | None
    seed: int
    on_corrupt: str
    resolution: int
    max_megapixels: float = MEGAPIXELS

    @classmethod
    def of(
        cls,
        data: ImageData,
        classes: int | None,
        seed: int,
        on_corrupt: str,
        max_megapixels: float = MEGAPIXELS,
    ) -> TrainedOn:
        """Images that were loaded so."""
        resolution = data.preprocessing.resolution
        return cls(data.source, data.split, classes, seed, on_corrupt, resolution, max_megapixels)


def trained_on(weights: Path) -> TrainedOn | None:
    """What a file of weights says; None if it says nothing, as a published one."""
    try:
        return TrainedOn(**described(weights)["trained_on"])
    except (KeyError, TypeError):
        return None
