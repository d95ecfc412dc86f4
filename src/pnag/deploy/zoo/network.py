"""What the zoo knows about a network, and how it becomes a module."""

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

PNAG, OFA, COMPARATOR, TIMM = FAMILIES = ("pnag", "ofa", "comparator", "timm")


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
        fused: whether what was trained side by side is joined into what runs, as timm does it:
            branches into one convolution, batch norms into what is before them, two classifiers
            into their mean.
    """

    maker: str
    name: str
    counted: Counted
    fused: bool = False

    @property
    def installed(self) -> bool:
        """Whether it can be built here."""
        return importlib.util.find_spec(self.maker) is not None

    def build(self) -> nn.Module:
        """The network for ImageNet as it runs, with fresh weights.

        Raises:
            PnagError: as `trainable`.
        """
        return self.as_it_runs(self.trainable())

    def as_it_runs(self, network: nn.Module) -> nn.Module:
        """The form of a trained network in which it runs, which computes the same."""
        if not self.fused:
            return network
        from timm.utils.model import reparameterize_model

        fused: nn.Module = reparameterize_model(network.eval())
        return fused

    def trainable(self) -> nn.Module:
        """The network for ImageNet as it is trained, of which weights are published.

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
class Training:
    """How published weights were trained.

    Attributes:
        more_images: than ImageNet-1k's, by name; empty if there were none.
        distilled: whether another network taught it.
        licence: of the weights; empty if none is named.
    """

    more_images: str
    distilled: bool
    licence: str

    @property
    def plain(self) -> bool:
        """Whether it was trained on ImageNet-1k alone and by no other network."""
        return not self.more_images and not self.distilled

    @property
    def beyond(self) -> str:
        """What it had beyond ImageNet-1k, in a few words; empty if nothing."""
        return ", ".join(filter(None, (self.more_images, "distilled" if self.distilled else "")))


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
        note: what users should know about it.
        training: of the weights, where their name says so.
        published_ms: latency that was published (`timm_networks.PLACE`), by which networks can be
            chosen before any is timed here.
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
    training: Training | None = None
    published_ms: float | None = None

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
