"""A latency model of a new device from a few networks and what is known of others."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from pnag.commands.main import app
from pnag.cost.block_csv import write_block_csv
from pnag.cost.latency_model import LatencyModel
from pnag.cost.latency_table import LatencyTable
from pnag.cost.load import load_cost
from pnag.cost.proof import Timed
from pnag.cost.quick import fit_quick
from pnag.cost.quick_measure import counted_devices, quick_model, spread_networks
from pnag.families import count_batch, family

FAMILY = family()
SPACE = FAMILY.space


def device(seed: int) -> LatencyModel:
    """Blocks take what they multiply, more or less."""
    macs, layers = counted_devices(FAMILY, 224, 1000)
    rng = np.random.default_rng(seed)
    own = rng.uniform(0.7, 1.3, len(macs.blocks))
    blocks = (2.5 * macs.blocks + 0.05 * layers.blocks) * own
    return LatencyModel(float(rng.uniform(0.5, 2)), blocks)


def test_counted_devices_are_exact() -> None:
    tokens = SPACE.sample(100, np.random.default_rng(5))
    macs, layers = counted_devices(FAMILY, 160, 10)
    expected = count_batch(FAMILY, tokens, resolution=160, num_classes=10).macs / 1e8
    assert macs.predict(tokens) == pytest.approx(expected)
    of_blocks = (FAMILY.block_ids(tokens) >= 0).sum(1)
    assert layers.predict(tokens) == pytest.approx(len(FAMILY.fixed(160, 10)) + of_blocks)


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_twenty_networks_tell_a_mixture_of_known_devices(noise: float) -> None:
    known = [device(1), device(2)]
    blocks = 0.7 * known[0].blocks + 0.9 * known[1].blocks
    truth = LatencyModel(1.5, blocks * np.random.default_rng(9).normal(1, 0.03, len(blocks)))
    texts = spread_networks(SPACE, 20, 0)
    assert len(set(texts)) == 20
    times = truth.predict(SPACE.encode(texts))
    times *= 1 + noise * np.random.default_rng(3).normal(size=20)
    measured = {text: Timed(float(ms), 0.01) for text, ms in zip(texts, times, strict=True)}
    devices = [*known, *counted_devices(FAMILY, 224, 1000)]
    model, fit = quick_model(FAMILY, devices, measured)
    unseen = SPACE.sample(500, np.random.default_rng(8))
    error = np.abs(model.predict(unseen) / truth.predict(unseen) - 1).mean()
    assert error < 0.02
    assert error / 2 < np.abs(fit.errors).mean() < 3 * error + noise  # what it promises
    alone = quick_model(FAMILY, devices[2:], measured)[0]  # of multiply-adds and layers only
    assert error < np.abs(alone.predict(unseen) / truth.predict(unseen) - 1).mean()


def test_a_disturbed_network_does_little_harm() -> None:
    known = np.random.default_rng(0).uniform(5, 15, (20, 2))
    parts = known / 2
    times = known @ np.array([0.5, 0.5])
    times[3] *= 2
    fit = fit_quick(known, parts, times)
    unseen = np.random.default_rng(1).uniform(5, 15, (100, 2))
    guess = fit.predict(unseen, unseen / 2)
    assert np.abs(guess / (unseen @ np.array([0.5, 0.5])) - 1).mean() < 0.02
    assert np.abs(fit.errors).argmax() == 3


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["measure", *map(str, arguments)])


def test_measure_quickly_writes_a_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same machine is known, so that a few networks tell its speed."""
    truth, known = device(1), tmp_path / "known.csv"
    write_block_csv(known, LatencyModel(2 * truth.fixed, 2 * truth.blocks))

    class Stub:
        threads, batch = 1, 1

        def identity(self) -> dict[str, str | int]:
            return {"device": "stub", "runtime": "stub", "version": "1", "threads": 1, "batch": 1}

        def prepare(self, network: str, input_shape: tuple[int, ...]) -> object:
            took = float(truth.predict(SPACE.encode([network]))[0])
            return lambda: lambda runs: [took] * runs

    monkeypatch.setattr("pnag.commands.bodies.quick.make_runtime", lambda *_: Stub())
    monkeypatch.setattr(type(FAMILY), "build", lambda self, arch, *_: SPACE.text(
        SPACE.encode([str(arch)]))[0])  # fmt: skip
    out = tmp_path / "quick.csv"
    done = call("--quick", "--known", known, "--rounds", 3, "--out", out, "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["mape"] < 0.01 and told["known"] == 1 and told["networks"] == 20
    model = load_cost(str(out))
    unseen = SPACE.sample(200, np.random.default_rng(8))
    assert np.abs(model.predict(unseen) / truth.predict(unseen) - 1).mean() < 0.01
    done = call("--quick", "--rounds", 3, "--out", out)
    assert "predicted from the others" in done.stdout and "0 known device(s)" in done.stdout


def test_a_full_latency_table_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pnag.commands.bodies.quick.make_runtime", lambda *_: pytest.fail("timed"))
    table, model = tmp_path / "onnxruntime.json", tmp_path / "latency_model.json"
    LatencyTable({"width_mult": 1.0}).save(table)
    device(1).save(model)
    for out in (table, model):
        before = out.read_bytes()
        done = call("--quick", "--out", out)
        assert done.exit_code == 2 and "measured without --quick" in done.output.replace("\n", " ")
        assert out.read_bytes() == before


def test_mistakes_are_named(tmp_path: Path) -> None:
    out = tmp_path / "quick.csv"
    for arguments, words in (
        (["--known", "x.json"], "--known goes with --quick"),
        (["--quick", "--check", 5], "--check goes without --quick"),
        (["--quick", "--known", "macs"], "--known has macs, which is counted"),
        (["--quick", "--known", "none.json"], "there is no cost 'none.json'"),
        (["--quick", "--runtime", "onnxruntime,torch"], "must be one with --quick"),
    ):
        done = call(*arguments, "--out", out)
        assert done.exit_code == 2 and words in done.output.replace("\n", " "), done.output
