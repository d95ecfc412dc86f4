"""Choose the published networks that are expected to be the best within a budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pnag.deploy.zoo.network import Network

# Of top-1, for each halving of the image size. MobileNetV2 1.0 loses 6.5 points from 224 pixels to
# 128 (71.8 to 65.3 %: github.com/tensorflow/models, research/slim/nets/mobilenet).
HALVING = 0.08
# A network is not timed if it is guessed to take so many budgets, as far behind its published
# latency as the least of those timed at its size, of which the fastest few come first.
FAR_ABOVE, FIRST = 1.25, 2


@dataclass(frozen=True)
class Sized:
    """A published network for images of a size.

    Attributes:
        pixels: height and width, at most those that it is made for.
    """

    network: Network
    pixels: int

    @property
    def name(self) -> str:
        """As files and messages have it: `levit_128@224`."""
        return f"{self.network.key}@{self.pixels}"

    @property
    def expected(self) -> float:
        """Published top-1 (a fraction), less what smaller images cost."""
        return (self.network.top1 or 0.0) - HALVING * math.log2(
            self.network.resolution / self.pixels
        )

    @property
    def published_ms(self) -> float:
        """Its published latency, times its share of the pixels."""
        return (self.network.published_ms or 0.0) * (self.pixels / self.network.resolution) ** 2


Milliseconds = Callable[[Sized], float | None]
"""What a network takes; None if it does not run at the size."""


def all_sizes(networks: Sequence[Network], resolutions: Sequence[int]) -> list[Sized]:
    """Each network at each resolution or at its own if that is smaller, the best expected first."""
    each = [
        Sized(network, pixels)
        for network in networks
        for pixels in sorted({min(network.resolution, most) for most in resolutions})
    ]
    return sorted(each, key=lambda sized: (-sized.expected, sized.name))


def best_within(
    budget: float, count: int, sizes: Sequence[Sized], milliseconds: Milliseconds
) -> list[Sized]:
    """At most so many networks, each at one size, that are within a budget in ms; best first.

    Args:
        sizes: as `all_sizes` gives them.
        milliseconds: asked only for what may be within, by published latencies and what they were
            for those that were asked for before.
    """
    slower: dict[int, list[float]] = {}  # by image size: what is small takes its own times longer

    def ask(sized: Sized) -> float | None:
        found = milliseconds(sized)
        if found is not None and sized.published_ms:
            slower.setdefault(sized.pixels, []).append(found / sized.published_ms)
        return found

    for pixels in sorted({sized.pixels for sized in sizes}):
        alike = (sized for sized in sizes if sized.pixels == pixels)
        for sized in sorted(alike, key=lambda sized: (sized.published_ms, sized.name))[:FIRST]:
            ask(sized)
    chosen: list[Sized] = []
    for sized in sizes:
        if len(chosen) == count:
            break
        if any(sized.network.weights == other.network.weights for other in chosen):
            continue
        known = slower.get(sized.pixels)
        if known and min(known) * sized.published_ms > FAR_ABOVE * budget:
            continue
        found = ask(sized)
        if found is not None and found <= budget:
            chosen.append(sized)
    return chosen
