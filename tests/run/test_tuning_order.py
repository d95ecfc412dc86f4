"""In which order answers are tuned: from the resolution trained at outwards, largest networks."""

from __future__ import annotations

import pytest

from pnag.families import family
from pnag.families.base import Family
from pnag.run.tuning_order import largest_at, waves, what_each_begins_with

OF = family("timm/mobilenetv3_small_100@64,80,96,128,160")
TEXT = f"{OF.largest}".rpartition("@")[0]
SMALL = f"{OF.smallest}"  # 47 % of the largest's multiply-adds
# 93 %
LITTLE_LESS = "1,3,2,3:3,0,5,5,5,5,5,5,5,5:100,0,100,100,100,100,100,100,100,100"


def at(*pixels: int) -> list[str]:
    return [f"{TEXT}@{p}" for p in pixels]


def begins(
    archs: list[str], known: dict[str, str | None] | None = None, *, cut: bool = True
) -> dict[str, str | None]:
    return what_each_begins_with(archs, OF, known or {}, cut=cut)


def test_each_begins_with_its_neighbour_towards_the_resolution_trained_at() -> None:
    l64, l80, l96, l128, l160 = at(64, 80, 96, 128, 160)
    less = f"{LITTLE_LESS}@64"
    found = begins([l160, l64, less, l96, l80, l128])
    assert found == {l96: None, l80: l96, l64: l80, l128: l96, l160: l128, less: l64}
    assert waves([l160, l64, less], found) == [[l96], [l128, l80], [l160, l64], [less]]
    # Without the resolution trained at, the nearest to it is the first.
    assert begins([l160, l64, l128]) == {l128: None, l160: l128, l64: l128}


def test_somewhat_smaller_networks_are_cut_out_of_the_nearest_largest() -> None:
    l64, l128 = at(64, 128)
    less = [f"{LITTLE_LESS}@{p}" for p in (64, 80, 128)]
    assert begins([*less, SMALL, l64, l128]) == {
        l128: None, l64: l128, less[0]: l64, less[1]: l64, less[2]: l128, SMALL: None
    }  # fmt: skip
    assert begins([*less, l64], cut=False) == dict.fromkeys([*less, l64])


def test_a_largest_network_is_tuned_though_none_is_an_answer() -> None:
    l80, l96, l128 = at(80, 96, 128)
    less = [f"{LITTLE_LESS}@{p}" for p in (80, 128)]
    found = begins([*less, SMALL])
    assert found == {l80: None, less[0]: l80, less[1]: l80, SMALL: None}
    assert waves([*less, SMALL], found) == [[l80, SMALL], less]
    assert begins(less[1:]) == {l128: None, less[1]: l128}
    assert begins([SMALL]) == {SMALL: None}  # it would not be cut out of one
    # Further budgets: out of one that there is already.
    assert begins(less, {l96: None}) == {l96: None, less[0]: l96, less[1]: l96}


def test_what_is_tuned_already_stays_as_it_is() -> None:
    l64, l80, l96 = at(64, 80, 96)
    known = begins([l64, l96])
    assert known == {l96: None, l64: l96}
    later = begins([l80], known)
    assert later == {**known, l80: l96}
    assert waves([l80], later) == [[l96], [l80]]
    assert begins([l160 := at(160)[0], SMALL], {SMALL: None}) == {SMALL: None, l160: None}


def a_little_less(of: Family) -> str:
    """The largest with the first stage one layer shallower."""
    tokens = of.space.encode([of.largest])
    tokens[0, 0] -= 1
    return of.space.text(of.space.canonical(tokens))[0]


@pytest.mark.parametrize("name", ["ofa-mobilenetv3", "timm/mobilenetv3_small_100"])
def test_without_resolutions_there_is_one_largest(name: str) -> None:
    of = family(name)
    largest, small = f"{of.largest}", f"{of.smallest}"
    less = a_little_less(of)
    found = what_each_begins_with([small, less], of, {}, cut=True)
    assert found == {largest: None, less: largest, small: None}
    assert waves([less], found) == [[largest], [less]]
    assert largest_at(of) == {largest: 0}
