"""Fine-tuning of an answer: from the supernet's weights to a network of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from accelerate import Accelerator
from timm.models.mobilenetv3 import MobileNetV3
from torch import Tensor, nn
from torch.nn import functional as F

from pnag.files import fingerprint
from pnag.networks.supernet import Supernet
from pnag.space import Architecture
from pnag.training.batches import eval_batches
from pnag.training.images import ImageData, PartName
from pnag.training.loop import FitSettings, Step, fit
from pnag.training.weights import load_weights, save_weights

EVAL_BATCH = 250


@dataclass(frozen=True)
class FinetuneSettings:
    """How an answer is fine-tuned; the paper takes 75 epochs on ImageNet (section E).

    Attributes:
        distillation: weight of the cross-entropy with the supernet's largest network, 0 for none.
    """

    label_smoothing: float = 0.1
    distillation: float = 0.0
    fit: FitSettings = field(default_factory=lambda: FitSettings(epochs=75, learning_rate=0.01))


@dataclass(frozen=True)
class Judged:
    """Accuracy on a part of the images, as fractions, and how many images that were."""

    top1: float
    top5: float
    images: int


def finetune(
    supernet: Supernet,
    arch: Architecture | str,
    data: ImageData,
    settings: FinetuneSettings,
    folder: Path,
    *,
    supernet_identity: str,
    seed: int,
    accelerator: Accelerator,
    watch: Callable[[Step], None] = lambda step: None,
) -> MobileNetV3:
    """Train the network of an architecture on from the supernet's weights.

    Args:
        supernet: in eval mode on the accelerator's device.
        folder: gets `<hash>.safetensors`, from which a finished network is taken again, and the
            checkpoint of one under way.
        supernet_identity: of the supernet's weights.

    Returns:
        The timm network in eval mode, its batch norms' statistics measured during training.

    Raises:
        PnagError: if the loss is no longer a number, or a file is damaged.
    """
    identity = fingerprint([supernet_identity, data.identity, str(arch), asdict(settings), seed])
    network = supernet.subnet(arch)
    path = folder / f"{identity}.safetensors"
    if load_weights(path, identity, network):
        return network.to(accelerator.device).eval()

    def losses(images: Tensor, labels: Tensor, step: int) -> Iterator[Tensor]:
        logits = network(images)
        loss = F.cross_entropy(logits, labels, label_smoothing=settings.label_smoothing)
        if settings.distillation:
            with torch.no_grad():
                target = supernet(images).float().softmax(1)
            loss = loss + settings.distillation * F.cross_entropy(logits, target)
        yield loss

    checkpoint = folder / f"{identity}.checkpoint.safetensors"
    fit(
        network,
        losses,
        data,
        settings.fit,
        seed=seed,
        accelerator=accelerator,
        checkpoint=checkpoint,
        identity=identity,
        watch=watch,
    )
    if accelerator.is_main_process:
        save_weights(network, path, identity)
        checkpoint.unlink(missing_ok=True)
    accelerator.wait_for_everyone()
    return network.eval()


@torch.no_grad()
def judge(network: nn.Module, data: ImageData, part: PartName, device: torch.device) -> Judged:
    """Top-1 and top-5 of a network on all images of a part."""
    first = fifth = images = 0
    most = min(5, len(data.classes))
    for batch, labels in eval_batches(data, part, EVAL_BATCH, device=device):
        hits = network(batch).topk(most, dim=1).indices == labels[:, None]
        first += int(hits[:, 0].sum())
        fifth += int(hits.any(1).sum())
        images += len(labels)
    return Judged(first / images, fifth / images, images)
