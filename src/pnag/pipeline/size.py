"""The three numbers that an architecture needs to become a network."""

from __future__ import annotations

from dataclasses import dataclass

from timm.models.mobilenetv3 import MobileNetV3

from pnag.families import BatchCounts, Counts, build, count, count_batch
from pnag.space import SearchSpace, Tokens


@dataclass(frozen=True)
class Size:
    """Of all networks of a run; by default those of the published ImageNet supernet."""

    resolution: int = 224
    width_mult: float = 1.0
    num_classes: int = 1000

    def build(self, arch: str) -> MobileNetV3:
        """The network of an architecture with fresh weights."""
        return build(arch, self.width_mult, self.num_classes)

    def count(self, arch: str) -> Counts:
        """Parameters and multiply-adds of an architecture."""
        return count(arch, self.width_mult, self.resolution, self.num_classes)

    def count_batch(self, space: SearchSpace, tokens: Tokens) -> BatchCounts:
        """The same of N architectures at once."""
        return count_batch(space, tokens, self.width_mult, self.resolution, self.num_classes)
