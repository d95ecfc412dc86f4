"""In which order answers are tuned: from the resolution trained at outwards, largest networks."""

from __future__ import annotations

import pytest

from pnag.families import family
from pnag.run.tuning_order import largest_at, waves, what_each_begins_with

OF = family("timm/mobilenetv3_small_100@64,80,96,128,160")
TEXT = f"{OF.largest}".rpartition("@")[0]
SMALL = f"{OF.smallest}"


def at(*pixels: int) -> list[str]:
    return [f"{TEXT}@{p}" for p in pixels]


def begins(
    archs: list[str], known: dict[str, str | None] | None = None, *, cut: bool = True
) -> dict[str, str | None]:
    return what_each_begins_with(archs, OF, known or {}, cut=cut)


def test_each_begins_with_its_neighbour_towards_the_resolution_trained_at() -> None:
    l64, l80, l96, l128, l160 = at(64, 80, 96, 128, 160)
    found = begins([l160, l64, SMALL, l96, l80, l128])
    assert found == {l96: None, l80: l96, l64: l80, l128: l96, l160: l128, SMALL: l64}
    assert waves([l160, l64, SMALL], found) == [[l96], [l128, l80], [l160, l64], [SMALL]]
    # Without the resolution trained at, the nearest to it is the first.
    assert begins([l160, l64, l128]) == {l128: None, l160: l128, l64: l128}


def test_smaller_networks_are_cut_out_of_the_nearest_largest() -> None:
    l64, l128 = at(64, 128)
    small = [SMALL.replace("@64", f"@{p}") for p in (64, 80, 128)]
    assert begins([*small, l64, l128]) == {
        l128: None, l64: l128, small[0]: l64, small[1]: l64, small[2]: l128
    }  # fmt: skip
    assert begins(small) == dict.fromkeys(small)  # there is none to cut them out of
    assert begins([*small, l64], cut=False) == dict.fromkeys([*small, l64])


def test_what_is_tuned_already_stays_as_it_is() -> None:
    l64, l80, l96 = at(64, 80, 96)
    known = begins([l64, l96])
    assert known == {l96: None, l64: l96}
    later = begins([l80], known)
    assert later == {**known, l80: l96}
    assert waves([l80], later) == [[l96], [l80]]
    assert begins([l160 := at(160)[0], SMALL], {SMALL: None}) == {SMALL: None, l160: None}


@pytest.mark.parametrize("name", ["ofa-mobilenetv3", "timm/mobilenetv3_small_100"])
def test_without_resolutions_there_is_one_largest(name: str) -> None:
    of = family(name)
    largest, small = f"{of.largest}", f"{of.smallest}"
    found = what_each_begins_with([small, largest], of, {}, cut=True)
    assert found == {largest: None, small: largest}
    assert waves([small], found) == [[largest], [small]]
    assert largest_at(of) == {largest: 0}
