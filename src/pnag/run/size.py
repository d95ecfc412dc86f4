"""What an architecture needs to become a network: its family, images and classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from pnag.cost.load import Cost, load_cost
from pnag.families import BatchCounts, Counts, Family, count_batch, family
from pnag.families.registry import DEFAULT, family_of
from pnag.run.named_family import named_family
from pnag.run.recipe import Recipe
from pnag.space import BaseArchitecture, Tokens


@dataclass(frozen=True)
class Size:
    """Of all networks of a run; by default those of the published ImageNet supernet.

    Attributes:
        family: its name.
    """

    resolution: int = 224
    family: str = DEFAULT
    num_classes: int = 1000

    @property
    def of(self) -> Family:
        """The family itself."""
        return family(self.family)

    def identity(self) -> dict[str, Any]:
        """As a latency table's identity has it."""
        return {
            **self.of.identity(), "resolution": self.resolution, "num_classes": self.num_classes
        }  # fmt: skip

    @classmethod
    def of_identity(cls, identity: Mapping[str, Any]) -> Size:
        """What `identity` gave; what is missing is as in `Size`."""
        default = cls()
        return cls(
            identity.get("resolution", default.resolution),
            family_of(dict(identity)).name,
            identity.get("num_classes", default.num_classes),
        )

    def cost(self, spec: str) -> Cost:
        """What predicts a cost of the networks.

        Args:
            spec: as `load_cost` takes it.

        Raises:
            PnagError: as `load_cost`.
        """
        return load_cost(spec, self.of, resolution=self.resolution, num_classes=self.num_classes)

    def build(self, arch: str) -> nn.Module:
        """The network of an architecture with fresh weights."""
        return self.of.build(arch, self.num_classes)

    def count(self, arch: str) -> Counts:
        """Parameters and multiply-adds of an architecture."""
        return self.of.count(arch, self.resolution, self.num_classes)

    def pixels(self, arch: str) -> int:
        """The resolution of an architecture's images."""
        return BaseArchitecture.parse(arch).resolution or self.resolution

    def count_batch(self, tokens: Tokens) -> BatchCounts:
        """The same of N architectures at once."""
        return count_batch(self.of, tokens, self.resolution, self.num_classes)


def family_of_recipe(recipe: Recipe) -> Family:
    """The family of a run's architectures; of one on images once its supernet is planned."""
    images = recipe.images
    if recipe.table is not None:
        return family(recipe.table.family or DEFAULT)
    if images is None:
        fixed = recipe.resolutions == (Size.resolution,)
        return family(DEFAULT) if fixed else family(DEFAULT).with_resolutions(recipe.resolutions)
    found = named_family(images.family, images.width_mult)
    return found.with_resolutions(images.resolutions) if images.resolutions else found
