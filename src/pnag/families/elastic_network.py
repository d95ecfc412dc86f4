"""What the supernets of all families have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pnag.errors import BadValueError
from pnag.families.base import Family
from pnag.families.elastic import LayerParts, plain_weights, run_layer, sort_layer
from pnag.space import AnyArchitecture


class ElasticNetwork(nn.Module):
    """One set of weights for every architecture of a family.

    A family's supernet makes its modules and says which are what (`parts`).

    Attributes:
        family, num_classes: of its networks.
        parts: the modules of each row of the family's table.
    """

    family: Family
    num_classes: int

    def layer_parts(self) -> Sequence[LayerParts]:
        """The modules of each row of the family's table."""
        raise NotImplementedError

    @property
    def parts(self) -> Sequence[LayerParts]:
        """The same, found once."""
        found: Sequence[LayerParts] | None = self.__dict__.get("_parts")
        if found is None:
            found = self.__dict__["_parts"] = self.layer_parts()
        return found

    def __getstate__(self) -> dict[str, Any]:
        # a copy has modules of its own
        return {key: value for key, value in self.__dict__.items() if key != "_parts"}

    def forward(self, images: Tensor, arch: AnyArchitecture | None = None) -> Tensor:
        """Logits of one subnet.

        Nothing is remembered between calls. In training mode the running statistics of the
        subnet's batch norms move; those of a narrower width are the first channels of the wider's,
        so they must be measured again before a subnet is judged (BN recalibration).

        Under `torch.nn.parallel.DistributedDataParallel` pass `arch` along with the images, the
        same on every process, and set `find_unused_parameters=True`: what a subnet leaves out gets
        no gradient.

        Args:
            images: (N, 3, H, W).
            arch: the architecture, or its text form; None is the largest one.

        Returns:
            (N, num_classes).

        Raises:
            BadValueError: (a ValueError) for a malformed text.
        """
        x, parts = images, self.parts
        for layer in self.family.active(arch):
            x = run_layer(x, layer, parts[layer.index])
        return x

    def subnet(self, arch: AnyArchitecture | None = None) -> Any:
        """The network of one architecture with a copy of its weights.

        Args:
            arch: the architecture, or its text form; None is the largest one.

        Returns:
            The plain network that the family's `build` gives, on this supernet's device and in its
            mode, with this supernet's outputs for the architecture. It shares nothing with it.

        Raises:
            BadValueError: (a ValueError) for a malformed text.
        """
        arch = self.family.largest if arch is None else self.family.parse(arch)
        weights: dict[str, Tensor] = {}
        for layer in self.family.active(arch):
            weights |= plain_weights(layer, self.parts[layer.index])
        # On "meta" no random weights are drawn that the copies would replace at once.
        with torch.device("meta"):
            network = self.family.build(arch, self.num_classes)
        copies = {
            name: value.detach().clone(memory_format=torch.contiguous_format)
            for name, value in weights.items()
        }
        network.load_state_dict(copies, assign=True)
        return network.train(self.training)

    @torch.no_grad()
    def take_largest(self, network: nn.Module) -> None:
        """Take the weights of the plain largest network, in place: the inverse of `subnet()`.

        Smaller subnets are then cut out of these. What only they use, such as the matrices of
        smaller kernels, stays as it is.

        Args:
            network: as the family's `build` gives it for the largest architecture.
        """
        own: dict[str, Tensor] = {}
        for layer in self.family.active(None):
            own |= plain_weights(layer, self.parts[layer.index])
        for name, value in network.state_dict().items():
            own[name].copy_(value)

    def sort_channels(self, trained_widths: Sequence[int] | None = None) -> None:
        """Put the most important expanded channels of every layer first, in place.

        A narrower width keeps the first channels, so before training shrinks the width they should
        be the important ones: those with the largest L1 norm of the weights that read them, in the
        projection to the layer's output. Hidden channels of squeeze-excite are sorted in the same
        way by the weights of its second convolution.

        No channel crosses the boundary of a width in `trained_widths`, hence every subnet made of
        these widths keeps its outputs. When width shrinks in stages, {6, 4} and then {6, 4, 3},
        call it with (6,) before the first and with (6, 4) before the second: width 3 then takes
        the best of the channels of width 4, and what widths 6 and 4 have learnt stays.

        An optimizer's momentum is not reordered: call this before making the optimizer.

        Args:
            trained_widths: the widths whose subnets must not change; the largest one if None.

        Raises:
            BadValueError: (a ValueError) for a width that the space does not have.
        """
        family = self.family
        every = widths_of(family)
        kept = every[-1:] if trained_widths is None else tuple(trained_widths)
        for width in kept:
            if width not in every:
                raise BadValueError(f"there is no width {width}; it must be one of {every}")
        columns = family.space.columns["width"]
        for layer, parts in zip(family.table, self.parts, strict=True):
            if layer.unit < 0 or layer.kind != "inverted":
                continue
            choices = family.space.tokens[columns[family.position(layer)]].choices
            if len(choices) > 1:
                bounds = [family.chosen(layer, w, layer.kernel) for w in kept if w in choices]
                sort_layer(parts, [b.expanded for b in bounds], [b.squeezed for b in bounds])


def widths_of(family: Family) -> tuple[int, ...]:
    """All widths that some layer of a family can choose, ascending."""
    columns = family.space.columns["width"]
    return tuple(sorted({w for column in columns for w in family.space.tokens[column].choices}))
