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


def test_each_begins_with_its_neighbour_towards_the_resolution_trained_at() -> None:
    l64, l80, l96, l128, l160 = at(64, 80, 96, 128, 160)
    found = what_each_begins_with([l160, l64, SMALL, l96, l80, l128], OF, {})
    assert found == {l96: None, l80: l96, l64: l80, l128: l96, l160: l128, SMALL: None}
    assert waves([l160, l64, SMALL], found) == [[l96, SMALL], [l128, l80], [l160, l64]]
    # Without the resolution trained at, the nearest to it is the first.
    assert what_each_begins_with([l160, l64, l128], OF, {}) == {
        l128: None, l160: l128, l64: l128
    }  # fmt: skip


def test_what_is_tuned_already_stays_as_it_is() -> None:
    l64, l80, l96 = at(64, 80, 96)
    known = what_each_begins_with([l64, l96], OF, {})
    assert known == {l96: None, l64: l96}
    later = what_each_begins_with([l80], OF, known)
    assert later == {**known, l80: l96}
    assert waves([l80], later) == [[l96], [l80]]


@pytest.mark.parametrize("name", ["ofa-mobilenetv3", "timm/mobilenetv3_small_100"])
def test_without_resolutions_all_begin_with_the_supernet(name: str) -> None:
    of = family(name)
    archs = [f"{of.largest}", f"{of.smallest}"]
    assert what_each_begins_with(archs, of, {}) == dict.fromkeys(archs)
    assert waves(archs, dict.fromkeys(archs)) == [archs]
    assert largest_at(of) == {archs[0]: 0}
