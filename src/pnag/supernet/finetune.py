"""Fine-tuning of an answer: from the supernet's weights to a network of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional as F

from pnag.families.elastic_network import ElasticNetwork
from pnag.families.quick_layers import with_quick_layers
from pnag.files import fingerprint
from pnag.images.batches import eval_batches
from pnag.images.images import ImageData
from pnag.images.parts import PartName
from pnag.judging.recalibrate import recalibrate
from pnag.kept_memory import kept_memory
from pnag.space import AnyArchitecture
from pnag.supernet.loop import Step, fit, to_device
from pnag.supernet.settings import FinetuneSettings
from pnag.supernet.weights import checkpoint_of, load_finished, save_finished

EVAL_BATCH = 250
MEASURED = 2000  # images that an answer's batch norms are measured on


@dataclass(frozen=True)
class Judged:
    """Accuracy on a part of the images, as fractions, and how many images that were."""

    top1: float
    top5: float
    images: int


def finetune_identity(
    supernet_identity: str,
    arch: AnyArchitecture,
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
    if settings.distillation:
        how.append("teacher 2")  # 1: its batch norms' statistics were of a mixture of networks
    return fingerprint([supernet_identity, data.identity, str(arch), how])


def tuned_file(folder: Path, identity: str) -> Path:
    """Where the weights of a fine-tuned network lie."""
    return folder / f"{identity}.safetensors"


def finetune(
    network: nn.Module,
    data: ImageData,
    settings: FinetuneSettings,
    folder: Path,
    *,
    identity: str,
    seed: int,
    accelerator: Accelerator,
    teacher: nn.Module | None = None,
    watch: Callable[[Step], None] = lambda step: None,
    notice: Callable[[str], None] = lambda text: None,
) -> nn.Module:
    """Continue to train a plain network, in place, from the weights that it has.

    Args:
        folder: gets `<identity>.safetensors`, from which a finished network is taken again, and the
            checkpoint of one under way.
        identity: from `finetune_identity`.
        teacher: the supernet's largest network, where `settings.distillation` asks for one.

    Returns:
        The network in eval mode, its batch norms' statistics measured during training.

    Raises:
        PnagError: if the loss is no longer a number, or a file is damaged.
    """
    with_quick_layers(network)

    file = tuned_file(folder, identity)
    if not load_finished(network, file, identity, accelerator):
        taught_by: nn.Module | None = None
        if settings.distillation:
            assert teacher is not None
            taught_by = as_teacher(teacher, data, accelerator.device)

        kept = settings.fit.kept
        begun = [weight.detach().clone() for weight in network.parameters()] if kept else []

        def losses(images: Tensor, labels: Tensor, step: int) -> Iterator[Tensor]:
            logits = network(images)
            loss = F.cross_entropy(logits, labels, label_smoothing=settings.label_smoothing)
            if taught_by is not None:
                with torch.no_grad():
                    target = taught_by(images).float().softmax(1)
                loss = loss + settings.distillation * F.cross_entropy(logits, target)
            yield loss

        fit(
            network, losses, data, settings.fit, seed=seed, accelerator=accelerator,
            checkpoint=checkpoint_of(file), identity=identity, watch=watch, notice=notice,
        )  # fmt: skip
        if kept:
            with torch.no_grad():
                for weight, before in zip(network.parameters(), begun, strict=True):
                    weight.lerp_(before.to(weight.device), kept)
        if kept or settings.fit.averaged:  # the statistics are of other weights
            recalibrate(network, data, images=MEASURED, device=accelerator.device)
        save_finished(network, file, identity, accelerator)
    to_device(network, accelerator.device)
    return network.eval()


def largest_network(
    supernet: ElasticNetwork, data: ImageData, device: torch.device, pixels: int = 0
) -> nn.Module:
    """The supernet's largest network as `as_teacher` makes it.

    The supernet itself will not do: its batch norms' statistics are of a mixture of networks.
    """
    return as_teacher(supernet.subnet(), data, device, pixels)


def as_teacher(
    network: nn.Module, data: ImageData, device: torch.device, pixels: int = 0
) -> nn.Module:
    """The network in eval mode, its batch norms measured for it; its weights are trained no more.

    Args:
        pixels: resolution that it is for; 0 for that of `data`.
    """
    to_device(network, device)
    recalibrate(network, data, pixels=pixels, device=device)
    return network.eval().requires_grad_(False)


@torch.no_grad()
@kept_memory()
def judge(network: nn.Module, data: ImageData, part: PartName, device: torch.device) -> Judged:
    """Top-1 and top-5 of a network on all images of a part."""
    most = min(5, len(data.classes))
    hits = []
    for batch, labels in eval_batches(data, part, EVAL_BATCH, device=device):
        hits.append(network(batch).topk(most, dim=1).indices == labels[:, None])
    found = torch.cat(hits).cpu()  # asked for once: a GPU waits for nothing in between
    return Judged(
        float(found[:, 0].double().mean()), float(found.any(1).double().mean()), len(found)
    )
