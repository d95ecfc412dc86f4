"""Fine-tuning of an answer: from the supernet's weights to a network of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
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
from pnag.training.loop import Step, fit, to_device
from pnag.training.settings import FinetuneSettings
from pnag.training.weights import trained

EVAL_BATCH = 250


@dataclass(frozen=True)
class Judged:
    """Accuracy on a part of the images, as fractions, and how many images that were."""

    top1: float
    top5: float
    images: int


def finetune_identity(
    supernet_identity: str,
    arch: Architecture | str,
    data: ImageData,
    settings: FinetuneSettings,
    seed: int,
    accelerator: Accelerator,
) -> str:
    """A hash of all that fine-tuned weights depend on.

    Args:
        supernet_identity: of the supernet's weights.
    """
    how = [asdict(settings), seed, accelerator.mixed_precision]
    return fingerprint([supernet_identity, data.identity, str(arch), how])


def finetune(
    supernet: Supernet,
    arch: Architecture | str,
    data: ImageData,
    settings: FinetuneSettings,
    folder: Path,
    *,
    identity: str,
    seed: int,
    accelerator: Accelerator,
    watch: Callable[[Step], None] = lambda step: None,
) -> MobileNetV3:
    """Train the network of an architecture on from the supernet's weights.

    Args:
        supernet: in eval mode on the accelerator's device.
        folder: gets `<identity>.safetensors`, from which a finished network is taken again, and the
            checkpoint of one under way.
        identity: from `finetune_identity`.

    Returns:
        The timm network in eval mode, its batch norms' statistics measured during training.

    Raises:
        PnagError: if the loss is no longer a number, or a file is damaged.
    """
    network = supernet.subnet(arch)

    def losses(images: Tensor, labels: Tensor, step: int) -> Iterator[Tensor]:
        logits = network(images)
        loss = F.cross_entropy(logits, labels, label_smoothing=settings.label_smoothing)
        if settings.distillation:
            with torch.no_grad():
                target = supernet(images).float().softmax(1)
            loss = loss + settings.distillation * F.cross_entropy(logits, target)
        yield loss

    def train(checkpoint: Path) -> None:
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

    trained(network, folder / f"{identity}.safetensors", identity, accelerator, train)
    to_device(network, accelerator.device)
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
