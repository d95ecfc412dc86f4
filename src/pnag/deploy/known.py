"""Networks that people would pick otherwise, with their published top-1."""

from __future__ import annotations

from dataclasses import dataclass

import timm
from torch import nn

SUPPLEMENT = "PNAG supplement, Table 1"


@dataclass(frozen=True)
class KnownNetwork:
    """A network that timm builds.

    Attributes:
        name: as in the paper. timm_name: for `timm.create_model`.
        top1: published ImageNet top-1 at 224, a fraction. source: who publishes it.
    """

    name: str
    timm_name: str
    top1: float
    source: str

    def build(self) -> nn.Module:
        """The network with fresh weights."""
        network: nn.Module = timm.create_model(self.timm_name, pretrained=False)
        return network


KNOWN_NETWORKS = (
    KnownNetwork("MobileNetV2 1.0", "mobilenetv2_100", 0.720, SUPPLEMENT),
    KnownNetwork("MobileNetV2 1.4", "mobilenetv2_140", 0.747, SUPPLEMENT),
    KnownNetwork("MobileNetV3-Large", "mobilenetv3_large_100", 0.752, SUPPLEMENT),
    KnownNetwork("EfficientNet-B0", "efficientnet_b0", 0.773, SUPPLEMENT),
    KnownNetwork("ResNet-18", "resnet18", 0.698, SUPPLEMENT),
)
