"""Latency: the model recovers what made the times; tables survive stops and refuse damage."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from torch import nn

import pnag
from pnag.cost.front_calibration import fit_front_calibration
from pnag.cost.latency_model import LatencyModel, check_latency_model, fit_latency_model
from pnag.cost.latency_table import LatencyTable
from pnag.cost.measure import measure_device, stretched_and_uniform
from pnag.cost.proof import time_together
from pnag.cost.runtimes.adb import PhoneGoneError
from pnag.cost.runtimes.onnx_cpu import OnnxCpu
from pnag.cost.timing import Call, Drift, Open, explain, measure_interleaved, stopwatch
from pnag.cost.yardsticks import YARDSTICKS, brought_back, measure_beside_yardsticks, yardsticks
from pnag.errors import PnagError
from pnag.families import family
from pnag.families.ofa_mobilenetv3 import ofa
from pnag.space.choices import space_of_rows

SPACE = pnag.SearchSpace()


def made_up_table(noise: float = 0.003) -> tuple[LatencyTable, LatencyModel]:
    rng = np.random.default_rng(0)
    specs = family().blocks()
    truth = LatencyModel(1.2, 0.1 + rng.random(len(specs)))
    alone = (truth.blocks - 0.02) / 1.06
    table = LatencyTable({"width_mult": 1.0, "resolution": 224}, drift=Drift([2.0, 2.0, 2.0]))
    table.blocks = {s.key: [t / 2.0] for s, t in zip(specs, alone, strict=True)}
    tokens = SPACE.sample_unique(98, rng)
    times = truth.predict(tokens) * (1 + noise * rng.standard_normal(98))
    samples = {text: [t / 2.0] for text, t in zip(SPACE.text(tokens), times, strict=True)}
    table.calibration = dict(list(samples.items())[:48])
    table.check = dict(list(samples.items())[48:])
    return table, truth


def test_every_block_of_the_space_is_covered() -> None:
    ids = family().block_ids(SPACE.encode(family().covering()))
    assert set(ids.ravel()) == {-1, *range(90)}
    assert len({spec.key for spec in family().blocks()}) == 90


def test_the_model_recovers_made_up_times() -> None:
    table, truth = made_up_table()
    model = fit_latency_model(table)
    error = check_latency_model(model, table)
    assert error.mape < 0.01 and error.within_5 == 1.0 and error.tau > 0.97
    tokens = SPACE.sample(50, np.random.default_rng(9))
    one_by_one = [truth.fixed + sum(truth.blocks[i] for i in row if i >= 0) for row in
                  family().block_ids(tokens)]  # fmt: skip
    assert truth.predict(tokens) == pytest.approx(np.array(one_by_one))


def test_no_network_is_predicted_to_take_less_than_nothing() -> None:
    table, _ = made_up_table()
    rng = np.random.default_rng(3)
    wild = list(table.calibration)[:3]
    times = {text: [t / 2.0] for text, t in zip(wild, (0.4, 9.0, 30.0), strict=True)}
    table.calibration = times  # of a machine that did something else meanwhile
    model = fit_latency_model(table)
    assert (model.blocks > 0).all() and model.fixed >= 0
    assert (model.predict(SPACE.sample(1000, rng)) > 0).all()


def test_drift_of_the_machine_is_taken_out_and_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, calls = [0.0], [0]

    def network(milliseconds: float) -> Open:
        def run() -> None:
            calls[0] += 1
            slow = 1.5 if calls[0] > 500 else 1.0  # the machine slows down half-way
            spike = 3.0 if calls[0] % 97 < 3 else 1.0  # and something else runs now and then
            clock[0] += milliseconds / 1000 * slow * spike

        return lambda: stopwatch(run)

    monkeypatch.setattr("pnag.cost.timing.time.perf_counter", lambda: clock[0])
    networks = {f"{t}": network(t) for t in (4.0, 6.0, 8.0, 12.0)}
    samples, drift = measure_interleaved(networks, network(8.0), rounds=60)
    for name, times in samples.items():
        assert len(times) == 60
        assert np.median(times) == pytest.approx(float(name) / 8.0, rel=1e-6)
        assert np.quantile(times, 0.95) == pytest.approx(float(name) / 8.0, rel=0.01)
    assert drift.remeasured >= 1
    assert drift.unsteady == 0
    assert drift.spread > 0.1


def test_a_minute_that_slows_networks_by_their_size_is_taken_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, slowed = [0.0], [0.0]

    def network(milliseconds: float) -> Open:
        def run() -> None:  # slower by a tenth for each doubling over 2 ms
            clock[0] += milliseconds * (milliseconds / 2.0) ** slowed[0] / 1000

        return lambda: stopwatch(run)

    monkeypatch.setattr("pnag.cost.timing.time.perf_counter", lambda: clock[0])
    beside = {f"{t}": network(t) for t in (1.0, 1.5, 3.0, 6.0, 12.0)}
    networks = {f"{t}": network(t) for t in (0.5, 2.5, 4.0, 9.0, 24.0)}
    first, then, _ = measure_beside_yardsticks(networks, network(2.0), beside, {}, rounds=3)
    assert {name: times[0] for name, times in first.items()} == pytest.approx(
        {name: float(name) / 2.0 for name in networks}
    )
    slowed[0] = 0.14
    alone, now, _ = measure_beside_yardsticks(networks, network(2.0), beside, {}, rounds=3)
    assert alone["9.0"][0] > 1.2 * first["9.0"][0]
    again, _, _ = measure_beside_yardsticks(networks, network(2.0), beside, then, rounds=3)
    for name in ("2.5", "4.0", "9.0"):
        assert again[name] == pytest.approx(first[name])
    # beyond the yardsticks nothing is known, and as much is taken out as at the nearest
    assert again["24.0"][0] / first["24.0"][0] == pytest.approx(2 ** slowed[0])
    assert again["0.5"][0] / first["0.5"][0] == pytest.approx(0.5 ** slowed[0])
    same = {place: [1.0] for place in now}  # all take as long as the launches: no line
    twice = {place: [2.0] for place in now}
    assert brought_back({"a": [1.0]}, same, twice)["a"][0] == pytest.approx(2 ** (5 / 6))


def test_yardsticks_go_from_the_smallest_to_the_largest_and_stay_the_same() -> None:
    for of in (family(), family("timm/mobilenetv2_100@96,128")):
        chosen = yardsticks(of)
        assert len(chosen) == YARDSTICKS and chosen == yardsticks(of)
        macs = [of.count(arch).macs for arch in chosen]
        assert macs == sorted(macs) and len(set(macs)) == YARDSTICKS


def test_groups_of_a_table_are_tied_by_yardsticks(tmp_path: Path) -> None:
    """The machine changes between the blocks and the networks, the large ones more."""
    slowed = [0.0]

    class Made:
        batch = 1

        def identity(self) -> dict[str, str | int]:
            return {"device": "X", "version": "1", "threads": 1}

        def prepare(self, network: nn.Module, input_shape: tuple[int, ...]) -> Open:
            usual = sum(p.numel() for p in network.parameters()) / 1e6 + 0.01
            return lambda: lambda runs: [usual * usual ** slowed[0]] * runs

    def progress(what: str, done: int, total: int) -> None:
        assert done <= total
        slowed[0] = 0.1 if "calibration" in what else 0.3 if "check" in what else 0.0

    options = {"resolution": 32, "rounds": 3, "calibration": 4, "check": 3}
    file = tmp_path / "table.json"
    table = measure_device(Made(), ofa(0.35), file, **options, progress=progress)  # type: ignore[arg-type]
    for text, times in (table.calibration | table.check).items():
        alone = ofa(0.35).build(text, 1000)
        expected = sum(p.numel() for p in alone.parameters()) / 1e6 + 0.01
        assert table.milliseconds(times) == pytest.approx(expected, rel=0.03)
    assert len(table.yardsticks) == YARDSTICKS
    assert list(LatencyTable.load(file).yardsticks) == yardsticks(ofa(0.35))
    slowed[0], turns = 0.2, []
    networks = {"one": nn.Linear(10**3, 10**3), "broken": nn.Identity()}

    class Picky(Made):
        def prepare(self, network: nn.Module, input_shape: tuple[int, ...]) -> Open:
            if isinstance(network, nn.Identity):
                raise ValueError("no")
            return super().prepare(network, input_shape)

    proof = time_together(
        Picky(), networks, table, may_leave_out=["broken"], rounds=3, advance=turns.append
    )
    assert proof.networks["one"].milliseconds == pytest.approx(1.011, rel=0.03)
    assert sum(turns) == 3 * (2 + YARDSTICKS)


def test_more_networks_than_there_are_cannot_be_timed() -> None:
    few = space_of_rows(
        [{"depth": d, "width": w} for d in (1, 2) for w in (3, 4)], ["depth", "width"]
    )
    with pytest.raises(
        PnagError, match=r"3 networks are to be timed, .* from 6 different ones, .* only 4 arch"
    ):
        stretched_and_uniform(few, 3, np.random.default_rng(0))


def test_turns_are_explained_by_levels_and_speed() -> None:
    rng = np.random.default_rng(0)
    levels = np.array([0.0, -0.5, 0.3, 1.0, 0.1])
    who = np.concatenate([rng.permutation(5) for _ in range(80)])
    speed = 0.1 * np.sin(np.arange(len(who)) / 60)
    found, found_speed, residual = explain(
        who, levels[who] + speed + 0.01 * rng.standard_normal(len(who))
    )
    assert found - found[0] == pytest.approx(levels - levels[0], abs=0.006)
    assert found_speed - found_speed.mean() == pytest.approx(speed - speed.mean(), abs=0.03)
    assert residual.std() < 0.015


def test_a_machine_that_never_rests_is_said_to_be_unsteady(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, rng = [0.0], np.random.default_rng(0)

    def run() -> None:
        clock[0] += 0.008 * rng.choice([1.0, 1.6])

    def opened() -> Call:
        return stopwatch(run)

    monkeypatch.setattr("pnag.cost.timing.time.perf_counter", lambda: clock[0])
    _, drift = measure_interleaved({"a": opened, "b": opened}, opened, rounds=30)
    assert drift.unsteady > 5


def test_measuring_resumes_after_a_stop(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    seen: list[str] = []

    def stop(what: str, done: int, total: int) -> None:
        seen.append(what)
        if what == "calibration networks":
            raise KeyboardInterrupt

    options = {"resolution": 32, "rounds": 3, "calibration": 4, "check": 3}
    with pytest.raises(KeyboardInterrupt):
        measure_device(OnnxCpu(), ofa(0.35), path, **options, progress=stop)  # type: ignore[arg-type]
    blocks = LatencyTable.load(path).blocks
    assert len(blocks) == 90
    table = measure_device(OnnxCpu(), ofa(0.35), path, **options)  # type: ignore[arg-type]
    assert table.blocks == blocks  # kept, not measured again
    assert len(table.calibration) == 4 and len(table.check) == 3
    assert not set(table.calibration) & set(table.check)
    with pytest.raises(PnagError, match="threads"):
        measure_device(OnnxCpu(2), ofa(0.35), path, **options)  # type: ignore[arg-type]


def test_a_table_that_cannot_be_written_is_refused_before_measuring(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "table.json"
    with pytest.raises(PnagError, match=r"cannot write .*file/table\.json: File exists"):
        measure_device(OnnxCpu(), family(), path, progress=lambda *_: pytest.fail("it measures"))


@pytest.mark.parametrize("damage", ["{", '{"version": 1}', '{"version": 9}', "[]", "\x00"])
def test_a_damaged_table_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "table.json"
    path.write_text(damage)
    with pytest.raises(PnagError, match=r"table\.json"):
        LatencyTable.load(path)


def test_a_table_with_nan_is_refused(tmp_path: Path) -> None:
    table, _ = made_up_table()
    path = tmp_path / "table.json"
    table.save(path)
    raw = json.loads(path.read_text())
    next(iter(raw["check"].values()))[0] = float("nan")
    path.write_text(json.dumps(raw))
    with pytest.raises(PnagError, match="not a positive number"):
        LatencyTable.load(path)


def test_networks_are_timed_at_their_own_size_and_against_the_same_runtime() -> None:
    shapes = []

    class Still:
        batch = 2

        def identity(self) -> dict[str, str | int]:
            return {"device": "X", "version": "1", "threads": 1}

        def prepare(self, network: nn.Module, input_shape: tuple[int, ...]) -> Open:
            shapes.append(input_shape)
            return lambda: lambda runs: [input_shape[2] / 100] * runs

    identity = {"resolution": 200, "width_mult": 1.0, "num_classes": 10}
    table = LatencyTable(identity | Still().identity(), drift=Drift([3.0]))
    networks = {"usual": nn.Identity(), "large": nn.Identity()}
    proof = time_together(Still(), networks, table, resolutions={"large": 300}, rounds=3)
    assert shapes[:2] == [(2, 3, 200, 200), (2, 3, 300, 300)]
    assert shapes[2:] == [(2, 3, 200, 200)]  # the reference; this table has no yardsticks
    assert proof.networks["usual"].milliseconds == pytest.approx(3)
    assert proof.networks["large"].milliseconds == pytest.approx(4.5)

    class Gone(Still):
        def prepare(self, network: nn.Module, input_shape: tuple[int, ...]) -> Open:
            raise PhoneGoneError("the phone is gone")

    with pytest.raises(PhoneGoneError):  # which is no network that does not run
        time_together(Gone(), networks, table, may_leave_out=networks)

    table.identity |= {"version": "0", "threads": 4}
    with pytest.raises(PnagError, match=r"another version \(0, not 1\), threads \(4, not 1\)"):
        time_together(Still(), networks, table)


def test_front_calibration_is_the_line() -> None:
    predicted = np.linspace(4, 14, 12)
    calibration = fit_front_calibration(predicted, 0.2 + 1.03 * predicted)
    assert calibration(np.array([10.0])) == pytest.approx([10.5])
