"""Tables that are collected: resumed after any stop, by any number of processes."""

from __future__ import annotations

import importlib.util
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock

from pnag import SearchSpace, Supernet
from pnag.errors import PnagError
from pnag.training.collect import collect
from pnag.training.images import ImageData
from pnag.training.subnets import Settings, SubnetEvaluator

SPACE = SearchSpace()
SETTINGS = Settings(calibration=40, validation=61)
TOKENS = SPACE.sample_unique(12, np.random.default_rng(0))


@pytest.fixture(scope="module")
def accuracies(supernet: Supernet, digits: ImageData) -> list[float]:
    return SubnetEvaluator(supernet, digits, SETTINGS).accuracies(TOKENS).tolist()


class Stop(Exception):
    pass


def stop_after(rows: int) -> object:
    def progress(done: int, total: int) -> None:
        if done >= rows:
            raise Stop

    return progress


def test_rows_and_progress(
    supernet: Supernet, digits: ImageData, accuracies: list[float], tmp_path: Path
) -> None:
    out = tmp_path / "deep" / "table.csv"
    told: list[tuple[int, int]] = []
    twice = np.concatenate([TOKENS, TOKENS[:1]])

    def collected() -> pd.DataFrame:
        return collect(
            supernet, digits, twice, out, settings=SETTINGS, progress=lambda *n: told.append(n)
        )

    frame = collected()
    assert frame.accuracy.tolist() == accuracies + accuracies[:1]
    assert frame.arch.tolist() == SPACE.text(twice) and set(frame.images) == {61}
    assert told[0] == (0, 12) and told[-1] == (12, 12) and told == sorted(told)
    written = pd.read_csv(out)
    assert len(written) == 12 and set(written.arch) == set(frame.arch)
    before = out.read_bytes()
    told.clear()
    pd.testing.assert_frame_equal(collected(), frame)
    assert out.read_bytes() == before and told == [(12, 12)]


@pytest.mark.parametrize("torn", ["", '"2,2,2', '"2,2,2,2,2:', "\n", "arch,accu", "é"])
def test_resumed_after_a_stop(
    supernet: Supernet, digits: ImageData, accuracies: list[float], tmp_path: Path, torn: str
) -> None:
    out = tmp_path / "table.csv"
    with pytest.raises(Stop):
        collect(supernet, digits, TOKENS, out, settings=SETTINGS, progress=stop_after(4))  # type: ignore[arg-type]
    content = out.read_bytes()
    rows = content.count(b"\n") - 1
    assert 4 <= rows < 12
    if torn == "\n":  # nothing is lost but the end of the last line
        out.write_bytes(content[:-1])
    elif torn == "arch,accu":  # torn in the first line
        out.write_bytes(torn.encode())
    else:
        out.write_bytes(content + torn.encode()[:-1])
    frame = collect(supernet, digits, TOKENS, out, settings=SETTINGS)
    assert frame.accuracy.tolist() == accuracies
    assert len(pd.read_csv(out)) == 12


def test_half_for_all_and_all_for_the_best(
    supernet: Supernet, digits: ImageData, accuracies: list[float], tmp_path: Path
) -> None:
    out = tmp_path / "table.csv"
    halves = SubnetEvaluator(supernet, digits, SETTINGS).correct(TOKENS, "first half")[0] / 30
    told: list[tuple[int, int]] = []
    frame = collect(
        supernet, digits, TOKENS, out, settings=SETTINGS, best=4,
        progress=lambda *n: told.append(n),
    )  # fmt: skip
    best = np.argsort(-halves, kind="stable")[:4]
    expected = halves.copy()
    expected[best] = np.array(accuracies)[best]
    assert frame.accuracy.tolist() == expected.tolist()
    assert frame.images.tolist() == [61 if row in best else 30 for row in range(12)]
    assert told[0] == (0, 16) and told[-1] == (16, 16)
    # Stopped in either stage, it goes on to the same.
    for rows in (4, 13):
        again = tmp_path / f"{rows}.csv"
        with pytest.raises(Stop):
            collect(
                supernet, digits, TOKENS, again, settings=SETTINGS, best=4,
                progress=stop_after(rows),  # type: ignore[arg-type]
            )  # fmt: skip
        resumed = collect(supernet, digits, TOKENS, again, settings=SETTINGS, best=4)
        pd.testing.assert_frame_equal(resumed, frame)
    # All on all of them: the other half is added to what is known.
    whole = collect(supernet, digits, TOKENS, out, settings=SETTINGS)
    assert whole.accuracy.tolist() == accuracies


def test_rows_of_something_else(supernet: Supernet, digits: ImageData, tmp_path: Path) -> None:
    out = tmp_path / "table.csv"
    collect(supernet, digits, TOKENS[:1], out, settings=SETTINGS)
    with pytest.raises(PnagError, match="another supernet"):
        collect(Supernet(0.1, 10), digits, TOKENS, out, settings=SETTINGS)
    with pytest.raises(PnagError, match="another settings"):
        collect(supernet, digits, TOKENS, out, settings=Settings(calibration=41))
    with FileLock(tmp_path / ".table.csv.lock"), pytest.raises(PnagError, match="another process"):
        collect(supernet, digits, TOKENS, out, settings=SETTINGS)
    good = out.read_text()
    for bad in ("x,0.5,61\n", "x\n", good.splitlines()[1].replace(",61", ",60") + "\n"):
        out.write_text(good + bad)
        with pytest.raises(PnagError, match="line 3"):
            collect(supernet, digits, TOKENS, out, settings=SETTINGS)
    out.write_text("a,b\n")
    with pytest.raises(PnagError, match="columns a,b"):
        collect(supernet, digits, TOKENS, out, settings=SETTINGS)
    (tmp_path / "table.csv.json").unlink()
    with pytest.raises(PnagError, match="does not"):
        collect(supernet, digits, TOKENS, out, settings=SETTINGS)


def test_two_processes(
    supernet: Supernet, digits: ImageData, accuracies: list[float], tmp_path: Path
) -> None:
    assert len(pickle.dumps(digits)) < 50_000  # names of files, no pixels
    frame = collect(supernet, digits, TOKENS, tmp_path / "table.csv", settings=SETTINGS, workers=2)
    assert frame.accuracy.tolist() == accuracies


def test_wrong_numbers(supernet: Supernet, digits: ImageData, tmp_path: Path) -> None:
    for wrong in ({"workers": 0}, {"best": 13}, {"best": -1}):
        with pytest.raises(PnagError, match=f"{next(iter(wrong))} is"):
            collect(supernet, digits, TOKENS, tmp_path / "a.csv", settings=SETTINGS, **wrong)


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="Ray is here")
def test_without_ray(supernet: Supernet, digits: ImageData, tmp_path: Path) -> None:
    with pytest.raises(PnagError, match=r"pip install 'pnag\[ray\]'"):
        collect(supernet, digits, TOKENS, tmp_path / "a.csv", ray_address="local")


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs the extra `ray`")
def test_ray(
    supernet: Supernet, digits: ImageData, accuracies: list[float], tmp_path: Path
) -> None:
    frame = collect(
        supernet, digits, TOKENS, tmp_path / "table.csv", settings=SETTINGS, workers=2,
        ray_address="local",
    )  # fmt: skip
    assert frame.accuracy.tolist() == accuracies
