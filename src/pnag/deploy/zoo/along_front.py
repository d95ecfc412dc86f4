"""Choose a few networks along the front of many, before any is timed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pnag.deploy.zoo.network import Network


def along_front(
    networks: Sequence[Network],
    milliseconds: Mapping[str, float],
    low: float,
    high: float,
    count: int,
) -> list[Network]:
    """Networks between two latencies, by growing latency.

    First come those on the front of all, then those on the front of what was trained on ImageNet-1k
    alone and without a teacher, as ours were, then what is on the front of the rest, and so on.
    Where a front has more than are wanted, they are taken evenly from its fast end to its slow end.

    Args:
        networks: each with a top-1. milliseconds: about what each takes, by its key.
        count: how many at the most.
    """
    rest = [n for n in networks if low <= milliseconds[n.key] <= high]
    rest.sort(key=lambda network: milliseconds[network.key])
    wanted = min(count, len(rest))
    chosen: list[Network] = []
    while len(chosen) < wanted:
        plain = [n for n in rest if n.training is not None and n.training.plain]
        for pool in (rest, plain):
            front = front_of([n for n in pool if n not in chosen])
            chosen += evenly(front, wanted - len(chosen))
        rest = [n for n in rest if n not in chosen]
    return sorted(chosen, key=lambda network: milliseconds[network.key])


def front_of(networks: Sequence[Network]) -> list[Network]:
    """Of networks by growing latency, those more accurate than all faster ones."""
    front: list[Network] = []
    for network in networks:
        if not front or (network.top1 or 0) > (front[-1].top1 or 0):
            front.append(network)
    return front


def evenly(networks: Sequence[Network], count: int) -> list[Network]:
    """At most so many of them, the last one among them."""
    if len(networks) <= count:
        return list(networks)
    return [networks[-1 - (i * len(networks)) // count] for i in range(count)][::-1]
