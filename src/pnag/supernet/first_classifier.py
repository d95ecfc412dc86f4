"""A first classifier for a body that is trained already: it is solved for, not trained.

Linear discriminant analysis of the body's features of the images: classes are normal with one
covariance, which is shrunk towards equal variances. Such a classifier is right for most images
before the first step, so that the steps that follow need not find it, and do not pull at the body
meanwhile (`benchmarks/README.md`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional as F

from pnag.families.elastic_network import ElasticNetwork
from pnag.images.batches import eval_batches
from pnag.images.images import ImageData
from pnag.images.resolutions import at_resolution
from pnag.kept_memory import kept_memory
from pnag.supernet.finetune import EVAL_BATCH, largest_network
from pnag.supernet.processes import from_main

IMAGES = 10_000  # at most, each class with its share
SHRINKAGE = 0.1  # of the mean variance, added to each
FACTORS = np.geomspace(0.02, 2, 25)  # of the logits: discriminants of few images are too sure


@torch.no_grad()
@kept_memory()
def solve_classifier(
    supernet: ElasticNetwork,
    data: ImageData,
    pixels: int,
    label_smoothing: float,
    accelerator: Accelerator,
) -> None:
    """Give the supernet, in place, the classifier that suits its largest network's features.

    Args:
        pixels: resolution of the images that the network sees; 0 for that of `data`.
        label_smoothing: of the loss by which the logits are scaled.
    """

    def solved() -> tuple[Tensor, Tensor]:
        network: Any = largest_network(supernet, data, accelerator.device, pixels)
        return solved_layer(network, network.classifier, data, pixels, label_smoothing, accelerator)

    weight, bias = from_main(accelerator, solved)
    linear = [module for module in supernet.modules() if isinstance(module, nn.Linear)][-1]
    linear.weight.copy_(weight)
    linear.bias.copy_(bias)


@torch.no_grad()
def solved_layer(
    network: nn.Module,
    layer: nn.Module,
    data: ImageData,
    pixels: int,
    label_smoothing: float,
    accelerator: Accelerator,
) -> tuple[Tensor, Tensor]:
    """A classifying layer's (classes, features) weight and (classes,) bias, on the CPU.

    Args:
        network: in eval mode, on the accelerator's device. layer: of it; takes (B, features).
        pixels: as of `solve_classifier`.
    """
    taken: list[Tensor] = []
    handle = layer.register_forward_pre_hook(
        lambda module, given: taken.append(given[0].float().cpu())
    )
    labels: list[Tensor] = []
    try:
        for images, those in eval_batches(
            data, "train", EVAL_BATCH, limit=IMAGES, device=accelerator.device
        ):
            with accelerator.autocast():
                network(at_resolution(images, pixels))
            labels.append(those.cpu())
    finally:
        handle.remove()
    features, classes = torch.cat(taken), torch.cat(labels)
    weight, bias = discriminants(features, classes, len(data.classes))
    logits = features @ weight.T + bias
    losses = [
        float(F.cross_entropy(f * logits, classes, label_smoothing=label_smoothing))
        for f in FACTORS
    ]
    factor = FACTORS[int(np.argmin(losses))]
    return factor * weight, factor * bias


def discriminants(features: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Linear discriminants of (N, F) features and (N,) labels: (classes, F) and (classes,).

    All classes have the same prior. One without rows, as a rare class may be in a sample, gets the
    mean of all: no features speak for it or against it.
    """
    of_each = (features[labels == number] for number in range(classes))
    means = torch.stack([(own if len(own) else features).mean(0) for own in of_each])
    rest = features - means[labels]
    if not rest.any():  # one image of each class: how classes differ is all that is known
        rest = features - features.mean(0)
    covariance = rest.T @ rest / len(features)
    spread = covariance.diagonal().mean().clamp_min(1e-6)
    covariance += SHRINKAGE * spread * torch.eye(len(covariance))
    weight = torch.linalg.solve(covariance, means.T).T
    return weight, -0.5 * (weight * means).sum(1)
