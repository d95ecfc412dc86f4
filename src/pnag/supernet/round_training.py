"""Training of the supernet in a round: what will be judged has been trained.

After Neural Architecture Transfer (https://arxiv.org/abs/2005.05859), which trains its supernet in
each round for 5 epochs on subnets like the best so far. By the sandwich rule, as before the rounds,
but the smaller networks are no longer random: each step has one of the liked ones and one that
differs from a liked one in about one choice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from accelerate import Accelerator
from torch import Tensor

from pnag.families.elastic_network import ElasticNetwork
from pnag.files import fingerprint
from pnag.images.images import ImageData
from pnag.images.resolutions import at_resolution, resolution_of_step
from pnag.space import Tokens
from pnag.supernet.loop import Losses, Step, fit
from pnag.supernet.settings import SupernetSettings
from pnag.supernet.supernet_training import sandwich
from pnag.supernet.weights import checkpoint_of, load_finished, save_finished

RATE = 0.2  # of the recipe's learning rate: what is known is refined
EPOCHS = (0.5, 5)  # least and most of a round


def round_settings(settings: SupernetSettings, epochs: float) -> SupernetSettings:
    """A supernet's settings for a round of so many epochs."""
    rate = RATE * settings.fit.learning_rate
    return replace(settings, fit=replace(settings.fit, epochs=epochs, learning_rate=rate))


def train_round(
    supernet: ElasticNetwork,
    liked: Tokens,
    data: ImageData,
    settings: SupernetSettings,
    folder: Path,
    *,
    before: str,
    seed: int,
    accelerator: Accelerator,
    watch: Callable[[Step], None] = lambda step: None,
    notice: Callable[[str], None] = lambda text: None,
) -> Path:
    """Continue to train a supernet, in place, for networks like some.

    Args:
        liked: (N, T) the best architectures so far and those that will be judged.
        settings: of `round_settings`.
        folder: gets a file of weights, named after a hash of all that they depend on, and the
            checkpoint of a training under way.
        before: an identity of the weights that it begins with.

    Returns:
        The file of weights.

    Raises:
        PnagError: as `fit`, or if a file is damaged.
    """
    space = supernet.family.space
    how = [asdict(settings), space.text(liked), seed, accelerator.mixed_precision]
    identity = fingerprint([before, data.identity, how])
    path = folder / f"round-{identity}.safetensors"
    if not load_finished(supernet, path, identity, accelerator):
        losses = round_losses(supernet, liked, settings.label_smoothing, seed)
        fit(
            supernet, losses, data, settings.fit, seed=seed, accelerator=accelerator,
            checkpoint=checkpoint_of(path), identity=identity, watch=watch, notice=notice,
        )  # fmt: skip
        save_finished(supernet, path, identity, accelerator)
    supernet.eval()
    return path


def round_losses(
    supernet: ElasticNetwork, liked: Tokens, label_smoothing: float, seed: int
) -> Losses:
    """What each step of a round minimises.

    Args:
        liked: (N, T). A step at one of several resolutions takes those of that one, if there are.
    """
    space = supernet.family.space
    chosen = space.resolution_ids(liked)

    def losses(images: Tensor, labels: Tensor, step: int) -> Iterator[Tensor]:
        rng = np.random.default_rng([seed, step])
        pixels = resolution_of_step(space.resolutions, seed, step)
        near = liked[chosen == space.resolutions.index(pixels)] if pixels else liked
        near = near if len(near) else liked
        one, other = near[rng.integers(len(near), size=(2, 1))]
        other = space.mutate(other, 1 / len(space.tokens), rng)
        drawn = space.decode(np.concatenate([one, other]))
        images = at_resolution(images, pixels)
        yield from sandwich(supernet, drawn, images, labels, label_smoothing)

    return losses
