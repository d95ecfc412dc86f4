"""What the zoo knows of a network, and how it becomes a module."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pnag.downloads import PublishedFile
from pnag.extras import needing
from pnag.families.counts import count

if TYPE_CHECKING:
    from torch import nn

PNAG, OFA, COMPARATOR = FAMILIES = ("pnag", "ofa", "comparator")


@dataclass(frozen=True)
class Counted:
    """Parameters and multiply-adds of a network; of `macs`, convolutions alone are `conv_macs`."""

    params: int
    macs: int
    conv_macs: int


@dataclass(frozen=True)
class Ours:
    """An architecture of our own search space.

    Attributes:
        arch: its text form. width_mult: of all channels.
    """

    arch: str
    width_mult: float

    @property
    def maker(self) -> str:
        """Who builds it."""
        return "pnag"

    @property
    def installed(self) -> bool:
        """Whether it can be built here."""
        return True

    def build(self) -> nn.Module:
        """The network for ImageNet, with fresh weights."""
        from pnag.families import build

        return build(self.arch, self.width_mult)


@dataclass(frozen=True)
class Library:
    """A network that another library builds.

    Attributes:
        maker: `timm` or `pytorchcv`. name: what it calls the network.
        counted: on the built network at its own resolution; written down here because
            building takes seconds and the library may not be installed. A test counts again.
    """

    maker: str
    name: str
    counted: Counted

    @property
    def installed(self) -> bool:
        """Whether it can be built here."""
        return importlib.util.find_spec(self.maker) is not None

    def build(self) -> nn.Module:
        """The network for ImageNet, with fresh weights.

        Raises:
            PnagError: if the library is not installed or cannot be loaded.
        """
        module, function = {
            "timm": ("timm", "create_model"),
            "pytorchcv": ("pytorchcv.model_provider", "get_model"),
        }[self.maker]
        with needing(f"the network {self.name}", "zoo"):
            make: Any = getattr(importlib.import_module(module), function)
        network: nn.Module = make(self.name, pretrained=False)
        return network


@dataclass(frozen=True)
class Network:
    """A published network.

    Attributes:
        key: its name on the command line. name: for people. family: one of FAMILIES.
        recipe: how it is built.
        resolution: height and width in pixels of the images that it is made for.
        top1, top5: published ImageNet accuracies (fractions), None where none is published.
        source: who publishes them.
        weights: trained on ImageNet by `weights_by`; None where none are published.
        note: what one should know of it.
    """

    key: str
    name: str
    family: str
    recipe: Ours | Library
    resolution: int = 224
    top1: float | None = None
    top5: float | None = None
    source: str = ""
    weights: PublishedFile | None = None
    weights_by: str = ""
    note: str = ""

    def build(self) -> nn.Module:
        """The network with fresh weights.

        Raises:
            PnagError: if the library that builds it is not installed.
        """
        return self.recipe.build()

    def counts(self) -> Counted:
        """Parameters and multiply-adds at its own resolution."""
        if isinstance(self.recipe, Library):
            return self.recipe.counted
        counts = count(self.recipe.arch, self.recipe.width_mult, self.resolution)
        return Counted(counts.params, counts.macs, counts.conv_macs)
