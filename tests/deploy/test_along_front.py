"""Which networks are chosen along a front, before any is timed."""

from __future__ import annotations

from pnag.deploy.zoo.along_front import along_front, evenly, front_of
from pnag.deploy.zoo.network import TIMM, Counted, Library, Network, Training

RECIPE = Library("timm", "none", Counted(1, 1, 1))
PLAIN, TAUGHT = Training("", False, ""), Training("", True, "")


def network(key: str, top1: float, training: Training = PLAIN) -> Network:
    return Network(key, key, TIMM, RECIPE, top1=top1, training=training)


# by growing latency; the front of all is taught, below it the plain one, and two on neither
TIMES = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0, "e": 5.0, "f": 6.0, "g": 9.0}
NETWORKS = [
    network("a", 0.70, TAUGHT), network("b", 0.60), network("c", 0.75, TAUGHT),
    network("d", 0.65), network("e", 0.80, TAUGHT), network("f", 0.62), network("g", 0.9, TAUGHT),
]  # fmt: skip


def chosen(count: int, low: float = 0.5, high: float = 7.0) -> str:
    return "".join(n.key for n in along_front(NETWORKS, TIMES, low, high, count))


def test_the_front_of_all_comes_first_then_that_of_plain_ones() -> None:
    assert chosen(3) == "ace"
    assert chosen(5) == "abcde"
    assert chosen(6) == chosen(12) == "abcdef"
    assert chosen(1) == "e" and chosen(0) == ""


def test_only_those_within_the_range_are_chosen() -> None:
    assert chosen(12, low=2.0, high=4.5) == "bcd"
    assert chosen(12, low=20, high=30) == ""
    assert chosen(1, high=20) == "g"


def test_fronts_are_taken_evenly() -> None:
    assert [n.key for n in front_of(NETWORKS)] == ["a", "c", "e", "g"]
    ten = [network(str(i), i / 10) for i in range(10)]
    assert [n.key for n in evenly(ten, 5)] == ["1", "3", "5", "7", "9"]
    assert evenly(ten, 12) == ten and evenly(ten, 0) == []
