"""Other families of networks on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_runs import call

import pnag
from pnag.families import count_batch

NAME = "timm/mobilenetv3_small_100@64,96"


def test_families_are_listed() -> None:
    done = call("families", "--json")
    assert done.exit_code == 0
    rows = {row["family"]: row for row in json.loads(done.stdout)}
    assert rows["ofa-mobilenetv3"]["architectures"] == 7371**5
    of = pnag.family("timm/efficientnet_b0")
    assert rows[of.name]["params"] == [of.count(a).params for a in (of.smallest, of.largest)]
    assert "timm/efficientnet_lite0" in call("families").stdout


def test_an_architecture_is_counted_by_its_family() -> None:
    of = pnag.family("timm/mobilenetv3_small_100")
    text = of.sample(1, np.random.default_rng(0))[0]
    done = call("count", text, "--family", of.name, "--resolution", 96, "--json")
    assert json.loads(done.stdout)["macs"] == of.count(text, 96).macs
    for options, message in (
        ([], "there must be 5 depths"),
        (["--family", of.name, "--width-mult", 0.5], "has one width; leave it out"),
        (["--family", "timm/mobilenetv3_smal_100"], "there is timm/mobilenetv3_small_100"),
    ):
        done = call("count", text, *options)
        assert done.exit_code == 2 and message in " ".join(done.stderr.split())


def test_a_table_of_another_family_is_searched(recipe: Path, tmp_path: Path) -> None:
    of = pnag.family(NAME)
    tokens = of.space.sample_unique(400, np.random.default_rng(0))
    counts = count_batch(of, tokens)
    quality = of.space.features(tokens) @ np.linspace(0, 1, of.space.num_features)
    frame = pd.DataFrame(
        {"arch": of.space.text(tokens), "top1": 0.5 + quality / 100, "cost": counts.macs / 1e6}
    )
    frame.to_csv(tmp_path / "t.csv", index=False)
    command = ["run", "--table", tmp_path / "t.csv", "--accuracy", "top1", "--cost", "cost",
               "--recipe", recipe, "--out", tmp_path / "run"]  # fmt: skip
    done = call(*command)
    assert done.exit_code == 2 and "name it with --family" in " ".join(done.stderr.split())
    done = call(*command, "--family", NAME, "--json")
    assert done.exit_code == 0, done.stderr
    answers = json.loads(done.stdout)["answers"]
    for answer in answers:
        assert of.parse(answer["arch"]).resolution in (64, 96)
        assert answer["cost"] <= answer["budget"]
    best = frame[frame["cost"] <= answers[2]["budget"]]["top1"].max()
    assert answers[2]["accuracy"] > best - 0.002
    done = call("generate", tmp_path / "run", "--budget", answers[1]["budget"], "--json")
    assert json.loads(done.stdout)["arch"] == answers[1]["arch"]


@pytest.mark.parametrize("text", ["64,", "64,32", "16,32", "64,64", "a"])
def test_resolutions_that_cannot_be_meant_are_refused(text: str, tmp_path: Path) -> None:
    done = call("run", "--images", "digits", "--resolutions", text, "--out", tmp_path / "run")
    assert done.exit_code == 2 and "--resolutions must be" in done.stderr
